"""`user`, `user.edit`, `user.delete`, `user.enable`, `user.disable`, `session.newkey`: accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction

from panel.accounts import services, signin_keys
from panel.accounts.limits import limits_of
from panel.accounts.models import Level, User
from panel.accounts.selectors import list_users
from panel.core import permissions
from panel.core.errors import InvalidValue, MissingValue, NotFound
from panel.core.wording import one_of
from panel.mgrapi.auth import LEVELS, level_of
from panel.mgrapi.call import NUMBER, Call
from panel.mgrapi.documents import Answer, Cell, Done, Form, Rows
from panel.mgrapi.functions.lists import listed

FILTERS = {"id": "pk", "name": "name__icontains"}
LIMITS = {"isolimitsize": "iso_mib", "isolimitnum": "iso_count", "snapshot_limit": "snapshots"}
"""The limits that VMmanager has too; an empty value takes one away."""
LEVEL_CHOICES = {str(number): Level(level).label for level, number in LEVELS.items()}


def find_user(viewer: User, asked: str, field: str = "elid") -> User:
    """The user of this number or name; raises NotFound, also for one whom the viewer may not see."""
    users = list_users(viewer)
    user = users.filter(pk=int(asked)).first() if NUMBER.match(asked) else None
    user = user or users.filter(name=asked).first()
    if user is None:
        raise NotFound(object="user", id=asked[:64], field=field if field != "elid" else None)
    return user


def _row(user: User) -> Mapping[str, Cell]:
    return {"id": user.pk, "name": user.name, "level": level_of(user), "disabled": not user.is_active}


def user(viewer: User, call: Call) -> Rows:
    """The users, with VMmanager's numbers of their levels."""
    permissions.require(viewer, "users.view")
    return listed(call, list_users(viewer), _row, FILTERS)


def user_edit(viewer: User, call: Call) -> Answer:
    """A new user, or what is to be changed of one."""
    there = find_user(viewer, call.text("elid")) if call.text("elid") else None
    if not call.sok:
        return _form(viewer, there)
    asked = _asked(call)
    if there is not None:
        values = {name: value for name, value in asked.items() if value != ""}
        # One's own password takes the present one, by the name that VMmanager's usrparam has for it.
        current = _current(call) if there.pk == viewer.pk and "password" in values else None
        services.change_user(viewer, there, values, current)
        return Done()
    call.need("name")
    made = services.create_user(viewer, asked)
    return Done({"id": made.pk, "elid": made.pk})


def _current(call: Call) -> str:
    if not (password := call.params.get("old_passwd", "")):
        raise MissingValue(field="old_passwd")
    return password


def _form(viewer: User, user: User | None) -> Form:
    if user is None:
        permissions.require(viewer, "users.manage")
        values: dict[str, Cell] = {"name": "", "level": LEVELS[Level.USER], **dict.fromkeys(LIMITS, "")}
    else:
        limits = limits_of(user)
        known = {name: getattr(limits, field) for name, field in LIMITS.items()}
        values = {
            "elid": user.pk,
            **_row(user),
            **{name: "" if value is None else value for name, value in known.items()},
        }
    return Form({**values, "passwd": "", "confirm": ""}, {"level": LEVEL_CHOICES})


def _asked(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name := call.text("name"):
        found["name"] = name
    if password := call.params.get("passwd") or call.params.get("password"):
        found["password"] = password
    if (number := call.number("level")) is not None:
        level = next((level for level, known in LEVELS.items() if known == number), None)
        if level is None:
            raise InvalidValue(one_of("level", LEVEL_CHOICES), field="level")
        found["level"] = level.value
    if limits := {field: call.number(name) for name, field in LIMITS.items() if name in call.params}:
        found["limits"] = limits
    return found


def _on_each(act: Callable[[User, User], object]) -> Callable[[User, Call], Done]:
    def on_each(viewer: User, call: Call) -> Done:
        users = [find_user(viewer, each) for each in call.elids()]
        with transaction.atomic():
            for each in users:
                act(viewer, each)
        return Done()

    on_each.__doc__ = act.__doc__
    return on_each


def _enable(viewer: User, user: User) -> None:
    """The users may sign in again."""
    services.set_active(viewer, user, True)


def _disable(viewer: User, user: User) -> None:
    """The users are signed out, and not let in."""
    services.set_active(viewer, user, False)


def _delete(viewer: User, user: User) -> None:
    """The users are no more; those who own VMs stay, and nobody is deleted then."""
    services.delete_user(viewer, user)


def newkey(viewer: User, call: Call) -> Answer:
    """A key by which a browser signs in once as the user `username`: `func=auth&username=…&key=…`."""
    permissions.require(viewer, "users.open")
    user = find_user(viewer, call.need("username"), "username")
    key = call.params.get("key", "")
    made = signin_keys.issue(viewer, user, key or None)
    return Done({} if key else {"key": made})


FUNCTIONS = {
    "user": user,
    "user.edit": user_edit,
    "user.delete": _on_each(_delete),
    "user.enable": _on_each(_enable),
    "user.disable": _on_each(_disable),
    "session.newkey": newkey,
}
