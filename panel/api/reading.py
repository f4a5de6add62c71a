"""How a request is read: which form its answer has, and what its body may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import NotAcceptable, ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

MOST_BYTES = 1024 * 1024
"""Of a body. The largest that is meant is a batch of operations."""
_HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")


class AlwaysJson(DefaultContentNegotiation):
    """JSON for those too who would rather have something else: an answer that can be read says more than a 406."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The renderer that was asked for, else the first."""
        try:
            return super().select_renderer(request, renderers, format_suffix)  # type: ignore[no-any-return]
        except NotAcceptable:
            return renderers[0], renderers[0].media_type


class BoundedJson(JSONParser):
    """A JSON body that is small enough, not absurdly deep, and whose text can be stored."""

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The body; raises ParseError, or RequestDataTooBig."""
        request = (parser_context or {}).get("request")
        length = request.META.get("CONTENT_LENGTH") if request is not None else None
        if length and length.isdigit() and int(length) > MOST_BYTES:
            raise RequestDataTooBig
        try:
            found = super().parse(_Bounded(stream), media_type, parser_context)
        except RecursionError as error:
            raise ParseError("JSON parse error - too deep") from error
        _refuse_half_characters(found)
        return found  # type: ignore[no-any-return]


class _Bounded:
    """A stream of which at most MOST_BYTES are read."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.left = MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        """The next bytes; raises RequestDataTooBig."""
        data: bytes = self.stream.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise RequestDataTooBig
        return data


def _refuse_half_characters(value: Any) -> None:
    """Raise ParseError for halves of surrogate pairs: JSON can name them, but no encoding can store them."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += [*each, *each.values()]
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, str) and _HALF_CHARACTER.search(each):
            raise ParseError("JSON parse error - a string has half a character")
