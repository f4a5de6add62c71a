"""Tasks, their steps and logs, and problems, as the REST API shows them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from panel.api.redacted_fields import ResultField, WordedField, redaction_of
from panel.notices.models import Problem
from panel.tasks.commands import NodeCommand
from panel.tasks.models import Task, TaskLog, TaskStep


@extend_schema_field(
    {
        "type": ["object", "null"],
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        "required": ["code", "message"],
        "additionalProperties": True,
    }
)
class ErrorField(serializers.JSONField):
    """Why a task or a step failed: code, message, and the error's own data; null while nothing did."""

    def to_representation(self, value: Any) -> Any:
        """The error, as the viewer may see it, in their language."""
        redaction = redaction_of(self.context)
        return redaction.stored_error(value)


class NodeCommandSerializer(serializers.Serializer[NodeCommand]):
    """What a step had a node do."""

    node = serializers.CharField()
    command = serializers.CharField()
    at = serializers.DateTimeField(help_text="When it was first asked for.")
    seconds = serializers.FloatField(help_text="How long it took, all times together.")
    times = serializers.IntegerField(help_text="How often it was asked for, one after the other.")
    outcome = serializers.CharField(help_text="“done”, or the code of an error.")


class StepSerializer(serializers.ModelSerializer[TaskStep]):
    """A step of a task."""

    title = WordedField(source="worded_title")
    progress_text = WordedField(source="worded_progress")
    error = ErrorField()
    commands = serializers.SerializerMethodField(help_text="What it had nodes do; none for who may not know nodes.")

    class Meta:
        model = TaskStep
        fields = [
            "position",
            "name",
            "title",
            "status",
            "attempts",
            "progress",
            "progress_text",
            "error",
            "commands",
            "started_at",
            "finished_at",
        ]

    @extend_schema_field(NodeCommandSerializer(many=True))
    def get_commands(self, step: TaskStep) -> list[NodeCommand]:
        """Those that are kept."""
        return [] if redaction_of(self.context).is_on else step.commands or []


class TaskSerializer(serializers.ModelSerializer[Task]):
    """A task without its steps, as lists show it."""

    title = WordedField(source="worded_title")
    owner = serializers.CharField(source="owner.name", default=None, allow_null=True)
    result = ResultField()
    error = ErrorField()

    class Meta:
        model = Task
        fields = [
            "id",
            "operation",
            "title",
            "status",
            "undoing",
            "progress",
            "object_type",
            "object_id",
            "object_name",
            "owner",
            "request_id",
            "result",
            "error",
            "created_at",
            "started_at",
            "finished_at",
        ]


class TaskDetailSerializer(TaskSerializer):
    """A task with its steps."""

    steps = StepSerializer(many=True)

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "steps"]


class TaskLogSerializer(serializers.ModelSerializer[TaskLog]):
    """A line of a task's log."""

    text = WordedField(source="worded")

    class Meta:
        model = TaskLog
        fields = ["at", "step", "level", "text"]


class ProblemSerializer(serializers.ModelSerializer[Problem]):
    """A problem."""

    text = WordedField(source="worded")

    class Meta:
        model = Problem
        fields = [
            "id",
            "key",
            "severity",
            "text",
            "object_type",
            "object_id",
            "opened_at",
            "seen_at",
            "closed_at",
            "acknowledged_at",
            "acknowledged_by",
            "note",
        ]
