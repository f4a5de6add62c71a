"""The table of a VM's differences: what is named and valued as a program reads it, in the words of the form."""

from __future__ import annotations

import re
from typing import Any

from panel.web.settings_form import NUMBERS
from panel.web.templatetags.units import BYTES_A_KIB, size

WORDS = {
    **{name: label for pair in NUMBERS for name, label in pair},
    "cpu_mode": "CPU",
    "cpu_model": "CPU model",
    "boot": "Boot from",
    "machine": "Machine type",
    "firmware": "Firmware",
    "clock": "Clock",
    "name": "Name",
    "title": "Title",
    "description": "Description",
    "persistent": "Defined in libvirt",
    "autostart": "Starts with its node",
}

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


def _named(field: str) -> str:
    device, is_limits, _ = field.partition(" limits")
    return f"Limits of {device}" if is_limits else WORDS.get(field, field)


def _told(difference: dict[str, Any], side: str) -> str:
    value = difference[side]
    if difference["field"].endswith(" limits"):
        return LIMIT.sub(_limit, value) if value else "none"
    return _text(value)


def _limit(found: re.Match[str]) -> str:
    number = int(found["number"])
    return LIMITS[found["name"]].format(bytes=size(number), kib=size(number * BYTES_A_KIB), number=number)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", then ".join(str(each) for each in value)
    return "–" if value in (None, "") else str(value)
