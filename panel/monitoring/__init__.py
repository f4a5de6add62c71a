"""What vmwatch brings into the panel, and its configuration."""
