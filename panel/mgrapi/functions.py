"""The functions of the classic API, by name. Each calls the same operations as everything else."""

from __future__ import annotations

from collections.abc import Callable

from panel.accounts.models import User
from panel.mgrapi.protocol import Call
from panel.tasks import registry

Function = Callable[[User, Call], dict[str, str]]


def vmwatch_configure(viewer: User, call: Call) -> dict[str, str]:
    """Configure every monitoring service as the panel's options say; `rotate=on` makes a new secret."""
    task = registry.get("vmwatch.configure").submit(viewer, {"rotate": call.flag("rotate")}, object_id=1)
    return {"task": str(task.pk)}


FUNCTIONS: dict[str, Function] = {
    "vmwatch.configure": vmwatch_configure,
}
