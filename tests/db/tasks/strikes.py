"""What befalls a task: a step of it fails, or its worker dies at one of its moments."""

from __future__ import annotations

import pytest

from panel.core.errors import OperationFailed
from panel.tasks import engine
from panel.tasks.models import Task, TaskStep
from panel.vms.usage import differing
from tests.db.conftest import run_task

PAST = "2000-01-01T00:00:00Z"


class Died(BaseException):
    """The worker is killed: nothing of the engine may catch this."""


class Strike(engine.Observer):
    """Strikes once, at one moment of one step, in one direction."""

    def __init__(self, step: str, moment: str, blow: BaseException, *, undoing: bool = False) -> None:
        self.step, self.moment, self.blow, self.undoing = step, moment, blow, undoing
        self.struck = False

    def _strike(self, moment: str, task: Task, step: TaskStep) -> None:
        if self.struck or (moment, step.name, task.undoing) != (self.moment, self.step, self.undoing):
            return
        self.struck = True
        raise self.blow

    def before(self, task: Task, step: TaskStep) -> None:
        """Before the step's function."""
        self._strike("before", task, step)

    def ran(self, task: Task, step: TaskStep) -> None:
        """After it, before its output is stored."""
        self._strike("ran", task, step)

    def stored(self, task: Task, step: TaskStep) -> None:
        """After its output is stored."""
        self._strike("stored", task, step)


class FailAndStrike(Strike):
    """Fails the last step, and strikes on the way back."""

    def __init__(self, last: str, step: str, moment: str) -> None:
        super().__init__(step, moment, Died(), undoing=True)
        self.last = last

    def before(self, task: Task, step: TaskStep) -> None:
        """Fail the last step forwards."""
        if step.name == self.last and not task.undoing:
            raise OperationFailed("It was meant to fail.", step=step.name)
        super().before(task, step)


def die_and_go_on(task: Task, observer: engine.Observer) -> Task:
    """Run into the worker's death, let its lease run out, and have another worker go on."""
    with pytest.raises(Died):
        run_task(task, observer)
    assert not list(differing())
    Task.objects.filter(pk=task.pk).update(lease_until=PAST)
    return run_task(task)
