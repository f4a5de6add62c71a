"""What people do by hand on a node, and what the panel makes of it."""
