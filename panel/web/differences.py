"""The table of a VM's differences: what is named and valued as a program reads it, in the words of the form."""

from __future__ import annotations

from typing import Any

from panel.web.settings_form import NUMBERS

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


def table(differences: list[dict[str, Any]], left: str, right: str) -> list[tuple[str, str, str]]:
    """A row for each difference: its name, and the values under these two keys."""
    return [(WORDS.get(each["field"], each["field"]), _text(each[left]), _text(each[right])) for each in differences]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", then ".join(str(each) for each in value)
    return "–" if value in (None, "") else str(value)
