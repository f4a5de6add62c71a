"""One operation on many VMs: one request, one answer for each."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.operations import (
    KEY_HEADER,
    LONGEST_KEY,
    SWITCHES,
    body_of,
    idempotency_key,
    is_asked,
    refuse_unconfirmed,
    viewer_of,
)
from panel.api.parameters import ApiView
from panel.api.reading import Strict
from panel.cluster.redaction import Redaction
from panel.core import kinds, permissions, rates
from panel.core.errors import InvalidValue, PanelError
from panel.tasks import registry
from panel.tasks.declaration import Declaration
from panel.tasks.queue import announced_together

MOST = 100
"""Objects of one request: each is a transaction of its own."""


class GroupSerializer(Strict):
    """Which objects, and the operation's own parameters for all of them."""

    ids = serializers.ListField(child=serializers.IntegerField(min_value=1), min_length=1, max_length=MOST)
    params = serializers.DictField(required=False)


class AnswerSerializer(serializers.Serializer[Any]):
    """What became of one: its task's id, or the error it was refused with."""

    id = serializers.IntegerField()
    task = serializers.IntegerField(required=False)
    error = serializers.DictField(required=False)


class GroupAnswerSerializer(serializers.Serializer[Any]):
    """One answer for each object, in the order of the request."""

    results = AnswerSerializer(many=True)


def group_views() -> list[URLPattern]:
    """A path for each operation on an existing VM."""
    return [
        path(f"{kinds.get(each.object_type).plural}/group/{each.verb}", _view_of(each))
        for each in registry.every()
        if each.object_type == "vm" and not each.creates
    ]


def _view_of(operation: Declaration[Any]) -> Any:
    class GroupView(ApiView):
        """One operation on many objects."""

        @extend_schema(
            operation_id=f"{operation.name.replace('.', '_').replace('-', '_')}_group",
            summary=f"{operation.label} many",
            tags=[kinds.get(operation.object_type).plural],
            parameters=[each for each in SWITCHES if each.name not in ("plan", "If-Match")],
            request=GroupSerializer,
            responses=GroupAnswerSerializer,
        )
        def post(self, request: Request) -> Response:
            """Ask for the operation on each; what is refused for one holds up no other."""
            permissions.require(viewer_of(request), operation.permission)
            refuse_unconfirmed(request, operation)
            asked = GroupSerializer(data=body_of(request))
            asked.is_valid(raise_exception=True)
            # What is wrong for all is told once.
            operation.parse(asked.validated_data.get("params", {}))
            key = idempotency_key(request)
            ids = list(dict.fromkeys(asked.validated_data["ids"]))
            if key is not None and len(f"{key}:{max(ids)}") > LONGEST_KEY:
                raise InvalidValue("An idempotency key of a group has at most 100 characters.", field=KEY_HEADER)
            rates.charge(request._request, len(ids))
            with announced_together():
                results = [_one(operation, request, asked.validated_data, each, key) for each in ids]
            return Response({"results": results})

    name = "".join(part.capitalize() for part in operation.name.replace("-", ".").split("."))
    GroupView.__name__ = GroupView.__qualname__ = f"{name}GroupView"
    return GroupView.as_view()


def _one(
    operation: Declaration[Any], request: Request, asked: dict[str, Any], object_id: int, key: str | None
) -> dict[str, Any]:
    try:
        task = operation.submit(
            viewer_of(request),
            dict(asked.get("params", {})),
            object_id=object_id,
            idempotency_key=f"{key}:{object_id}" if key else None,
            queue=is_asked(request, "queue"),
        )
    except PanelError as error:
        return {"id": object_id, "error": Redaction(viewer_of(request)).error(error).as_dict()}
    return {"id": object_id, "task": task.pk}
