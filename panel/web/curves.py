"""The charts on the pages of a VM and a node, which a script draws: where their numbers are, and their words."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from panel.monitoring.statistics.selectors import PERIODS, Period
from panel.web.templatetags.units import UNITS


@dataclass(frozen=True)
class Card:
    """What the script is told of the charts of one object: where its numbers are, and of how many CPUs."""

    address: str
    cpus: int
    of: str = ""

    @property
    def periods(self) -> tuple[Period, ...]:
        """What one may choose."""
        return PERIODS

    @property
    def words(self) -> dict[str, str | list[str]]:
        """What the script says."""
        return words()


def words() -> dict[str, str | list[str]]:
    """In the reader's language; what is in braces the script fills in."""
    return {
        "cpu": _("CPU"),
        "memory": _("Memory"),
        "disks": _("Disks"),
        "network": _("Network"),
        "used": _("used"),
        "given": _("given"),
        "read": _("read"),
        "written": _("written"),
        "received": _("received"),
        "sent": _("sent"),
        "said": _("{name} {mean} on average, {most} at most"),
        "unmeasured": _("nothing was measured"),
        "second": _("s"),
        "units": [str(unit) for unit in UNITS.values()],
        "nothing": _("Nothing was collected in this time."),
        "unreadable": _("The statistics cannot be read."),
        "silent": _("The panel does not answer."),
    }
