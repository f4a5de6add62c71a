"""Quantities as pages word them, and texts as the viewer may read them."""

from __future__ import annotations

from typing import Any

from django import template

from panel.cluster.veil import Veil

register = template.Library()

MIB_A_GIB = 1024


@register.filter
def mib(value: Any) -> str:
    """Mebibytes as people say them: 512 MiB, 2 GiB, 23.5 GiB; a dash for what is not known."""
    if not isinstance(value, (int, float)):
        return "–"
    if value < MIB_A_GIB:
        return f"{value:.0f} MiB"
    return f"{value / MIB_A_GIB:.1f}".removesuffix(".0") + " GiB"


@register.filter
def veiled(value: Any, veil: Veil) -> Any:
    """A text or values without nodes' names, where the viewer does not see nodes."""
    return veil.data(value)
