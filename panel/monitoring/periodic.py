"""Cron's entries of the monitoring room."""

from __future__ import annotations

from panel.monitoring import services


def mark_silent_nodes() -> None:
    """VMs of nodes that nobody has heard of for a while are not known to be anything."""
    services.mark_silent_nodes()
