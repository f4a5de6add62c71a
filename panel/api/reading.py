"""How a request is read: who asks, which form its answer has, what its body may be, and its switches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import IO, Any, cast

from django.core.exceptions import RequestDataTooBig
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import NotAcceptable, ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.models import User
from panel.core.errors import ConfirmationRequired, InvalidValue
from panel.core.wording import Text
from panel.tasks.declaration import Declaration

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
            found = super().parse(cast(IO[bytes], _Bounded(stream)), media_type, parser_context)
        except RecursionError as error:
            raise ParseError("JSON parse error - too deep") from error
        _refuse_half_characters(found)
        return found


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


class Strict(serializers.Serializer[Any]):
    """What is read by it has no field that it does not know: a token whose `right` was set would have all rights."""

    def to_internal_value(self, data: Any) -> Any:
        """The values; raises InvalidValue before anything else is looked at."""
        if isinstance(data, Mapping):
            settable = [name for name, field in self.fields.items() if not field.read_only]
            refuse_unset(data, settable)
        return super().to_internal_value(data)


def refuse_unset(body: Mapping[str, Any], settable: Iterable[str]) -> None:
    """Raise InvalidValue for a field that cannot be set."""
    allowed = sorted(settable)
    for name in body:
        if name not in allowed:
            name = str(name)[:64]
            raise InvalidValue(Text("“{name}” cannot be set here.", {"name": name}), field=name, allowed=allowed)


LONGEST_KEY = 128
KEY_HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
"""Of an answer that was given before."""
CONFIRMED_HEADER = "X-Confirmed"
"""What a page sends once its user was asked and said yes."""


def viewer_of(request: Request) -> User:
    """Who asks; the permission classes have seen to it that somebody does."""
    assert isinstance(request.user, User)
    return request.user


def body_of(request: Request) -> dict[str, Any]:
    """The body's fields; raises InvalidValue for a body that has none."""
    raw = request.data if request.data is not None else {}
    if not isinstance(raw, dict):
        raise InvalidValue("The body must be a JSON object.", field="body")
    return raw


def idempotency_key(request: Request) -> str | None:
    """The key that a caller gave the request; raises InvalidValue."""
    key: str | None = request.headers.get(KEY_HEADER)
    if key is not None and not 1 <= len(key) <= LONGEST_KEY:
        raise InvalidValue("An idempotency key has 1 to 128 characters.", field=KEY_HEADER)
    return key


def is_asked(request: Request, name: str) -> bool:
    """Whether a switch of the address is on; raises InvalidValue for what is neither on nor off."""
    text = request.query_params.get(name, "0").lower()
    if text not in ("0", "false", "no", "1", "true", "yes"):
        raise InvalidValue(Text("“{name}” is 1 or 0.", {"name": name}), field=name)
    return text in ("1", "true", "yes")


def refuse_unconfirmed(request: Request, operation: Declaration[Any]) -> None:
    """Raise ConfirmationRequired where a page did not ask its user before what cannot be taken back.

    A page is known by its session; who calls with a token knows what it asks for. A plan changes nothing.
    """
    by_page = isinstance(request.successful_authenticator, SessionAuthentication)
    if not operation.dangerous or not by_page or is_asked(request, "plan"):
        return
    if request.headers.get(CONFIRMED_HEADER) != "yes":
        question = f"{operation.label}? {operation.warning}".strip()
        raise ConfirmationRequired(question=question, header=CONFIRMED_HEADER)


def numbered(request: Request, field: str, default: int | None, most: int) -> int | None:
    """A number from 1 to `most`; raises InvalidValue."""
    found = request.query_params.get(field)
    if found is None:
        return default
    if not (found.isascii() and found.isdigit() and len(found) < 20 and 1 <= int(found) <= most):
        text = Text("“{field}” must be a number from 1 to {most}.", {"field": field, "most": most})
        raise InvalidValue(text, field=field)
    return int(found)


def created(data: Any, path: str) -> Response:
    """201, and where what was made is found."""
    return Response(data, status=201, headers={"Location": f"/api/v1/{path}"})
