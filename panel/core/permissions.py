"""What each level may do. A permission is `room.verb`; an operation names the one it needs.

Whose objects somebody reaches is not decided here but by the selectors: a user's own, an
administrator's all.
"""

from __future__ import annotations

from typing import Protocol

from panel.core.errors import AccessDenied


class Viewer(Protocol):
    """Whoever asks: an accounts.User, seen from below the accounts room."""

    level: str
    may_create_vms: bool


_USER = frozenset(
    {
        "vms.view",
        "vms.create",
        "vms.power",
        "vms.delete",
        "vms.console",
        "vms.snapshot",
        "vms.devices",
        "vms.change",
        "vms.reinstall",
        "vms.rescue",
        "tasks.view",
        "tasks.cancel",
    }
)
_READONLY = frozenset({"vms.view", "tasks.view", "cluster.view", "notices.view"})
_ADMIN = (
    _USER
    | _READONLY
    | frozenset(
        {
            "cluster.manage",
            "vms.configure",
            "vms.suspend",
            "vms.assign",
            "images.manage",
            "tasks.manage",
            "notices.manage",
        }
    )
)
_SUPER = _ADMIN | frozenset({"users.manage", "settings.manage"})

BY_LEVEL: dict[str, frozenset[str]] = {
    "user": _USER,
    "readonly": _READONLY,
    "admin": _ADMIN,
    "super": _SUPER,
}


def allows(viewer: Viewer, permission: str) -> bool:
    """Whether the viewer has the permission."""
    if permission == "vms.create" and not viewer.may_create_vms:
        return False
    return permission in BY_LEVEL.get(viewer.level, frozenset())


def require(viewer: Viewer, permission: str) -> None:
    """Raise AccessDenied unless the viewer has the permission."""
    if not allows(viewer, permission):
        raise AccessDenied(permission=permission)
