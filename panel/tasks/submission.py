"""Asking for an operation: check, reserve, commit, queue. Nothing of it is carried out here (engine.py).

Before it the declaration (declaration.py), behind it the queue. What gives way to a new task is cancelled as a person
would have it (services.py).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import BaseModel, SecretStr

from panel import __version__
from panel.accounts import journal
from panel.accounts.models import User
from panel.core import kinds, permissions, request_id, secretbox
from panel.core.errors import IdempotencyMismatch, MissingValue, NotFound, PanelError
from panel.core.transactions import again_if_lost
from panel.core.wording import Text, for_row
from panel.tasks import live, locks
from panel.tasks.context import Context, P
from panel.tasks.declaration import Declaration, Step
from panel.tasks.locks import LockSpec
from panel.tasks.models import StepStatus, Task, TaskSecret, TaskStep
from panel.tasks.planning import Plan, seconds_before
from panel.tasks.queue import enqueue
from panel.tasks.services import give_way

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""How often a request is made when others make the same at the same moment."""


def submit(
    operation: Declaration[P],
    viewer: User,
    raw: dict[str, Any],
    *,
    object_id: int | None = None,
    idempotency_key: str | None = None,
    queue: bool = False,
    precondition: Callable[[], None] | None = None,
) -> Task:
    """Check the request, reserve what it needs and queue its task; answers the saved task.

    `queue` waits behind a task that holds a lock, else that is refused with Busy. The same
    idempotency key with the same request answers the task that it made before. `precondition` is called in
    the transaction that makes the task, before anything else, and refuses by raising.

    Raises RequestError, CapacityError or Busy; then nothing was changed.
    """
    permissions.require_operation(viewer, operation.permission, operation.name)
    params = operation.parse(raw)
    digest = _digest(operation, params, object_id)

    def attempt() -> Task:
        return _submit_once(operation, viewer, params, object_id, idempotency_key, digest, queue, precondition)

    for number in range(ATTEMPTS):
        if idempotency_key and (earlier := _earlier(viewer, idempotency_key, digest)):
            return earlier
        try:
            return again_if_lost(attempt)
        except PanelError:
            # The same request at the same time may be what this one is refused for.
            if idempotency_key and (earlier := _earlier(viewer, idempotency_key, digest)):
                return earlier
            raise
        except IntegrityError:
            if not idempotency_key or number == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def plan(operation: Declaration[P], viewer: User, raw: dict[str, Any], *, object_id: int | None = None) -> Plan:
    """What submit() would lead to; changes nothing.

    `steps`, each with what it would change (Texts, which Redaction.planned() shows) and the seconds that it took before
    (None: it was never done), and `locks`, those on objects that are there already, each with the task that holds it
    now.

    Raises what submit() would, but for Busy.
    """
    permissions.require_operation(viewer, operation.permission, operation.name)
    ctx = _new_context(operation, viewer, operation.parse(raw), object_id)
    operation.check(ctx, viewer)
    took = seconds_before(operation.name)
    steps = [
        {
            "name": step.name,
            "title": Text(step.title),
            "changes": _changes(step, ctx),
            "difference": step.difference(ctx) if step.difference else "",
            "can_be_undone": step.undo is not None,
            "seconds_before": took.get(step.name),
        }
        for step in operation.steps
    ]
    return {"locks": locks.planned(ctx.task, _wanted(operation, ctx)), "steps": steps}


def _changes(step: Step, ctx: Context[Any]) -> Text:
    told = step.describe(ctx) if step.describe else step.title
    return told if isinstance(told, Text) else Text(told)


def _wanted(operation: Declaration[P], ctx: Context[P]) -> list[tuple[LockSpec, int | None]]:
    return [(spec, each) for spec in operation.locks for each in ctx.lock_ids(spec.kind)]


def _new_context(operation: Declaration[P], viewer: User, params: P, object_id: int | None) -> Context[P]:
    task = Task(
        operation=operation.name,
        owner=viewer,
        created_by=viewer,
        request_id=request_id.current(),
        params=_public(params),
        params_version=operation.params_version,
        release=__version__,
        next_run_at=timezone.now(),
    )
    ctx = operation.context(task, params)
    ctx.step_names = operation.step_names
    if operation.creates:
        task.object_type = operation.object_type
    else:
        kind = kinds.get(operation.object_type)
        if object_id is None:
            raise MissingValue(field="id")
        obj = kind.find(viewer, object_id)
        if obj is None:
            raise NotFound(object=operation.object_type, id=object_id)
        operation.refuse_state(obj)
        ctx.set_object(operation.object_type, obj.pk, str(obj))
        ctx.earlier = _present(obj, task.params)
        task.owner = kind.owner(obj) or viewer
        if (node_id := kind.node_id(obj)) is not None:
            ctx.set_node(node_id)
    return ctx


