"""Cron's entries of the monitoring app."""

from __future__ import annotations

from datetime import timedelta

from panel.monitoring import silence
from panel.monitoring.statistics import rollup, waiting

NOBODY_ELSE = timedelta(seconds=60)
"""Workers look for silence every few seconds; when none has for so long, cron does."""


def mark_silent_nodes() -> None:
    """VMs of nodes that nobody has heard of for a while are not known to be anything."""
    silence.mark_silent(silence.silent_after() + NOBODY_ELSE)


def check_master() -> None:
    """vmwatch-master runs and speaks, or that is a problem."""
    silence.check_master()


def roll_up_statistics() -> None:
    """Add up what is over to hours and days."""
    # Workers do it every few seconds; when none has, what waits belongs to what is added up now.
    waiting.take_waiting(NOBODY_ELSE.total_seconds())
    rollup.roll_up()


def purge_statistics() -> None:
    """Delete what is older than it is kept."""
    waiting.drop_old()
    rollup.purge()
