"""What an operation is, and how one is asked for: check, reserve, commit, queue.

An operation is one class in one file under a room's operations/ folder; registry.py knows them all,
engine.py carries them out. Everything that a door needs (path, button, permission, title, verb)
follows from the class.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import BaseModel, SecretStr

from panel import __version__
from panel.accounts import journal
from panel.accounts.models import User
from panel.core import permissions, request_id, secretbox
from panel.core.errors import IdempotencyMismatch, MissingValue, NotFound, PanelError
from panel.core.transactions import again_if_lost
from panel.core.validation import Params as Params
from panel.core.validation import parse
from panel.tasks import live, locks, subjects
from panel.tasks.context import Context, P
from panel.tasks.locks import LockSpec
from panel.tasks.models import StepStatus, Task, TaskSecret, TaskStep
from panel.tasks.planning import Plan, seconds_before
from panel.tasks.queue import enqueue
from panel.tasks.requirements import Requirement, demand

log = logging.getLogger(__name__)

Convert = Callable[[dict[str, Any]], dict[str, Any]]
StepFunction = Callable[[Any], "dict[str, Any] | None"]

ATTEMPTS = 5
"""How often a request is made when others make the same at the same moment."""


@dataclass(frozen=True)
class Step:
    """One step: what to do, how to undo it, and how large it is beside the others.

    `run` answers a JSON-ready dictionary that later steps read, or None. Both functions may be
    repeated, so they look first whether their effect is there. `inline` steps run in the caller's
    transaction, before the task is queued, and touch nothing but the database. `describe` tells for
    a plan what the step would change, `difference` the descriptions' unified difference. Once a step that
    `commits` is done the operation goes forward only: it cannot be cancelled any more, and what fails then
    waits as `stuck` for a person to have it tried again. After a step that `ends_secrets` no step needs one: the task's
    are deleted with its end. No undo ever has them: they are deleted when a task turns back.

    Rows know a step by its `name` for as long as any task has it, through upgrades too: its function's unless `id` says
    another, so a function that is called anew keeps the old one as `id`, or has it among `formerly`.
    """

    run: StepFunction
    title: str
    undo: Callable[[Any], None] | None = None
    weight: int = 1
    inline: bool = False
    commits: bool = False
    ends_secrets: bool = False
    describe: Callable[[Any], str] | None = None
    difference: Callable[[Any], str] | None = None
    id: str = ""
    formerly: tuple[str, ...] = ()
    """What the step was called in releases whose tasks may still be there."""

    @property
    def name(self) -> str:
        """The step's id."""
        return self.id or self.run.__name__


