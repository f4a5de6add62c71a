"""What is asked for at the same moment: all checked before any reserves, and one that waits for another's rows."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest
from django.db import connection

from panel.accounts.models import User
from panel.core.errors import PanelError
from panel.tasks import registry
from panel.tasks.operation import Operation


def waits_for_a_lock() -> bool:
    """Whether some transaction waits for a row of another."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
        return bool(int(cursor.fetchone()[1]))


def ask_at_once(
    monkeypatch: pytest.MonkeyPatch,
    viewer: User,
    name: str,
    vm_ids: Iterable[int],
    raw: dict[str, Any],
    *,
    queue: bool = False,
) -> list[PanelError | None]:
    """Ask for the operation on each of the VMs (one may be named twice); the refusals, None for what was taken."""
    operation: Operation[Any] = registry.get(name)
    asked = list(vm_ids)
    together, check = threading.Barrier(len(asked)), operation.check
    answers: list[PanelError | None] = []

    def all_before_any_reserves(ctx: Any, viewer: User) -> None:
        check(ctx, viewer)
        together.wait(20)

    def ask(vm_id: int) -> None:
        try:
            operation.submit(viewer, raw, object_id=vm_id, queue=queue)
            answers.append(None)
        except PanelError as error:
            answers.append(error)
        finally:
            connection.close()

    monkeypatch.setattr(operation, "check", all_before_any_reserves)
    threads = [threading.Thread(target=ask, args=(vm_id,)) for vm_id in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == len(asked)
    return answers
