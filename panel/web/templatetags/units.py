"""Quantities as pages word them, and texts as the viewer may read them."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.formats import get_format
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import JournalEntry
from panel.cluster.redaction import Redaction
from panel.core.wording import Text
from panel.tasks import deeds

register = template.Library()

UNITS = {"bytes": _("bytes"), "KiB": _("KiB"), "MiB": _("MiB"), "GiB": _("GiB"), "TiB": _("TiB")}
MIB_A_GIB = 1024
BYTES_A_KIB = 1024


@register.filter
def mib(value: Any) -> str:
    """Mebibytes as people say them: 512 MiB, 2 GiB, 23.5 GiB; a dash for what is not known."""
    if not isinstance(value, (int, float)):
        return "–"
    if value < MIB_A_GIB:
        return f"{value:.0f} {UNITS['MiB']}"
    return f"{_number(value / MIB_A_GIB)} {UNITS['GiB']}"


@register.filter
def size(value: Any) -> str:
    """Bytes as people say them: 512 bytes, 129.7 KiB, 2 GiB; a dash for what is not known."""
    if not isinstance(value, (int, float)):
        return "–"
    if value < BYTES_A_KIB:
        return f"{value:.0f} {UNITS['bytes']}"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= BYTES_A_KIB
        # One that would be told as 1024 of a unit is 1 of the next.
        if round(value, 1) < BYTES_A_KIB or unit == "TiB":
            break
    return f"{_number(value)} {UNITS[unit]}"


def _number(value: float) -> str:
    """With one digit behind the reader's decimal separator, if that is not 0."""
    return f"{value:.1f}".removesuffix(".0").replace(".", str(get_format("DECIMAL_SEPARATOR")))


@register.filter
def shown(text: Text, redaction: Redaction) -> str:
    """A sentence that a row has, for who reads the page: `{{ task.worded_title|shown:redaction }}`.

    So are a step's `worded_title` and `worded_progress`, and `worded` of a line, a problem and a change of status.
    """
    return redaction.shown(text)


@register.filter
def deed(entry: JournalEntry, redaction: Redaction) -> str:
    """What an entry of the journal tells, for who reads the page: `{{ entry|deed:redaction }}`."""
    return redaction.shown(deeds.worded(entry))


@register.filter
def error_shown(stored: dict[str, Any] | None, redaction: Redaction) -> str:
    """Why a task or a step failed, for who reads the page: `{{ task.error|error_shown:redaction }}`."""
    return str(redaction.stored_error(stored)["message"]) if stored else ""


@register.filter
def redacted(value: Any, redaction: Redaction) -> Any:
    """A text or values without nodes' names, where the viewer does not see nodes."""
    return redaction.data(value)
