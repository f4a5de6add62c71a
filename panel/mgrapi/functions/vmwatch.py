"""`vmwatch.configure`: the panel's monitoring."""

from __future__ import annotations

from panel.accounts.models import User
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Done
from panel.tasks import registry


def configure(viewer: User, call: Call) -> Done:
    """Configure every monitoring service as the panel's options say; `rotate=on` makes a new secret."""
    task = registry.get("vmwatch.configure").submit(viewer, {"rotate": call.flag("rotate")}, object_id=1)
    return Done({"task": task.pk})


FUNCTIONS = {"vmwatch.configure": configure}
