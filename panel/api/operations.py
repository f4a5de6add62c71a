"""Every operation of the registry as a REST action: path, body, answer and schema follow from its class.

`POST /vms` for vm.create, `POST /vms/{id}/start` for vm.start, `DELETE /vms/{id}` for vm.delete.
"""

from __future__ import annotations

from typing import Any

from django.db.models import prefetch_related_objects
from django.urls import URLPattern, path
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.models import User
from panel.api import objects
from panel.api.parameters import ApiView
from panel.api.preconditions import IF_MATCH
from panel.api.reading import KEY_HEADER as KEY_HEADER
from panel.api.reading import LONGEST_KEY as LONGEST_KEY
from panel.api.reading import REPLAYED
from panel.api.reading import body_of as body_of
from panel.api.reading import idempotency_key as idempotency_key
from panel.api.reading import is_asked as is_asked
from panel.api.reading import refuse_unconfirmed as refuse_unconfirmed
from panel.api.reading import refuse_unset as refuse_unset
from panel.api.reading import viewer_of as viewer_of
from panel.api.task_serializers import TaskDetailSerializer
from panel.cluster.redaction import Redaction
from panel.core import kinds
from panel.tasks import registry
from panel.tasks.declaration import Declaration
from panel.tasks.models import Task

REMOVING_VERBS = ("delete", "remove")


def policies_of(serializer: type[serializers.ModelSerializer[Any]], request: Request) -> dict[str, Any]:
    """The policies that the body sets, checked; raises InvalidValue for what cannot be set."""
    body = body_of(request)
    asked = serializer(data=body, partial=True)
    refuse_unset(body, [name for name, field in asked.fields.items() if not field.read_only])
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


def submit(
    operation: Declaration[Any], request: Request, object_id: int | None = None, raw: dict[str, Any] | None = None
) -> Response:
    """Carry a request to its operation: 202 with the task, or 200 with the plan for `?plan=1`.

    With `raw` that is asked for in place of the body.
    """
    viewer = viewer_of(request)
    raw = body_of(request) if raw is None else raw
    refuse_unconfirmed(request, operation)
    if is_asked(request, "plan"):
        plan, redaction = operation.plan(viewer, raw, object_id=object_id), Redaction(viewer)
        # Which node and storage it is, and who is at work there, is told to those who see nodes.
        locks = [each for each in plan["locks"] if each["kind"] == "vm" or not redaction.is_on]
        return Response({"operation": operation.name, "locks": locks, "steps": redaction.planned(plan["steps"])})
    key = idempotency_key(request)
    task = operation.submit(
        viewer,
        raw,
        object_id=object_id,
        idempotency_key=key,
        queue=is_asked(request, "queue"),
        precondition=objects.guard(request, operation.object_type, object_id),
    )
    return accepted(task, viewer)


def accepted(task: Task, viewer: User) -> Response:
    """202, the task, what its reservation made, and where to follow it."""
    redaction = Redaction(viewer)
    prefetch_related_objects([task], "steps")
    body: dict[str, Any] = {"task": TaskDetailSerializer(task, context={"redaction": redaction}).data}
    for step in task.steps.all():
        body.update(redaction.data(step.output.get("result", {})))
    replayed = {REPLAYED: "true"} if task.replayed else {}
    return Response(body, status=202, headers={"Location": f"/api/v1/tasks/{task.pk}", **replayed})


SWITCHES = [
    OpenApiParameter("plan", bool, description="Answer the steps and what each would change, and do nothing."),
    OpenApiParameter("queue", bool, description="Wait behind a task that holds the object instead of 409."),
    OpenApiParameter(KEY_HEADER, str, OpenApiParameter.HEADER, description="The same key and body give the same task."),
    IF_MATCH,
]


class PlannedStepSerializer(serializers.Serializer[Any]):
    """A step, and what it would change."""

    name = serializers.CharField()
    title = serializers.CharField()
    changes = serializers.CharField()
    difference = serializers.CharField()
    can_be_undone = serializers.BooleanField()
    seconds_before = serializers.FloatField(
        allow_null=True, help_text="How long it took, the median of the last runs; null: it was never done."
    )


class PlannedLockSerializer(serializers.Serializer[Any]):
    """What would be held until the end, and by which task it is held now, for which `?queue=1` would wait."""

    kind = serializers.CharField()
    id = serializers.IntegerField()
    exclusive = serializers.BooleanField()
    task = serializers.IntegerField(allow_null=True)


class PlanSerializer(serializers.Serializer[Any]):
    """What an operation would do."""

    operation = serializers.CharField()
    locks = PlannedLockSerializer(many=True)
    steps = PlannedStepSerializer(many=True)


class AcceptedSerializer(serializers.Serializer[Any]):
    """The task that carries an operation out, and what it has made already: of `vm.create` the VM and its address."""

    task = TaskDetailSerializer()
    vm = serializers.IntegerField(required=False)
    uuid = serializers.CharField(required=False)
    node = serializers.JSONField(required=False)
    address = serializers.CharField(required=False, allow_null=True, help_text="The first of its addresses.")
    addresses = serializers.ListField(child=serializers.CharField(), required=False)
    network = serializers.IntegerField(required=False)


ACCEPTED = OpenApiResponse(AcceptedSerializer, "The task that carries it out.")


TWICE = ("vm.delete", "node.remove", "network.remove", "dns-server.remove")
"""Operations that DELETE of the object asks for too, which is what the schema tells of: one name a call."""


def describe(operation: Declaration[Any], *, hidden: bool = False) -> Any:
    """The schema of an operation's action; `hidden` where another call asks for the same."""
    takes_body = bool(operation.params.model_fields) and operation.verb not in REMOVING_VERBS
    return extend_schema(
        operation_id=operation.name.replace(".", "_").replace("-", "_"),
        exclude=hidden,
        summary=f"{operation.label} {operation.object_type}",
        description=(type(operation).__doc__ or "").strip(),
        tags=[kinds.get(operation.object_type).plural],
        parameters=SWITCHES,
        request=operation.params if takes_body else None,
        responses={200: OpenApiResponse(PlanSerializer, "The plan, for `?plan=1`."), 202: ACCEPTED},
    )


def action_views() -> list[URLPattern]:
    """A path for each operation on an existing object."""
    found = []
    for operation in registry.every():
        kind = kinds.get(operation.object_type)
        plural = kind.plural
        if kind.only is not None:
            found.append(path(f"{plural}/{operation.verb}", _view_of(operation), {"object_id": kind.only}))
        elif not operation.creates:
            found.append(path(f"{plural}/<int:object_id>/{operation.verb}", _view_of(operation)))
    return found


def _view_of(operation: Declaration[Any]) -> Any:
    class OperationView(ApiView):
        """One operation on one object."""

        @describe(operation, hidden=operation.name in TWICE)
        def post(self, request: Request, object_id: int) -> Response:
            """Ask for the operation."""
            return submit(operation, request, object_id)

    name = "".join(part.capitalize() for part in operation.name.replace("-", ".").split("."))
    OperationView.__name__ = OperationView.__qualname__ = f"{name}View"
    return OperationView.as_view()
