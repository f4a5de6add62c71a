"""ETag, If-None-Match and If-Match (RFC 9110): reading again only what changed, changing only what one has read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from panel.core.errors import InvalidValue, PreconditionFailed
from panel.core.wording import Text

VOLATILE = frozenset({"observed_at", "task", "warnings", "facts", "facts_at", "pools", "networks", "vm_count"})
"""Fields that an ETag leaves out: they tell of when something was looked at, or how busy it is, and change by
themselves all the time. A change that was asked for in view of them is not out of date when they are."""
IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="ETags that were read; 412 when the object has another now."
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="ETags that were read; 304 when the object has one still.",
)
_LONGEST = 4096
_TAGS = re.compile(r'\s*(?:,\s*)*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')


def etag_of(data: dict[str, Any]) -> str:
    """The tag of an object as it is told in full."""
    lasting = {name: value for name, value in data.items() if name not in VOLATILE}
    text = json.dumps(lasting, sort_keys=True, default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def told_once(request: Request, full: dict[str, Any], answer: dict[str, Any]) -> Response:
    """`answer` with the ETag of `full`, or 304 where the caller has read that already."""
    tag = etag_of(full)
    known = _tags(request, "If-None-Match")
    if known is not None and ("*" in known or tag in {each.removeprefix("W/") for each in known}):
        return Response(status=304, headers={"ETag": tag})
    return Response(answer, headers={"ETag": tag})


def guard(request: Request, read: Callable[[], dict[str, Any] | None]) -> Callable[[], None] | None:
    """What refuses the change when the object is not any more what the caller has read; None when nothing need.

    To be called in the transaction of the change. `read` holds the object's row and tells it in full; None for
    objects that have no tags.
    """
    known = _tags(request, "If-Match")
    if known is None:
        return None

    def check() -> None:
        data = read()
        if data is None:
            raise PreconditionFailed("This has no ETag that could match.", field="If-Match")
        tag = etag_of(data)
        if "*" not in known and tag not in known:
            raise PreconditionFailed(field="If-Match", etag=tag)

    return check


def _tags(request: Request, header: str) -> set[str] | None:
    """The tags of a header, None when there is no such header; raises InvalidValue."""
    text: str | None = request.headers.get(header)
    if text is None:
        return None
    if text.strip() == "*":
        return {"*"}
    found, at = set(), 0
    while at < len(text) <= _LONGEST and (match := _TAGS.match(text, at)):
        found.add(f"{match[1] or ''}{match[2]}")
        at = match.end()
    if not found or at < len(text):
        raise InvalidValue(
            Text("“{header}” is * or a list of ETags, each in quotation marks.", {"header": header}), field=header
        )
    return found
