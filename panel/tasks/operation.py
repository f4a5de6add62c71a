"""The base of every operation: what it declares (declaration.py), and that it can be asked for (submission.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from panel.accounts.models import User
from panel.core.validation import Params as Params
from panel.tasks import submission
from panel.tasks.context import P
from panel.tasks.declaration import Declaration
from panel.tasks.declaration import Step as Step
from panel.tasks.models import Task
from panel.tasks.planning import Plan


class Operation(Declaration[P]):
    """Base of every operation."""

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
        """Check the request, reserve what it needs and queue its task; answers the saved task (submission.submit)."""
        return submission.submit(
            self,
            viewer,
            raw,
            object_id=object_id,
            idempotency_key=idempotency_key,
            queue=queue,
            precondition=precondition,
        )

    def plan(self, viewer: User, raw: dict[str, Any], *, object_id: int | None = None) -> Plan:
        """What submit() would lead to; changes nothing (submission.plan)."""
        return submission.plan(self, viewer, raw, object_id=object_id)
