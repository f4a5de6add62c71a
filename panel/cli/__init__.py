"""The vmpanel command, over the REST API; imports no other room of the panel."""
