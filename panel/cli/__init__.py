"""The vmpanel command, over the REST API; imports no other app of the panel."""
