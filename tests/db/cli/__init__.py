"""The command line against the panel."""
