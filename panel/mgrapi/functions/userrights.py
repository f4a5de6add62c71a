"""`userrights`, `userrights.suspend`, `userrights.resume`: what a user may do, named by functions.

A right that is suspended makes the user a role of their own, of what is left.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from panel.accounts import roles, services
from panel.accounts.models import Role, User
from panel.core import permissions
from panel.core.errors import NotFound
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Done, Rows
from panel.mgrapi.functions.users import find_user

RIGHTS = {
    "vm.edit": "vms.create",
    "vm.start": "vms.power",
    "vm.stop": "vms.power",
    "vm.restart": "vms.power",
    "vm.delete": "vms.delete",
    "vm.chpasswd": "vms.change",
    "vm.reinstall": "vms.reinstall",
    "vm.novnc": "vms.console",
    "novnc": "vms.console",
    "iplist.edit": "vms.devices",
    "vmhostnode": "cluster.view",
    "vmhostnode.edit": "cluster.manage",
    "vm.migrate": "cluster.manage",
    "preset.edit": "images.manage",
    "user": "users.view",
    "user.edit": "users.manage",
    "session.newkey": "users.open",
}
"""The right that a function needs. Functions that need the same one are suspended together."""


def userrights(viewer: User, call: Call) -> Rows:
    """Which functions the user `plid` may call."""
    user = find_user(viewer, call.need("plid"), "plid")
    most = permissions.MOST_BY_LEVEL[user.level]
    return Rows(
        [
            {"id": func, "name": func, "desc": permissions.RIGHTS[right], "active": right in user.rights}
            for func, right in RIGHTS.items()
            if right in most
        ]
    )


def _changing(keep: Callable[[frozenset[str], frozenset[str]], frozenset[str]]) -> Callable[[User, Call], Answer]:
    @transaction.atomic
    def change(viewer: User, call: Call) -> Answer:
        permissions.require(viewer, "users.manage")
        user = find_user(viewer, call.need("plid"), "plid")
        named = frozenset(_right(each) for each in call.elids())
        rights = keep(user.rights, named) & permissions.MOST_BY_LEVEL[user.level]
        name = f"user {user.pk}"
        values = {"name": name, "level": user.level, "rights": sorted(rights)}
        role = roles.put_role(viewer, values, Role.objects.filter(name=name).first())
        change = {"role": role.name, **({"may_create_vms": True} if "vms.create" in rights else {})}
        services.change_user(viewer, User.objects.get(pk=user.pk), change)
        return Done()

    change.__doc__ = keep.__doc__
    return change


def _right(asked: str) -> str:
    right = RIGHTS.get(asked, asked)
    if right not in permissions.RIGHTS:
        raise NotFound(object="userrights", id=asked[:64])
    return right


def _without(rights: frozenset[str], named: frozenset[str]) -> frozenset[str]:
    """The user `plid` may not call the functions `elid` any more."""
    return rights - named


def _with(rights: frozenset[str], named: frozenset[str]) -> frozenset[str]:
    """The user `plid` may call the functions `elid` again."""
    return rights | named


FUNCTIONS = {
    "userrights": userrights,
    "userrights.suspend": _changing(_without),
    "userrights.resume": _changing(_with),
}
