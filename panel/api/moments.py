"""Moments of time in a query."""

from __future__ import annotations

from datetime import datetime

from django.utils.dateparse import parse_datetime

from panel.core.errors import InvalidValue
from panel.core.wording import Text


def moment(text: str | None, field: str) -> datetime | None:
    """A time with its zone; raises InvalidValue."""
    if text is None:
        return None
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidValue(
            Text("“{field}” must be a time with its zone, as 2026-01-31T12:00:00Z.", {"field": field}), field=field
        )
    return moment
