"""The table of a VM's differences: what is named and valued as a program reads it, in the words of the form."""

from __future__ import annotations

import re
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from panel.vms.models import Vm
from panel.web import words
from panel.web.templatetags.units import BYTES_A_KIB, size

WORDS: dict[str, words.Label] = {
    "boot": words.PARAMETERS["boot_order"],
    "persistent": _("Defined in libvirt"),
    "autostart": words.PARAMETERS["enabled"],
}
"""What no parameter is called by."""

LIMITS = {
    "read_bytes_sec": "read {bytes}/s",
    "write_bytes_sec": "write {bytes}/s",
    "read_iops_sec": "read {number} requests/s",
    "write_iops_sec": "write {number} requests/s",
    "inbound_average": "in {kib}/s",
    "outbound_average": "out {kib}/s",
}
"""What a device may do at most, by the names that nodeagent/xml/facts.py has for it."""
LIMIT = re.compile(rf"\b(?P<name>{'|'.join(LIMITS)}) (?P<number>\d+)\b")


def table(differences: list[dict[str, Any]], left: str, right: str) -> list[tuple[str, str, str]]:
    """A row for each difference: its name, and the values under these two keys."""
    return [(_named(each["field"]), _told(each, left), _told(each, right)) for each in differences]


def waiting(vm: Vm) -> dict[str, str]:
    """Of each setting that waits for the VM's next start, by its form's name, how it is now."""
    names = {"boot": "boot_order"}
    return {names.get(each["field"], each["field"]): _told(each, "now") for each in vm.pending}


def _named(field: str) -> str:
    device, is_limits, _rest = field.partition(" limits")
    if is_limits:
        return gettext("Limits of %(device)s") % {"device": device}
    unit = words.unit_of(field)
    label = str(WORDS.get(field) or words.PARAMETERS.get(field, field))
    return f"{label}, {unit}" if unit else label


def _told(difference: dict[str, Any], side: str) -> str:
    value = difference[side]
    if difference["field"].endswith(" limits"):
        return LIMIT.sub(_limit, value) if value else gettext("none")
    return _text(value)


def _limit(found: re.Match[str]) -> str:
    number = int(found["number"])
    return LIMITS[found["name"]].format(bytes=size(number), kib=size(number * BYTES_A_KIB), number=number)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return gettext("Yes") if value else gettext("No")
    if isinstance(value, list):
        order = "\n".join(str(each) for each in value)
        return str(words.ORDERS.get(order, ", ".join(order.split("\n"))))
    return "–" if value in (None, "") else str(value)
