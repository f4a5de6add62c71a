"""Many calls as one: `POST /api/v1/batch`, with references between them, and all or nothing where it is asked for.

The calls are carried out by the very views that would answer them alone, in their order, in the caller's name. A value
`{"$ref": "0.vm"}` in a body, or `{0.vm}` in a path, stands for what an earlier call answered. With `atomic` all are
accepted in one transaction, or none is; what becomes of their tasks later is batch_undo.py's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.core.handlers.wsgi import WSGIRequest
from django.db import transaction
from django.http import HttpRequest
from django.urls import Resolver404, resolve
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import idempotency
from panel.api.idempotency import idempotent
from panel.api.models import Batch, BatchCall, BatchState, Undo
from panel.api.parameters import ApiView
from panel.api.reading import MOST_BYTES, Strict, body_of, viewer_of
from panel.core import rates, request_id
from panel.core.errors import InvalidValue, NotFound
from panel.core.transactions import again_if_lost, is_whole
from panel.core.wording import Text

MOST = 50
PREFIX = "/api/v1/"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PLACE = re.compile(r"\{(\d+(?:\.\w+)+)\}")
_REFERENCE = re.compile(r"\d+(?:\.\w+)+\Z")


class CallSerializer(Strict):
    """A call: `path` begins with /api/v1/ and may hold `{0.vm}`, `body` may hold `{"$ref": "0.vm"}` at any depth."""

    method = serializers.ChoiceField(choices=METHODS)
    path = serializers.CharField(max_length=512)
    body = serializers.DictField(required=False)


class BatchSerializer(Strict):
    """Calls, and whether all or none of them count."""

    calls = serializers.ListField(child=CallSerializer(), min_length=1, max_length=MOST)
    atomic = serializers.BooleanField(default=False)


class ResultSerializer(serializers.Serializer[Any]):
    """What a call would have been answered alone."""

    status = serializers.IntegerField()
    body = serializers.JSONField(allow_null=True)


class BatchAnswerSerializer(serializers.Serializer[Any]):
    """One result for each call. `id` is an atomic batch's, to be read at /batch/{id}."""

    id = serializers.IntegerField(allow_null=True)
    results = ResultSerializer(many=True)


class BatchCallSerializer(serializers.ModelSerializer[BatchCall]):
    """A call of an atomic batch; `undo` says what became of its effect after another one's task had failed."""

    undo = serializers.ChoiceField(choices=Undo.choices, allow_blank=True)

    class Meta:
        model = BatchCall
        fields = ["position", "method", "path", "status", "task_id", "undo", "undo_task_id"]


class AtomicBatchSerializer(serializers.ModelSerializer[Batch]):
    """An atomic batch: `done` when all its tasks are, `failed` when one failed and the others were undone."""

    calls = BatchCallSerializer(many=True)

    class Meta:
        model = Batch
        fields = ["id", "state", "request_id", "created_at", "finished_at", "calls"]


class _Refused(Exception):
    """A call of an atomic batch was refused, and with it the batch."""

    def __init__(self, position: int, answer: Response) -> None:
        self.position, self.answer = position, answer


class BatchView(ApiView):
    """Many calls as one."""

    @extend_schema(
        operation_id="batch_create",
        request=BatchSerializer,
        responses=BatchAnswerSerializer,
        parameters=[idempotency.PARAMETER],
    )
    def post(self, request: Request) -> Response:
        """Carry out the calls in their order. Of an atomic batch the first refusal is the answer, with its `call`."""
        try:
            return self._carried_out(request)
        except _Refused as refused:
            data = {**(refused.answer.data or {}), "call": refused.position, "instance": request.path}
            return Response(data, status=refused.answer.status_code, content_type="application/problem+json")

    @idempotent
    def _carried_out(self, request: Request) -> Response:
        asked = BatchSerializer(data=body_of(request))
        asked.is_valid(raise_exception=True)
        calls, atomic = asked.validated_data["calls"], asked.validated_data["atomic"]
        rates.charge(request._request, len(calls))
        if atomic:
            return again_if_lost(lambda: _as_one(request, calls))
        with nullcontext() if is_whole() else _session_kept(request._request):
            return Response({"id": None, "results": _all(request, calls, atomic=False)})


