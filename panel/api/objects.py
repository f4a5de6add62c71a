"""One object: read with its ETag, in full or by some of its fields; changed only while it is what was read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Model
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from panel.accounts.models import User
from panel.api import preconditions, sparse
from panel.api.parameters import ApiView
from panel.api.reading import viewer_of
from panel.cluster.redaction import Redaction


@dataclass(frozen=True)
class Kind:
    """How objects of one kind are told: `find` is the viewer's door to one and raises NotFound."""

    model: type[Model]
    serializer: type[Serializer[Any]]
    find: Callable[[User, int], Any]
    context: Callable[[Any], dict[str, Any]] = lambda _: {}

    def told(self, found: Any, viewer: User) -> dict[str, Any]:
        """The object in full, as the viewer may see it."""
        return dict(self.serializer(found, context={**self.context(found), "redaction": Redaction(viewer)}).data)


KINDS: dict[str, Kind] = {}
"""By the first word of their operations' names; views' modules fill it."""


def guard(request: Request, kind: str, object_id: int | None) -> Callable[[], None] | None:
    """What refuses a change of the object where If-Match does not match; see preconditions.py."""
    viewer = viewer_of(request)

    def read() -> dict[str, Any] | None:
        if object_id is None or kind not in KINDS:
            return None
        known = KINDS[kind]
        # Whoever changes the row waits until this change is made or refused.
        known.model._default_manager.select_for_update().filter(pk=object_id).first()
        return known.told(known.find(viewer, object_id), viewer)

    return preconditions.guard(request, read)


def guarded(kind: str) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """A view's method that changes an object, in one transaction with the look at If-Match."""

    def wrap(view: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(view)
        def call(self: Any, request: Request, object_id: int) -> Response:
            check = guard(request, kind, object_id)
            if check is None:
                return tagged(request, kind, object_id, view(self, request, object_id))
            with transaction.atomic():
                check()
                return tagged(request, kind, object_id, view(self, request, object_id))

        return call

    return wrap


def tagged(request: Request, kind: str, object_id: int, answer: Response) -> Response:
    """The answer to a change with the ETag that the object has now, for the next change."""
    if answer.status_code == 200:
        known, viewer = KINDS[kind], viewer_of(request)
        answer.headers["ETag"] = preconditions.etag_of(known.told(known.find(viewer, object_id), viewer))
    return answer


class ObjectView(ApiView):
    """One object of a kind; subclasses name it and say what may be done with it."""

    kind: str

    def get(self, request: Request, object_id: int) -> Response:
        """The object."""
        return one(request, KINDS[self.kind], object_id)


def one(request: Request, kind: Kind, object_id: int) -> Response:
    """The object's answer: its fields, its ETag, or 304."""
    wanted = sparse.asked_fields(kind.serializer, request)
    viewer = viewer_of(request)
    full = kind.told(kind.find(viewer, object_id), viewer)
    answer = full if wanted is None else {name: value for name, value in full.items() if name in wanted}
    return preconditions.told_once(request, full, answer)


def described(serializer: type[Serializer[Any]], **more: Any) -> Any:
    """The schema of reading one object."""
    parameters: list[OpenApiParameter] = [sparse.PARAMETER, preconditions.IF_NONE_MATCH]
    return extend_schema(responses={200: serializer, 304: None}, parameters=parameters, **more)
