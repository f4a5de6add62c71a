"""The panel's own worker, that waits at one moment of one step until a test has done its harm.

FAULTS_DIR/plan.json names the operation, the step and the moment ("before" the step runs, or when it "ran" and
nobody knows yet). There the worker writes its process id to `reached` and goes on when there is `go`; once.
It takes a node for cut off sooner than usual, since a sweep cuts many. Everything else is the real engine in real
processes.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import django

django.setup()

from panel.celery import app  # noqa: E402
from panel.cluster import session  # noqa: E402
from panel.tasks import engine  # noqa: E402
from panel.tasks.models import Task, TaskStep  # noqa: E402

__all__ = ["app"]

LONGEST_WAIT = 60.0


class Pauser(engine.Observer):
    """Waits where the plan says."""

    def before(self, task: Task, step: TaskStep) -> None:
        """Before a step."""
        self._pause("before", task, step)

    def ran(self, task: Task, step: TaskStep) -> None:
        """When it ran, and what it answered is not stored."""
        self._pause("ran", task, step)

    def _pause(self, moment: str, task: Task, step: TaskStep) -> None:
        folder = Path(os.environ["FAULTS_DIR"])
        try:
            plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        if [task.operation, step.name, moment] != plan or task.undoing or (folder / "reached").exists():
            return
        partial = folder / f"reached.{os.getpid()}"
        partial.write_text(str(os.getpid()), encoding="ascii")
        partial.rename(folder / "reached")
        until = time.monotonic() + LONGEST_WAIT
        while not (folder / "go").exists() and time.monotonic() < until:
            time.sleep(0.02)


session.PING_SECONDS, session.SILENCE_SECONDS = 1.5, 6.0
# The engine makes its observer when it is given none; the worker gives none.
engine.Observer = Pauser  # type: ignore[misc]