class BatchStateView(ApiView):
    """What became of an atomic batch."""

    @extend_schema(operation_id="batch_get", responses=AtomicBatchSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The batch, with the task of each of its calls."""
        batch = Batch.objects.filter(user=viewer_of(request), pk=object_id).prefetch_related("calls").first()
        if batch is None:
            raise NotFound(object="batch", id=object_id)
        return Response(AtomicBatchSerializer(batch).data)


def _as_one(request: Request, calls: list[dict[str, Any]]) -> Response:
    with _session_kept(request._request), transaction.atomic():
        results = _all(request, calls, atomic=True)
        batch = Batch.objects.create(user=viewer_of(request), request_id=request_id.current())
        rows = [_row(batch, position, call, results[position]) for position, call in enumerate(calls)]
        BatchCall.objects.bulk_create(rows)
        if not any(row.task_id for row in rows):
            Batch.objects.filter(pk=batch.pk).update(state=BatchState.DONE, finished_at=batch.created_at)
    return Response({"id": batch.pk, "results": results})


@contextmanager
def _session_kept(request: HttpRequest) -> Iterator[None]:
    """Have the session as it was before, when what is done here is rolled back."""
    key = request.session.session_key
    try:
        yield
    except Exception:
        # A new password gives it a new key, whose row is gone too: Django would refuse to save it, and answer that.
        request.session = type(request.session)(key)
        raise


def _row(batch: Batch, position: int, call: dict[str, Any], result: dict[str, Any]) -> BatchCall:
    body = result["body"]
    task = body.get("task") if isinstance(body, dict) else None
    return BatchCall(
        batch=batch,
        position=position,
        method=call["method"],
        path=call["path"],
        status=result["status"],
        task_id=task.get("id") if isinstance(task, dict) else None,
    )


def _all(request: Request, calls: list[dict[str, Any]], *, atomic: bool) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    referred = _Referred(results)
    for position, call in enumerate(calls):
        answer = _one(request, position, call, referred)
        lost = answer.status_code >= 500 and not is_whole()
        if lost or (atomic and answer.status_code >= 400):
            raise _Refused(position, answer)
        results.append({"status": answer.status_code, "body": json.loads(json.dumps(answer.data, default=str))})
    return results


def _one(request: Request, position: int, call: dict[str, Any], referred: _Referred) -> Response:
    """A call's answer, from the view that it is for; raises InvalidValue for what cannot be called like this."""
    where = f"calls.{position}"
    path = _PLACE.sub(lambda place: _in_path(referred.found(place[1], f"{where}.path"), where), call["path"])
    parts = urlsplit(path)
    try:
        if not parts.path.startswith(PREFIX) or parts.netloc or not path.isascii():
            raise Resolver404
        match = resolve(parts.path)
    except Resolver404 as error:
        raise InvalidValue(
            Text("“{path}” is no address of the API.", {"path": path[:64]}), field=f"{where}.path"
        ) from error
    view = getattr(match.func, "view_class", None)
    if view is None or not issubclass(view, ApiView) or view is BatchView or view.authentication_classes == []:
        raise InvalidValue(Text("“{path}” cannot be called in a batch.", {"path": path[:64]}), field=f"{where}.path")
    body = json.dumps(_resolved(call.get("body", {}), referred, f"{where}.body")).encode()
    inner = WSGIRequest(
        {
            **{name: value for name, value in request.META.items() if name in ("HTTP_HOST", "REMOTE_ADDR")},
            "SERVER_NAME": "panel",
            "SERVER_PORT": "443",
            "wsgi.url_scheme": "https",
            "REQUEST_METHOD": call["method"],
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": BytesIO(body),
        }
    )
    # The caller as the batch was let in, narrowed by the same token; DRF asks here before its authenticators.
    inner._force_auth_user = viewer_of(request)  # type: ignore[attr-defined]
    # Calls about one's sessions know by it which is the one that asks.
    inner.session = request._request.session
    rates.pass_on(request._request, inner)
    answer = match.func(inner, *match.args, **match.kwargs)
    if not isinstance(answer, Response):
        raise InvalidValue(Text("“{path}” cannot be called in a batch.", {"path": path[:64]}), field=f"{where}.path")
    return answer


def _resolved(value: Any, referred: _Referred, where: str) -> Any:
    """The value with what its references stand for."""
    if isinstance(value, dict):
        if set(value) == {"$ref"}:
            return referred.found(value["$ref"], where, counted=True)
        return {name: _resolved(each, referred, where) for name, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, referred, where) for each in value]
    return value


class _Referred:
    """What calls answered, to be referred to by later ones; in all no more than a body may have."""

    def __init__(self, results: list[dict[str, Any]]) -> None:
        self._results = results
        self._sizes: dict[str, int] = {}
        self._left = MOST_BYTES

    def found(self, reference: Any, where: str, *, counted: bool = False) -> Any:
        """What the reference stands for; raises InvalidValue for nothing, or when all of them are too much."""
        if not isinstance(reference, str) or not _REFERENCE.match(reference) or len(reference) > 200:
            raise InvalidValue("A reference is written as 0.vm: the call's number, then names.", field=where)
        number, *names = reference.split(".")
        if len(number) > 3 or int(number) >= len(self._results):
            raise InvalidValue(Text("“{reference}” refers to no earlier call.", {"reference": reference}), field=where)
        found = self._results[int(number)]["body"]
        for name in names:
            found = _inside(found, name, reference, where)
        if counted:
            self._count(reference, found, where)
        return found

    def _count(self, reference: str, found: Any, where: str) -> None:
        # Before it is written out: a reference of a few bytes may stand for a whole list, many times.
        if reference not in self._sizes:
            self._sizes[reference] = len(json.dumps(found))
        self._left -= self._sizes[reference]
        if self._left < 0:
            text = Text(
                "What the batch's references stand for is more than {most_mib} MiB in all.",
                {"most_mib": MOST_BYTES >> 20},
            )
            raise InvalidValue(text, field=where)


def _inside(found: Any, name: str, reference: str, where: str) -> Any:
    if isinstance(found, list) and name.isdigit() and len(name) < 6 and int(name) < len(found):
        return found[int(name)]
    if isinstance(found, dict) and name in found:
        return found[name]
    raise InvalidValue(
        Text(
            "Call {call} did not answer “{reference}”.", {"call": reference.partition(".")[0], "reference": reference}
        ),
        field=where,
    )


def _in_path(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValue("What a path refers to is an id.", field=f"{where}.path")
    return str(value)
