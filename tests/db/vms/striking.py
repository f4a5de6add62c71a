"""What befalls a task of a VM's life (test_life.py): its step fails, or its worker dies."""

from __future__ import annotations

from hypothesis import strategies as st

from panel.core.errors import OperationFailed
from panel.tasks import engine
from panel.tasks.models import Task, TaskStep

MOMENTS = ("before", "ran", "stored")
Drawn = tuple[str, int, str, int]
"""The kind, the step, the moment and, on the way back, how many steps."""


class Died(BaseException):
    """The worker is killed: nothing of the engine may catch this."""


class Strike(engine.Observer):
    """What befalls a task: its step fails, its worker dies there, or the one and, on the way back, the other."""

    def __init__(self, kind: str, step: str, moment: str, back: int) -> None:
        self.kind, self.step, self.moment, self.back = kind, step, moment, back
        self.failed = self.died = False

    def _at(self, moment: str, task: Task, step: TaskStep) -> None:
        if task.undoing:
            self.back -= 1
            if self.kind == "both" and not self.died and self.back < 0:
                self.died = True
                raise Died
            return
        if self.failed or self.died or (step.name, moment) != (self.step, self.moment):
            return
        if self.kind == "dies":
            self.died = True
            raise Died
        if moment != "stored":
            self.failed = True
            raise OperationFailed("It was meant to fail.", step=step.name)

    def before(self, task: Task, step: TaskStep) -> None:
        """Before the step's function."""
        self._at("before", task, step)

    def ran(self, task: Task, step: TaskStep) -> None:
        """After it, before its output is stored."""
        self._at("ran", task, step)

    def stored(self, task: Task, step: TaskStep) -> None:
        """After its output is stored."""
        self._at("stored", task, step)


STRIKES = st.one_of(
    st.none(),
    st.none(),
    st.tuples(
        st.sampled_from(["fails", "dies", "both"]), st.integers(0, 9), st.sampled_from(MOMENTS), st.integers(0, 5)
    ),
)