def _submit_once(
    operation: Declaration[P],
    viewer: User,
    params: P,
    object_id: int | None,
    key: str | None,
    digest: str,
    queue: bool,
    precondition: Callable[[], None] | None,
) -> Task:
    with transaction.atomic():
        if precondition is not None:
            precondition()
        ctx = _new_context(operation, viewer, params, object_id)
        task = ctx.task
        task.idempotency_key, task.idempotency_digest = key, digest
        operation.check(ctx, viewer)
        outputs = {}
        for step in operation.steps:
            if step.inline:
                outputs[step.name] = ctx.outputs[step.name] = step.run(ctx) or {}
        task.title, task.title_said = for_row(operation.title(ctx))
        task.save()
        TaskStep.objects.bulk_create(_step_rows(operation, task, outputs))
        for kind, each, amounts in ctx.to_reserve:
            ctx.reserve(kind, each, **amounts)
        _record(operation, ctx, viewer)
        if secret := _secrets(params):
            TaskSecret.objects.create(task=task, sealed=secretbox.seal(secret))
        superseded = locks.take(task, _wanted(operation, ctx), queue=queue, supersedes=operation.supersedes)
        transaction.on_commit(lambda: give_way(superseded, task, viewer))
        transaction.on_commit(lambda: live.task_changed(task))
        transaction.on_commit(lambda: enqueue(task.pk))
    log.info("task %s: %s asked for by %s", task.pk, task.title, viewer)
    return task


def _record(operation: Declaration[P], ctx: Context[P], viewer: User) -> None:
    task = ctx.task
    # What has no value before stays as it was asked for: a disk to remove, a size to grow to.
    known = {name: value for name, value in task.params.items() if name in ctx.earlier}
    before, after = journal.changed(ctx.earlier, known)
    after |= {name: value for name, value in task.params.items() if name not in ctx.earlier}
    journal.record(
        viewer,
        operation.name,
        task.object_type,
        task.object_id,
        task.object_name,
        owner_id=task.owner_id,
        task_id=task.pk,
        before=before,
        after=after,
    )


def _step_rows(operation: Declaration[P], task: Task, outputs: dict[str, dict[str, Any]]) -> list[TaskStep]:
    now = timezone.now()
    rows = []
    for position, step in enumerate(operation.steps):
        row = TaskStep(task=task, position=position, name=step.name, title=step.title, weight=step.weight)
        if step.inline:
            row.status, row.output, row.progress = StepStatus.DONE, outputs[step.name], 1.0
            row.attempts, row.started_at, row.finished_at = 1, now, now
        rows.append(row)
    return rows


def _digest(operation: Declaration[P], params: P, object_id: int | None) -> str:
    # Keyed, since the parameters may hold a password and the digest stands in the task's row.
    everything = {**_public(params), **_secrets(params)}
    # What is as it is unasked does not count: a release that adds a parameter knows an order of the one before.
    asked = {name: value for name, value in everything.items() if not _is_default(params, name)}
    text = json.dumps([operation.name, object_id, asked], sort_keys=True)
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def _earlier(viewer: User, key: str, digest: str) -> Task | None:
    task = Task.objects.filter(created_by=viewer, idempotency_key=key).first()
    if task is not None and not hmac.compare_digest(task.idempotency_digest, digest):
        raise IdempotencyMismatch(task=task.pk)
    if task is not None:
        task.replayed = True
    return task


def _present(obj: Any, names: Iterable[str]) -> dict[str, Any]:
    """What the object has now under those of the names that are plain values of its own."""
    found = {name: vars(obj)[name] for name in names if name in vars(obj)}
    return {name: value for name, value in found.items() if isinstance(value, str | int | float | bool | list | None)}


def _secret_fields(params: BaseModel) -> set[str]:
    return {name for name in type(params).model_fields if isinstance(getattr(params, name), SecretStr)}


def _is_default(params: BaseModel, name: str) -> bool:
    default = type(params).model_fields[name].get_default(call_default_factory=True, validated_data={})
    return bool(getattr(params, name) == default)


def _public(params: BaseModel) -> dict[str, Any]:
    return params.model_dump(mode="json", exclude=_secret_fields(params))


def _secrets(params: BaseModel) -> dict[str, str]:
    return {name: getattr(params, name).get_secret_value() for name in sorted(_secret_fields(params))}
