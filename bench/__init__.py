"""Measurements: each prints a ratio against a floor that it measured in the same run, or an amount."""
