"""What anybody may do: single rights, and which of them each level has and may be given by a role.

A right is `app.verb`; an operation names the one it needs. Whose objects somebody reaches is not decided
here but by the selectors: a user's own, an administrator's all.
"""

from __future__ import annotations

from typing import Protocol

from panel.core.errors import AccessDenied

RIGHTS: dict[str, str] = {
    "vms.view": "See VMs",
    "vms.create": "Create and clone VMs",
    "vms.power": "Start, stop and restart",
    "vms.delete": "Delete VMs",
    "vms.console": "Open the console",
    "vms.snapshot": "Make, revert and delete snapshots",
    "vms.devices": "Disks, ISO images and network interfaces",
    "vms.change": "Change a VM's name, password and keys",
    "vms.reinstall": "Reinstall VMs",
    "vms.rescue": "Rescue mode",
    "vms.configure": "Change CPUs, memory and limits",
    "vms.suspend": "Suspend VMs",
    "vms.assign": "Give VMs to another owner",
    "tasks.view": "See tasks",
    "tasks.cancel": "Cancel tasks",
    "tasks.manage": "Have stuck tasks tried again",
    "cluster.view": "See nodes, pools and problems",
    "cluster.manage": "Run the cluster: nodes, networks, pools, policies",
    "images.manage": "OS images, ISO images and flavors of all",
    "notices.view": "See problems",
    "notices.manage": "Settle problems",
    "users.view": "See users",
    "users.manage": "Make, change and delete users",
    "users.open": "Open the panel as a user",
    "account.view": "See the account's own tokens, SSH keys and second factor",
    "journal.own": "Read the journal of what is the account's own",
    "journal.view": "Read the journal of all",
    "settings.manage": "Settings and roles",
}
"""Every single right, with its words on a page."""

ALWAYS = frozenset({"vms.view", "tasks.view", "account.view", "journal.own"})
"""What no role leaves out, since every page needs it, or it is the account's own; a token may be without."""

_USER = frozenset(
    {
        *ALWAYS,
        "vms.create",
        "vms.power",
        "vms.delete",
        "vms.console",
        "vms.snapshot",
        "vms.devices",
        "vms.change",
        "vms.reinstall",
        "vms.rescue",
        "tasks.cancel",
    }
)
_READONLY = frozenset({*ALWAYS, "cluster.view", "notices.view", "users.view"})
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
            "users.open",
        }
    )
)
_SUPER = frozenset(RIGHTS)

BY_LEVEL: dict[str, frozenset[str]] = {
    "user": _USER,
    "readonly": _READONLY,
    "admin": _ADMIN,
    "super": _SUPER,
}
"""The rights of each level's accounts that have no role."""

MOST_BY_LEVEL: dict[str, frozenset[str]] = {
    "user": _USER | {"vms.configure"},
    "readonly": _READONLY | {"journal.view"},
    "admin": _ADMIN | {"users.manage", "journal.view"},
    "super": _SUPER,
}
"""The rights that a role for each level may be composed of."""


class Viewer(Protocol):
    """Whoever asks: an accounts.User, seen from below the accounts app."""

    @property
    def rights(self) -> frozenset[str]:
        """All rights that the viewer has now, by this way in."""

    @property
    def withheld(self) -> frozenset[str]:
        """Operations that the viewer may not ask for though the right is there."""


def allows(viewer: Viewer, permission: str) -> bool:
    """Whether the viewer has the permission."""
    return permission in viewer.rights


def require(viewer: Viewer, permission: str) -> None:
    """Raise AccessDenied unless the viewer has the permission."""
    if not allows(viewer, permission):
        raise AccessDenied(permission=permission)


def allows_operation(viewer: Viewer, permission: str, operation: str) -> bool:
    """Whether the viewer has the permission, and the operation of that name is not withheld."""
    return allows(viewer, permission) and operation not in viewer.withheld


def require_operation(viewer: Viewer, permission: str, operation: str) -> None:
    """Raise AccessDenied unless the viewer may ask for the operation."""
    require(viewer, permission)
    if operation in viewer.withheld:
        raise AccessDenied(permission=operation)
