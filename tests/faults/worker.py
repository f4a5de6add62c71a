"""The panel's own worker, that dies at a moment written in the VM's name.

"ran-3-x" dies by SIGKILL after step 3 ran and before its output is stored, "stored-3-x" right after it
was stored, "undo-3-x" fails at the last step and dies after the undo of step 3 ran. Each task kills
once: a file in FAULTS_DIR remembers. For nodes, "every-x" dies once after each step of node.add, and
"every-back-x" fails at its last step and dies once after each undo. A file `strike` in FAULTS_DIR with
"vm.migrate ran 4" has the next task of that operation die once at that moment ("undo": its step that
commits fails first), whatever its object is called. Everything else is the real engine in real processes.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import django

django.setup()

from panel.celery import app  # noqa: E402
from panel.core.errors import OperationFailed  # noqa: E402
from panel.tasks import engine, registry  # noqa: E402
from panel.tasks.models import Task, TaskStep  # noqa: E402

__all__ = ["app"]

NAME = re.compile(r"(?P<moment>ran|stored|undo)-(?P<position>\d+)-")


class Killer(engine.Observer):
    """Kills this process at the moments that the object's name says, each once."""

    def before(self, task: Task, step: TaskStep) -> None:
        """Fail the last step of a task that is to be undone."""
        last = len(registry.get(task.operation).steps) - 1
        to_undo = task.object_name.startswith(("undo-", "every-back-")) and task.operation in ("vm.create", "node.add")
        commits = registry.get(task.operation).steps[step.position].commits
        to_undo = (to_undo and step.position == last) or (commits and self._planned(task)[:1] == ["undo"])
        if to_undo and not task.undoing:
            raise OperationFailed("It was meant to fail.", step=step.name)

    def ran(self, task: Task, step: TaskStep) -> None:
        """After a step or its undo ran."""
        if task.operation == "node.add" and task.object_name.startswith("every-"):
            if task.undoing or not task.object_name.startswith("every-back-"):
                self._kill(f"{task.pk}-{step.position}")
        else:
            self._strike(task, step, "undo" if task.undoing else "ran")

    def stored(self, task: Task, step: TaskStep) -> None:
        """After what it answered was stored."""
        if not task.undoing:
            self._strike(task, step, "stored")

    def _strike(self, task: Task, step: TaskStep, moment: str) -> None:
        asked = NAME.match(task.object_name)
        here = (moment, str(step.position))
        if self._planned(task) == list(here):
            (Path(os.environ["FAULTS_DIR"]) / "strike").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if task.operation == "vm.create" and asked and (asked["moment"], asked["position"]) == here:
            self._kill(str(task.pk))

    def _planned(self, task: Task) -> list[str]:
        """The moment and the step's position at which a task of this operation is to die, if it is."""
        try:
            operation, *rest = (Path(os.environ["FAULTS_DIR"]) / "strike").read_text(encoding="ascii").split()
        except (FileNotFoundError, ValueError):
            return []
        return rest if operation == task.operation else []

    def _kill(self, mark: str) -> None:
        try:
            (Path(os.environ["FAULTS_DIR"]) / mark).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


# The engine makes its observer when it is given none; the worker gives none.
engine.Observer = Killer  # type: ignore[misc]
