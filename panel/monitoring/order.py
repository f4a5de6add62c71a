"""Which messages of a node were taken: each is taken once, and what never came is remembered."""

from __future__ import annotations

from panel.monitoring.models import NodeWatch

NEW, LATE, KNOWN = "new", "late", "known"
MOST_GAPS = 64
OPEN_END = 2**62
"""Nobody knows how far an earlier run of the daemon came."""


def take(watch: NodeWatch, epoch: int, sequence: int) -> str:
    """Note the message as taken; answers NEW, LATE (one that was missing) or KNOWN.

    An earlier run's message is LATE as long as the one run before the present one may have sent it.
    """
    if (epoch, sequence) <= (watch.epoch, watch.sequence):
        return LATE if fill(watch, epoch, sequence) else KNOWN
    if epoch != watch.epoch:
        watch.gaps = [gap for gap in watch.gaps if gap[0] == watch.epoch]
        if watch.epoch:
            watch.gaps.append([watch.epoch, watch.sequence + 1, OPEN_END])
        first_missing = 1
    else:
        first_missing = watch.sequence + 1
    if sequence > first_missing:
        watch.gaps.append([epoch, first_missing, sequence - 1])
    del watch.gaps[:-MOST_GAPS]
    watch.epoch, watch.sequence = epoch, sequence
    return NEW


def fill(watch: NodeWatch, epoch: int, sequence: int) -> bool:
    """Note a missing message as come; False when it was not missing."""
    for place, (of_epoch, first, last) in enumerate(watch.gaps):
        if of_epoch == epoch and first <= sequence <= last:
            halves = [[epoch, first, sequence - 1], [epoch, sequence + 1, last]]
            watch.gaps[place : place + 1] = [half for half in halves if half[1] <= half[2]]
            return True
    return False
