"""What a step sees of the world: parameters, the object, earlier outputs, progress, log.

Apps above widen it (vms/context.py adds the VM and its node). Nothing here reaches a node.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from nodeagent.protocol import Fence
from panel.core.errors import Cancelled, Fenced
from panel.core.wording import Text
from panel.tasks import logbook, reservations
from panel.tasks.commands import NodeCommand
from panel.tasks.models import Task

P = TypeVar("P", bound=BaseModel)


class Context(Generic[P]):
    """The narrow view that steps, undo functions, checks and plans work through.

    In `check` and `plan` there is no saved task: `task.pk` is None and log() and progress() do nothing.
    """

    def __init__(self, task: Task, params: P, outputs: dict[str, dict[str, Any]] | None = None) -> None:
        self.task = task
        self.params = params
        self.outputs = outputs if outputs is not None else {}
        self.step_name = ""
        self.step_names: Mapping[Callable[..., Any], str] = {}
        """The ids of the operation's steps by their functions."""
        self.earlier: dict[str, Any] = {}
        """While the operation is asked for: the object's values of those parameters that have one."""
        self.to_reserve: list[tuple[str, int, dict[str, int]]] = []
        """What inline steps reserve while the task has no row yet."""
        self.checkpoint: dict[str, Any] = {}
        """What the present step has put down by raising Reschedule before."""
        self.committed = False
        """Whether a step that commits is done."""
        self.commands: list[NodeCommand] = []
        """What the present step had nodes do."""
        self.failed_step = ""
        """On the way back: the step that failed."""
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self._report: Callable[[float, str | Text], None] | None = None

    @property
    def fence(self) -> Fence:
        """What the node checks so that only the present holder of the task can change anything."""
        return Fence(task=self.task.pk, number=self.task.fence)

    @property
    def undoing(self) -> bool:
        """Whether the task is on its way back."""
        return self.task.undoing

    def undoes_refused(self, agent_code: str) -> bool:
        """Whether the step that is being undone is the one that failed, and failed since a node refused it so."""
        failed_so = (self.task.error or {}).get("agent_code") == agent_code
        return self.undoing and failed_so and self.step_name == self.failed_step

    def find_object(self) -> Any | None:
        """The object that the operation was asked for, as it is now; None where it is gone, or of no app above."""
        return None

    def output(self, step: Callable[..., Any]) -> dict[str, Any]:
        """What an earlier step function answered; empty while it has not run to its end."""
        return self.outputs.get(self.step_names.get(step, step.__name__), {})

    def set_object(self, kind: str, object_id: int, name: str) -> None:
        """Say which object the task is about; a reserve step that makes the object calls this."""
        self.task.object_type, self.task.object_id, self.task.object_name = kind, object_id, name

    def set_node(self, node_id: int) -> None:
        """Say which node the task works on."""
        self.task.node_id = node_id

    def reserve(self, kind: str, object_id: int, **amounts: int) -> None:
        """Have an object counted as so large at least until the task ends, whatever its row says; in a transaction."""
        if self.task.pk is None:
            self.to_reserve.append((kind, object_id, amounts))
        else:
            reservations.reserve(self.task, kind, object_id, **amounts)

    def lock_id(self, kind: str) -> int | None:
        """The id of the object of `kind` that this task is about; None where there is none to lock."""
        if kind == self.task.object_type:
            return self.task.object_id
        if kind == "node":
            return self.task.node_id
        return None

    def lock_ids(self, kind: str) -> list[int | None]:
        """The same for operations that are about several objects of a kind."""
        return [self.lock_id(kind)]

    def progress(self, fraction: float, text: str | Text = "") -> None:
        """Report how far the present step is (0 to 1); also the place where a step notices that it must stop.

        Raises Cancelled, or Fenced when another worker holds the task by now.
        """
        self.stop_if_asked()
        if self._report is not None:
            self._report(min(max(fraction, 0.0), 1.0), text)

    def stop_if_asked(self) -> None:
        """Raise Fenced when the task was lost to another worker, Cancelled when a person cancelled it."""
        if self.lost.is_set():
            raise Fenced(task=self.task.pk, node="")
        if self.cancelled.is_set() and not self.undoing and not self.committed:
            raise Cancelled(by=self.task.cancel_requested_by)

    def log(self, text: str | Text, level: str = "info") -> None:
        """Add a line to the task's log. Never a secret."""
        if self.task.pk is not None:
            logbook.write(self.task.pk, text, step=self.step_name, level=level)
