"""Where the object is shown that a row (a problem, a task, an entry of the journal) is about."""

from __future__ import annotations

from typing import Any

from django import template

from panel.core import kinds

register = template.Library()


@register.filter
def page(row: Any) -> str:
    """The address of its object's page; "" where that has none."""
    return kinds.page_of(row.object_type, row.object_id)


@register.filter
def kind(row: Any) -> str:
    """What people call an object of its kind."""
    known = kinds.find(row.object_type)
    return known.label if known is not None else str(row.object_type)