class Operation(Generic[P]):
    """Base of every operation; see docs/decisions/0002 for the phases."""

    name: ClassVar[str]
    label: ClassVar[str]
    """The button: one or two words."""
    permission: ClassVar[str]
    params: type[P]
    params_version: ClassVar[int] = 1
    """Grows with every change of `params` that would misread what a task before it was asked for."""
    older_params: ClassVar[Mapping[int, Convert]] = {}
    """By version: how a task's parameters of it become those of the next one. Without it such a task ends as stuck."""
    context: ClassVar[type[Context[Any]]] = Context
    requires: ClassVar[Sequence[Requirement]] = ()
    """What must hold of the object: asked for without it the operation is refused, also when its turn comes."""
    offered: ClassVar[Sequence[Requirement]] = ()
    """What must hold besides for a page to offer it. Asked for nevertheless it is taken: what it leads to is there."""
    locks: ClassVar[Sequence[LockSpec]] = ()
    steps: ClassVar[Sequence[Step]] = ()
    on_failure: ClassVar[Literal["undo", "stop"]] = "undo"
    """`stop` is for operations that go forward only, such as a deletion: they fail where they are, and
    can be asked for again."""
    cancellable: ClassVar[Literal["always", "queued", "never"]] = "always"
    """Until when: its last step (or the one that commits), its first, or not even while it waits, since what it is for
    holds from the moment that it was asked for."""
    creates: ClassVar[bool] = False
    """Whether the object is made by the operation, so that asking names no existing one."""
    dangerous: ClassVar[bool] = False
    """Whether a page asks before it does it."""
    warning: ClassVar[str] = ""
    """What a page says before it does it: a sentence, where the button alone does not say what is lost."""
    rare: ClassVar[bool] = False
    """Whether its button is not even shown while the operation makes no sense for the object."""
    asks: ClassVar[bool] = False
    """Whether a page asks for the parameters although none is required; one that requires any always does."""
    placed: ClassVar[bool] = False
    """Whether the object's page has a place of its own for it, so that it is not among the buttons."""
    supersedes: ClassVar[Sequence[str]] = ()
    """Operations that give way to it: a task of theirs is cancelled and its end waited for, instead of Busy."""
    at_panel: ClassVar[bool] = False
    """Whether only a worker on the panel's machine (PanelHere) may carry it out; others leave the task to it."""

    @property
    def object_type(self) -> str:
        """What kind of object the operation is about: the part of its name before the dot."""
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        """What it does with it: the part of its name after the dot."""
        return self.name.partition(".")[2]

    @property
    def step_names(self) -> dict[Callable[..., Any], str]:
        """The ids of its steps by their functions."""
        return {step.run: step.name for step in self.steps}

    def title(self, ctx: Context[P]) -> str:
        """The task's title, for people."""
        return f"{self.label} {ctx.task.object_name}".strip()

    def why_not(self, obj: Any) -> str:
        """Why a page does not offer it for the object as it is now, a sentence; empty where it does."""
        try:
            self.refuse_state(obj)
            demand(obj, *self.offered)
        except PanelError as error:
            return error.message
        return ""

    def refuse_state(self, obj: Any) -> None:
        """Raise RequestError where the object's state forbids the operation, whatever its own check looks at."""
        if not self.creates:
            subjects.get(self.object_type).refuse(self.name, obj)
            demand(obj, *self.requires)

    def refuse_now(self, ctx: Context[P]) -> None:
        """refuse_state() when the task's turn comes: the object may have changed while it waited."""
        if self.creates:
            return
        subjects.get(self.object_type).refuse_at_turn(self.name, ctx)
        # One that is gone is the steps' matter.
        if (obj := ctx.find_object()) is not None:
            demand(obj, *(each.again for each in self.requires))

    def warning_about(self, obj: Any) -> str:
        """What a page says of the object before it does it: the operation's own warning, and what its state adds."""
        added = "" if self.creates else subjects.get(self.object_type).warning(self.name, obj)
        return " ".join(filter(None, (self.warning, added)))

    def initial(self, obj: Any) -> dict[str, Any]:
        """What a form about the object shows in the parameters to begin with."""
        return {}

    def check(self, ctx: Context[P], viewer: User) -> None:
        """Refuse with a reason before anything is touched; reads only.

        Raises RequestError or CapacityError.
        """

    def parse(self, raw: dict[str, Any]) -> P:
        """The parameters from a door's raw input; raises InvalidValue or MissingValue naming the field."""
        return parse(self.params, raw)

    def submit(
        self,
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
        permissions.require_operation(viewer, self.permission, self.name)
        params = self.parse(raw)
        digest = self._digest(params, object_id)

        def submit() -> Task:
            return self._submit_once(viewer, params, object_id, idempotency_key, digest, queue, precondition)

        for attempt in range(ATTEMPTS):
            if idempotency_key and (earlier := _earlier(viewer, idempotency_key, digest)):
                return earlier
            try:
                return again_if_lost(submit)
            except PanelError:
                # The same request at the same time may be what this one is refused for.
                if idempotency_key and (earlier := _earlier(viewer, idempotency_key, digest)):
                    return earlier
                raise
            except IntegrityError:
                if not idempotency_key or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def plan(self, viewer: User, raw: dict[str, Any], *, object_id: int | None = None) -> Plan:
        """What submit() would lead to; changes nothing.

        `steps`, each with what it would change and the seconds that it took before (None: it was never done), and
        `locks`, those on objects that are there already, each with the task that holds it now.

        Raises what submit() would, but for Busy.
        """
        permissions.require_operation(viewer, self.permission, self.name)
        ctx = self._new_context(viewer, self.parse(raw), object_id)
        self.check(ctx, viewer)
        took = seconds_before(self.name)
        steps = [
            {
                "name": step.name,
                "title": step.title,
                "changes": step.describe(ctx) if step.describe else step.title,
                "difference": step.difference(ctx) if step.difference else "",
                "can_be_undone": step.undo is not None,
                "seconds_before": took.get(step.name),
            }
            for step in self.steps
        ]
        return {"locks": locks.planned(ctx.task, self._wanted(ctx)), "steps": steps}

    def _wanted(self, ctx: Context[P]) -> list[tuple[LockSpec, int | None]]:
        return [(spec, each) for spec in self.locks for each in ctx.lock_ids(spec.kind)]

    def _new_context(self, viewer: User, params: P, object_id: int | None) -> Context[P]:
        task = Task(
            operation=self.name,
            owner=viewer,
            created_by=viewer,
            request_id=request_id.current(),
            params=_public(params),
            params_version=self.params_version,
            release=__version__,
            next_run_at=timezone.now(),
        )
        ctx = self.context(task, params)
        ctx.step_names = self.step_names
        if self.creates:
            task.object_type = self.object_type
        else:
            subject = subjects.get(self.object_type)
            if object_id is None:
                raise MissingValue(field="id")
            obj = subject.find(viewer, object_id)
            if obj is None:
                raise NotFound(object=self.object_type, id=object_id)
            self.refuse_state(obj)
            ctx.set_object(self.object_type, obj.pk, str(obj))
            ctx.earlier = _present(obj, task.params)
            task.owner = subject.owner(obj) or viewer
            if (node_id := subject.node_id(obj)) is not None:
                ctx.set_node(node_id)
        return ctx

    def _submit_once(
        self,
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
            ctx = self._new_context(viewer, params, object_id)
            task = ctx.task
            task.idempotency_key, task.idempotency_digest = key, digest
            self.check(ctx, viewer)
            outputs = {}
            for step in self.steps:
                if step.inline:
                    outputs[step.name] = ctx.outputs[step.name] = step.run(ctx) or {}
            task.title = self.title(ctx)
            task.save()
            TaskStep.objects.bulk_create(self._step_rows(task, outputs))
            for kind, each, amounts in ctx.to_reserve:
                ctx.reserve(kind, each, **amounts)
            self._record(ctx, viewer)
            if secret := _secrets(params):
                TaskSecret.objects.create(task=task, sealed=secretbox.seal(secret))
            superseded = locks.take(task, self._wanted(ctx), queue=queue, supersedes=self.supersedes)
            from panel.tasks.services import give_way

            transaction.on_commit(lambda: give_way(superseded, task, viewer))

            transaction.on_commit(lambda: live.task_changed(task))
            transaction.on_commit(lambda: enqueue(task.pk))
        log.info("task %s: %s asked for by %s", task.pk, task.title, viewer)
        return task

    def _record(self, ctx: Context[P], viewer: User) -> None:
        task = ctx.task
        # What has no value before stays as it was asked for: a disk to remove, a size to grow to.
        known = {name: value for name, value in task.params.items() if name in ctx.earlier}
        before, after = journal.changed(ctx.earlier, known)
        after |= {name: value for name, value in task.params.items() if name not in ctx.earlier}
        journal.record(
            viewer,
            self.name,
            task.object_type,
            task.object_id,
            task.object_name,
            owner_id=task.owner_id,
            task_id=task.pk,
            before=before,
            after=after,
        )

    def _step_rows(self, task: Task, outputs: dict[str, dict[str, Any]]) -> list[TaskStep]:
        now = timezone.now()
        rows = []
        for position, step in enumerate(self.steps):
            row = TaskStep(task=task, position=position, name=step.name, title=step.title, weight=step.weight)
            if step.inline:
                row.status, row.output, row.progress = StepStatus.DONE, outputs[step.name], 1.0
                row.attempts, row.started_at, row.finished_at = 1, now, now
            rows.append(row)
        return rows

    def _digest(self, params: P, object_id: int | None) -> str:
        # Keyed, since the parameters may hold a password and the digest stands in the task's row.
        everything = {**_public(params), **_secrets(params)}
        # What is as it is unasked does not count: a release that adds a parameter knows an order of the one before.
        asked = {name: value for name, value in everything.items() if not _is_default(params, name)}
        text = json.dumps([self.name, object_id, asked], sort_keys=True)
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
