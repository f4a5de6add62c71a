"""`userrights`, `userrights.suspend`, `userrights.resume`: what a user may do, named by functions.

A right that is suspended makes the user a role of their own, of what is left.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from panel.accounts import roles, services
from panel.accounts.models import Role, User
from panel.core import permissions
from panel.core.errors import AccessDenied, NotFound
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Done, Rows
from panel.mgrapi.functions.lists import Row, chosen
from panel.mgrapi.functions.users import find_user

RIGHTS = {
    "vm.edit": "vms.create",
    "vm.clone": "vms.create",
    "vm.start": "vms.power",
    "vm.stop": "vms.power",
    "vm.restart": "vms.power",
    "vm.delete": "vms.delete",
    "vm.chpasswd": "vms.change",
    "vm.reinstall": "vms.reinstall",
    "vm.novnc": "vms.console",
    "novnc": "vms.console",
    "iplist.edit": "vms.devices",
    "iplist.delete": "vms.devices",
    "ippool": "cluster.view",
    "ippool.edit": "cluster.manage",
    "ippool.delete": "cluster.manage",
    "volume.edit": "vms.devices",
    "volume.delete": "vms.devices",
    "snapshot.edit": "vms.snapshot",
    "snapshot.revert": "vms.snapshot",
    "snapshot.delete": "vms.snapshot",
    "vmhostnode": "cluster.view",
    "vmhostnode.edit": "cluster.manage",
    "vmhostnode.delete": "cluster.manage",
    "vm.migrate": "cluster.manage",
    "preset.edit": "images.manage",
    "preset.delete": "images.manage",
    "user": "users.view",
    "user.edit": "users.manage",
    "session.newkey": "users.open",
}
"""The right that a function needs; several may need one, and are suspended each for itself."""
OPERATIONS = {
    "vm.edit": ("vm.create",),
    "vm.stop": ("vm.force-off",),
    "vm.restart": ("vm.reset",),
    "vm.chpasswd": ("vm.configure-guest",),
    "iplist.edit": ("vm.add-interface", "vm.add-address"),
    "iplist.delete": ("vm.remove-interface", "vm.remove-address"),
    "volume.edit": ("vm.add-disk", "vm.grow-disk"),
    "volume.delete": ("vm.remove-disk",),
    "snapshot.edit": ("vm.snapshot",),
    "snapshot.revert": ("vm.revert-snapshot",),
    "snapshot.delete": ("vm.delete-snapshot",),
}
"""Operations that go with a function, besides one of its own name: they are refused by REST and pages too."""


def refuse_withheld(viewer: User, call: Call, acts: bool) -> None:
    """Raise AccessDenied for a function that was suspended; forms that need no right are shown still."""
    if call.func in viewer.withheld and (acts or call.func in ("novnc", "vm.novnc")):
        raise AccessDenied(permission=call.func)


def userrights(viewer: User, call: Call) -> Rows:
    """Which functions the user `plid`, or `elid` alone, may call. With both, only those below the function `elid`."""
    user = find_user(viewer, call.text("plid") or call.need("elid"), "plid" if call.text("plid") else "elid")
    below = f"{call.text('elid')}." if call.text("plid") and call.text("elid") else ""
    most = permissions.MOST_BY_LEVEL[user.level]
    rows: list[Row] = [
        {
            "id": func,
            "name": func,
            "desc": permissions.RIGHTS[right],
            "active": right in user.rights and func not in user.withheld,
        }
        for func, right in RIGHTS.items()
        if right in most and func.startswith(below)
    ]
    return chosen(call, rows)


def _suspended(user: User, named: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The user `plid` may not call the functions `elid` any more; others that need the same right stay."""
    withheld = user.withheld | {each for func in named for each in (func, *OPERATIONS.get(func, ()))}
    gone = {right for right in RIGHTS.values() if all(func in withheld for func in _needing(right))}
    return user.rights - gone, withheld


def _resumed(user: User, named: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The user `plid` may call the functions `elid` again."""
    back = {RIGHTS[func] for func in named}
    # Of a right that comes back whole, only what is named comes back.
    others = {func for right in back - user.rights for func in _needing(right)} - named
    withheld = (user.withheld | others) - {each for func in named for each in (func, *OPERATIONS.get(func, ()))}
    return user.rights | back, withheld


def _needing(right: str) -> list[str]:
    return [func for func, needed in RIGHTS.items() if needed == right]


def _changing(
    change_to: Callable[[User, frozenset[str]], tuple[frozenset[str], frozenset[str]]],
) -> Callable[[User, Call], Answer]:
    @transaction.atomic
    def change(viewer: User, call: Call) -> Answer:
        permissions.require(viewer, "users.manage")
        user = find_user(viewer, call.need("plid"), "plid")
        named = frozenset(func for each in call.elids() for func in _functions(each))
        rights, withheld = change_to(user, named)
        name = f"user {user.pk}"
        most = permissions.MOST_BY_LEVEL[user.level]
        values = {"name": name, "level": user.level, "rights": sorted(rights & most), "withheld": sorted(withheld)}
        role = roles.put_role(viewer, values, Role.objects.filter(name=name).first())
        change = {"role": role.name, **({"may_create_vms": True} if "vms.create" in rights else {})}
        services.change_user(viewer, User.objects.get(pk=user.pk), change)
        return Done()

    change.__doc__ = change_to.__doc__
    return change


def _functions(asked: str) -> list[str]:
    """The function, or those that need the right of this name; raises NotFound."""
    if not (found := [asked] if asked in RIGHTS else _needing(asked)):
        raise NotFound(object="userrights", id=asked[:64])
    return found


FUNCTIONS = {
    "userrights": userrights,
    "userrights.suspend": _changing(_suspended),
    "userrights.resume": _changing(_resumed),
}
