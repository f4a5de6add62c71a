"""Pages of lists, by the key of their last row: a page costs the same anywhere, and new rows move none.

A cursor is opaque to callers: the order, the direction, and the last row's value and id. A row is never told
twice nor left out because others came or went between two pages.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from rest_framework.request import Request

from panel.core.errors import InvalidValue
from panel.core.wording import Text

PAGE = 50
MOST = 200
LONGEST_CURSOR = 1024


@dataclass(frozen=True)
class Order:
    """By which field a list is ordered, ties by id, and whether from the end."""

    field: str
    descending: bool

    @classmethod
    def parse(cls, text: str, allowed: tuple[str, ...]) -> Order:
        """`name` or `-name`; raises InvalidValue for what the list is not ordered by."""
        field = text.removeprefix("-")
        if field not in allowed:
            raise InvalidValue(
                Text("The list is ordered by {allowed}.", {"allowed": ", ".join(allowed)}),
                field="order",
                allowed=list(allowed),
            )
        return cls(field, text.startswith("-"))

    def __str__(self) -> str:
        return f"-{self.field}" if self.descending else self.field


@dataclass(frozen=True)
class Cursor:
    """The row that a page begins after (or, `back`, ends before)."""

    order: str
    value: Any
    pk: int
    back: bool

    def __str__(self) -> str:
        text = json.dumps([self.order, self.value, self.pk, self.back], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str, order: Order) -> Cursor:
        """Raises InvalidValue for what no answer of this order gave."""
        try:
            if len(text) > LONGEST_CURSOR:
                raise ValueError
            known, value, pk, back = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            scalar = isinstance(value, (str, int)) and not isinstance(value, bool)
            if known != str(order) or not scalar or type(pk) is not int or type(back) is not bool:
                raise ValueError
        except (ValueError, binascii.Error, TypeError, RecursionError) as error:
            raise InvalidValue("This cursor is of no page of this list in this order.", field="cursor") from error
        return cls(known, value, pk, back)


@dataclass(frozen=True)
class Page:
    """Some rows of a list, and the addresses of the pages beside it."""

    rows: list[Any]
    next: str | None
    previous: str | None


def page_of(found: QuerySet[Any], request: Request, order: Order) -> Page:
    """The page that the request names by `cursor` and `limit`; raises InvalidValue."""
    limit = _limit(request)
    text = request.query_params.get("cursor")
    cursor = Cursor.parse(text, order) if text is not None else None
    back = cursor is not None and cursor.back
    rows = list(_after(found, order, cursor)[: limit + 1])
    more, rows = len(rows) > limit, rows[:limit]
    if back:
        rows.reverse()
    before, after = (more, True) if back else (cursor is not None, more)
    return Page(
        rows,
        _address(request, _key(order, rows[-1], back=False)) if rows and after else None,
        _address(request, _key(order, rows[0], back=True)) if rows and before else None,
    )


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(PAGE))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST):
        raise InvalidValue(Text("“limit” is a number from 1 to {most}.", {"most": MOST}), field="limit")
    return int(text)


def _after(found: QuerySet[Any], order: Order, cursor: Cursor | None) -> QuerySet[Any]:
    back = cursor is not None and cursor.back
    descending = order.descending != back
    sign = "-" if descending else ""
    by_id = order.field in ("id", "pk")
    found = found.order_by(f"{sign}pk") if by_id else found.order_by(f"{sign}{order.field}", f"{sign}pk")
    if cursor is None:
        return found
    side = "lt" if descending else "gt"
    try:
        if by_id:
            return found.filter(**{f"pk__{side}": cursor.pk})
        # The first condition alone lets the database begin in its index where the page begins.
        beyond = Q(**{f"{order.field}__{side}": cursor.value}) | Q(**{f"pk__{side}": cursor.pk})
        return found.filter(**{f"{order.field}__{side}e": cursor.value}).filter(beyond)
    except (ValueError, TypeError, ValidationError) as error:
        raise InvalidValue("This cursor is of no page of this list in this order.", field="cursor") from error


def _key(order: Order, row: Model, *, back: bool) -> Cursor:
    value = getattr(row, order.field)
    return Cursor(str(order), value.isoformat() if isinstance(value, datetime) else value, row.pk, back)


def _address(request: Request, cursor: Cursor) -> str:
    params = request._request.GET.copy()
    params["cursor"] = str(cursor)
    return request.build_absolute_uri(f"{request.path}?{params.urlencode()}")
