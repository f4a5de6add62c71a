"""Problems over REST: what is wrong, what was, and that somebody knows of it. problems.py words errors."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described, guarded
from panel.api.parameters import ApiView
from panel.api.preconditions import IF_MATCH
from panel.api.reading import body_of, refuse_unset, viewer_of
from panel.api.task_serializers import ProblemSerializer
from panel.core.errors import InvalidValue
from panel.core.wording import Text
from panel.notices import services
from panel.notices.models import LONGEST_NOTE, Problem
from panel.notices.selectors import STATES, get_problem, list_problems

KINDS["problem"] = Kind(Problem, ProblemSerializer, get_problem)


class ProblemsView(ListView):
    """Problems: the open ones, unless another `state` is asked for."""

    serializer = ProblemSerializer
    newest_first = True
    filters = {"severity": "severity", "object_type": "object_type", "object_id": "object_id", "key": "key"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """Those of the state, for those who see the cluster."""
        state = request.query_params.get("state", "open")
        if state not in STATES:
            told = {"name": "state", "value": state[:64]}
            raise InvalidValue(Text("“{name}” cannot be “{value}”.", told), field="state")
        return list_problems(viewer_of(request), state)

    @listed(ProblemSerializer, "state", *filters)
    def get(self, request: Request) -> Response:
        """One page of problems, the newest first; `state` is open, unacknowledged, acknowledged, ended or all."""
        return super().get(request)


class ProblemView(ObjectView):
    """One problem."""

    kind = "problem"

    @described(ProblemSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The problem, open or ended."""
        return super().get(request, object_id)


class NoteSerializer(serializers.Serializer[Any]):
    """What is said with an acknowledgement."""

    note = serializers.CharField(max_length=LONGEST_NOTE, required=False, allow_blank=True)


class ProblemAcknowledgeView(ApiView):
    """That somebody knows of a problem."""

    @extend_schema(request=NoteSerializer, responses=ProblemSerializer, parameters=[IF_MATCH])
    @guarded("problem")
    def post(self, request: Request, object_id: int) -> Response:
        """Acknowledge the problem: it does not count any more, until it ends or becomes worse."""
        body = body_of(request)
        refuse_unset(body, ["note"])
        asked = NoteSerializer(data=body)
        asked.is_valid(raise_exception=True)
        viewer = viewer_of(request)
        problem = get_problem(viewer, object_id)
        return _told(request, services.acknowledge(problem, viewer, asked.validated_data.get("note", "")))


class ProblemUnacknowledgeView(ApiView):
    """That a problem counts again."""

    @extend_schema(request=None, responses=ProblemSerializer, parameters=[IF_MATCH])
    @guarded("problem")
    def post(self, request: Request, object_id: int) -> Response:
        """Take the acknowledgement back."""
        viewer = viewer_of(request)
        return _told(request, services.take_acknowledgement_back(get_problem(viewer, object_id), viewer))


def _told(request: Request, problem: Problem) -> Response:
    return Response(KINDS["problem"].told(problem, viewer_of(request)))
