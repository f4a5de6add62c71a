"""Lists: filtered by any column that they show, sorted by one, a bounded page at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from panel.core.errors import InvalidValue
from panel.core.wording import Text, one_of
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Cell, Rows, Translated

MOST_ROWS = 10_000
"""Clients expect the whole list in one answer unless they ask for pages."""
MOST_PAGES = 1_000_000
NOT_GIVEN = ("", "undefined", "null", "none")
"""What scripts send for a number that they do not have."""
RESERVED = frozenset(
    {
        "func",
        "out",
        "sok",
        "elid",
        "plid",
        "filter",
        "lang",
        "auth",
        "authinfo",
        "su",
        "p_cnt",
        "p_num",
        "p_sort",
        "p_order",
    }
)
Row = Mapping[str, Cell]
M = TypeVar("M", bound=Model)


def listed(call: Call, found: QuerySet[M], row: Callable[[M], Row], filters: Mapping[str, str]) -> Rows:
    """The page `p_num` (1) of `p_cnt` rows, sorted by the column `p_sort`, of what the fields of `filter=on` leave.

    `filters` are the lookups of columns that the database can look for; others are compared row by row.

    Raises InvalidValue.
    """
    wanted = {name: value for name in call.params if name not in RESERVED and (value := call.text(name))}
    looked_up = {name: value for name, value in wanted.items() if name in filters} if call.flag("filter") else {}
    compared = {name: value for name, value in wanted.items() if name not in filters} if call.flag("filter") else {}
    start, end = page(call)
    for name, value in looked_up.items():
        found = found.filter(**{filters[name]: call.number(name) if filters[name].endswith("pk") else value})
    if not compared and not call.text("p_sort"):
        return Rows([row(each) for each in found[start:end]])
    return Rows(ordered(call, [each for each in map(row, found[:MOST_ROWS]) if fits(each, compared)])[start:end])


def chosen(call: Call, rows: Sequence[Row]) -> Rows:
    """As listed(), of rows that are there already."""
    wanted = {name: value for name in call.params if name not in RESERVED and (value := call.text(name))}
    start, end = page(call)
    left = [each for each in rows if fits(each, wanted)] if call.flag("filter") else rows
    return Rows(ordered(call, left)[start:end])


def fits(row: Row, wanted: Mapping[str, str]) -> bool:
    """Whether the row has what is wanted of its columns: of a text a part, of a number or flag all."""
    return all(_fits(row[name], value) for name, value in wanted.items() if name in row)


def _fits(cell: Cell, value: str) -> bool:
    if isinstance(cell, Translated):
        return value == cell.value or value.casefold() in cell.words.casefold()
    if isinstance(cell, bool):
        return cell == (value.lower() in ("on", "yes", "1", "ok"))
    if isinstance(cell, int):
        return str(cell) == value
    return value.casefold() in (cell or "").casefold()


def ordered(call: Call, rows: Sequence[Row]) -> list[Row]:
    """The rows by the column `p_sort`, backwards with `-` before it or `p_order=desc`; raises InvalidValue."""
    asked = call.text("p_sort")
    column = asked.removeprefix("-").removeprefix("+")
    if not column or not rows:
        return list(rows)
    if not any(column in row for row in rows):
        raise InvalidValue(one_of("p_sort", rows[0]), field="p_sort")
    backwards = asked.startswith("-") or call.text("p_order").lower() in ("desc", "-1", "down")
    return sorted(rows, key=lambda row: _weight(row.get(column)), reverse=backwards)


def _weight(cell: Cell) -> tuple[int, int, str]:
    """Numbers before texts, texts whatever their case; `10.0.0.9` before `10.0.0.10`."""
    text = cell.words if isinstance(cell, Translated) else "" if cell is None else str(cell)
    number = text.removesuffix("%")
    if number.isascii() and number.isdigit():
        return 0, int(number), ""
    return 1, 0, ".".join(part.zfill(10) if part.isdigit() else part for part in text.casefold().split("."))


def page(call: Call) -> tuple[int, int]:
    """From which row to which; numbers beyond the limits are clamped. Raises InvalidValue for what is no number."""
    size = _number(call, "p_cnt", MOST_ROWS)
    size = size if 1 <= size <= MOST_ROWS else MOST_ROWS
    number = min(max(_number(call, "p_num", 1), 1), MOST_PAGES)
    return (number - 1) * size, number * size


def _number(call: Call, name: str, default: int) -> int:
    text: Any = call.text(name)
    if text.lower() in NOT_GIVEN:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidValue(Text("“{name}” must be a number.", {"name": name}), field=name)
    return int(text[:12])
