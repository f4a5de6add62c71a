"""Lists: filtered by fields, a bounded page at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from panel.core.errors import InvalidValue
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Cell, Rows

MOST_ROWS = 10_000
"""Clients expect the whole list in one answer unless they ask for pages."""
MOST_PAGES = 1_000_000

M = TypeVar("M", bound=Model)


def listed(call: Call, found: QuerySet[M], row: Callable[[M], Mapping[str, Cell]], filters: Mapping[str, str]) -> Rows:
    """The page `p_num` (1) of `p_cnt` rows, of what the fields of `filter=on` leave; raises InvalidValue."""
    return Rows([row(each) for each in page(call, filtered(call, found, filters))])


def filtered(call: Call, found: QuerySet[M], filters: Mapping[str, str]) -> QuerySet[M]:
    """What is left by the fields that `filters` knows, by the lookup of each; raises InvalidValue."""
    if not call.flag("filter"):
        return found
    for name, lookup in filters.items():
        value: Any = call.text(name)
        if not value:
            continue
        if lookup.endswith("pk"):
            value = call.number(name)
        found = found.filter(**{lookup: value})
    return found


def page(call: Call, found: QuerySet[M]) -> QuerySet[M]:
    """The rows that are asked for; raises InvalidValue."""
    size, number = call.number("p_cnt"), call.number("p_num")
    size = MOST_ROWS if size is None else size
    number = 1 if number is None else number
    if not 1 <= size <= MOST_ROWS:
        raise InvalidValue(f"“p_cnt” must be 1 to {MOST_ROWS}.", field="p_cnt")
    if not 1 <= number <= MOST_PAGES:
        raise InvalidValue(f"“p_num” must be 1 to {MOST_PAGES}.", field="p_num")
    return found[(number - 1) * size : number * size]
