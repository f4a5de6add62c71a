"""What this release makes of a task that another one made: its operation, parameters and steps, or why it cannot.

A task outlives upgrades. The engine carries on with it only where all of it is understood; it never guesses what a step
that it does not know has done, or what a parameter meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from panel.core import secretbox
from panel.core.errors import NotUnderstood
from panel.tasks import registry
from panel.tasks.declaration import Declaration, Step
from panel.tasks.models import StepStatus, Task, TaskSecret, TaskStep


def operation_of(task: Task) -> Declaration[Any]:
    """The task's operation, which takes its parameters; raises NotUnderstood."""
    operation = registry.find(task.operation)
    if operation is None:
        raise not_understood(task, f"it has no operation “{task.operation}”.")
    made, ours = task.params_version, operation.params_version
    if made > ours:
        raise not_understood(
            task, f"the parameters are of version {made}, and “{task.operation}” knows {ours} at most."
        )
    if missing := next((each for each in range(made, ours) if each not in operation.older_params), None):
        raise not_understood(task, f"parameters of version {missing} of “{task.operation}” are not known any more.")
    return operation


def params_of(operation: Declaration[Any], task: Task) -> Any:
    """The task's parameters in the operation's present form, with their secrets while it has any.

    Raises NotUnderstood.
    """
    try:
        raw = dict(task.params)
        for version in range(task.params_version, operation.params_version):
            raw = operation.older_params[version](raw)
        if secret := TaskSecret.objects.filter(task=task).first():
            raw.update(secretbox.unseal(bytes(secret.sealed)))
        return operation.params.model_validate(raw)
    except (ValidationError, LookupError, TypeError, ValueError) as error:
        # Not the error's own text, which may show a value.
        raise not_understood(task, f"its parameters are none of “{task.operation}”{_fields(error)}.") from error


def rows_of(operation: Declaration[Any], task: Task) -> dict[str, TaskStep]:
    """The task's steps by the ids that the operation has now; one that it had not yet is added where its turn can come.

    Raises NotUnderstood.
    """
    known = {name: step.name for step in operation.steps for name in (step.name, *step.formerly)}
    rows = {}
    for row in task.steps.all():
        if row.name not in known:
            raise not_understood(task, f"it does not know the step “{row.title}” ({row.name}).")
        rows[known[row.name]] = row
    for place, step in enumerate(operation.steps):
        # What a task that goes back never did needs no undo.
        if step.name not in rows and not task.undoing:
            _refuse_too_late(task, step, [rows[each.name] for each in operation.steps[place:] if each.name in rows])
            rows[step.name] = _add(task, step)
    return rows


def _refuse_too_late(task: Task, step: Step, after: Sequence[TaskStep]) -> None:
    if step.inline or any(row.status != StepStatus.PENDING for row in after):
        raise not_understood(task, f"the task is beyond the step “{step.title}” ({step.name}), which it did not have.")


def _add(task: Task, step: Step) -> TaskStep:
    position = max(task.steps.values_list("position", flat=True), default=-1) + 1
    return TaskStep.objects.create(task=task, position=position, name=step.name, title=step.title, weight=step.weight)


def _fields(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return ""
    names = sorted({".".join(str(part) for part in each["loc"]) for each in error.errors(include_input=False)})
    return f" ({', '.join(names)})"


def not_understood(task: Task, reason: str) -> NotUnderstood:
    """The error of a task that this release cannot carry on with."""
    release = f"release {task.release}" if task.release else "an earlier release"
    return NotUnderstood(task=task.pk, release=release, reason=reason)
