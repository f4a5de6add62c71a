"""The words of the charts on a VM's page, which its script draws."""

from __future__ import annotations

from django.utils.translation import gettext as _

from panel.web.templatetags.units import UNITS


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
