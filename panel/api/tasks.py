"""Tasks: reading them, ending them, having a stuck one tried again; and all that can be asked for."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers as rest
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.models import User
from panel.api import operations, task_serializers
from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described
from panel.api.operations import viewer_of
from panel.api.parameters import ApiView
from panel.cluster.redaction import Redaction
from panel.core import permissions
from panel.tasks import registry, services
from panel.tasks.models import Task
from panel.tasks.selectors import get_task, list_tasks


class TasksView(ListView):
    """Tasks."""

    serializer = task_serializers.TaskSerializer
    newest_first = True
    filters = {
        "status": "status",
        "operation": "operation",
        "object_type": "object_type",
        "object_id": "object_id",
        "request_id": "request_id",
    }

    def objects(self, request: Request) -> QuerySet[Any]:
        """The tasks about the viewer's objects."""
        return list_tasks(viewer_of(request))

    @listed(task_serializers.TaskSerializer, *filters)
    def get(self, request: Request) -> Response:
        """One page of tasks, the newest first."""
        return super().get(request)


KINDS["task"] = Kind(Task, task_serializers.TaskDetailSerializer, get_task)


class TaskView(ObjectView):
    """One task."""

    kind = "task"

    @described(task_serializers.TaskDetailSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The task with its steps."""
        return super().get(request, object_id)


class TaskLogView(ApiView):
    """A task's log."""

    @extend_schema(responses=task_serializers.TaskLogSerializer(many=True))
    def get(self, request: Request, object_id: int) -> Response:
        """Its lines, at most the first thousand."""
        viewer = viewer_of(request)
        lines = get_task(viewer, object_id).log.all()[:1000]
        return Response(
            task_serializers.TaskLogSerializer(lines, many=True, context={"redaction": Redaction(viewer)}).data
        )


class TaskCancelView(ApiView):
    """Ending a task before its end."""

    @extend_schema(request=None, responses={202: operations.ACCEPTED})
    def post(self, request: Request, object_id: int) -> Response:
        """Ask for the task's end; it undoes what it did."""
        viewer = viewer_of(request)
        return operations.accepted(services.cancel(get_task(viewer, object_id), viewer), viewer)


class TaskRetryUndoView(ApiView):
    """A second try for a task that is stuck."""

    @extend_schema(request=None, responses={202: operations.ACCEPTED})
    def post(self, request: Request, object_id: int) -> Response:
        """Have the task try its undo again."""
        viewer = viewer_of(request)
        return operations.accepted(services.retry_undo(get_task(viewer, object_id), viewer), viewer)


class TaskGiveUpView(ApiView):
    """The end of a task that is stuck, as it is."""

    @extend_schema(request=None, responses={202: operations.ACCEPTED})
    def post(self, request: Request, object_id: int) -> Response:
        """End the task without undoing anything: what it did is left, and what it held can be used again."""
        viewer = viewer_of(request)
        return operations.accepted(services.give_up_stuck(get_task(viewer, object_id), viewer), viewer)


class OperationSerializer(rest.Serializer[Any]):
    """An operation; `params` is the JSON Schema of its body."""

    name = rest.CharField()
    object_type = rest.CharField()
    verb = rest.CharField()
    label = rest.CharField()  # type: ignore[assignment]
    description = rest.CharField()
    creates = rest.BooleanField()
    dangerous = rest.BooleanField(help_text="Whether it cannot be taken back, so that people are asked before.")
    warning = rest.CharField(allow_blank=True, help_text="What they are told then.")
    permission = rest.CharField()
    params = rest.DictField()


class OperationsView(ApiView):
    """All that can be asked for."""

    @extend_schema(operation_id="operation_list", responses=OperationSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The operations that the viewer has the right to."""
        viewer: User = viewer_of(request)
        return Response(
            [
                {
                    "name": each.name,
                    "object_type": each.object_type,
                    "verb": each.verb,
                    "label": each.label,
                    "description": (type(each).__doc__ or "").strip().splitlines()[0],
                    "creates": each.creates,
                    "dangerous": each.dangerous,
                    "warning": each.warning,
                    "permission": each.permission,
                    "params": each.params.model_json_schema(),
                }
                for each in registry.every()
                if permissions.allows(viewer, each.permission)
            ]
        )
