"""Roles: single rights that an administrator composes for accounts of one level."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from pydantic import Field

from panel.accounts import journal
from panel.accounts.models import BrowserSession, Role, User
from panel.core import live, permissions
from panel.core.errors import AlreadyExists, InvalidValue, WrongState
from panel.core.validation import Params, parse
from panel.core.wording import Text


class RoleValues(Params):
    """A role: its rights must be among those that its level may have."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    level: Literal["super", "admin", "readonly", "user"]
    rights: Annotated[list[str], Field(max_length=100)]
    withheld: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=300)] | None = None


@transaction.atomic
def put_role(
    viewer: User, raw: dict[str, Any], role: Role | None = None, operations: Collection[str] | None = None
) -> Role:
    """A new role of RoleValues, or `role` changed to them; accounts that have it change with it.

    Its `withheld` are operations that it does not let in though the right is there; without them they are as they were.
    What it had already stays as it is; others are among `operations`, if these are given.

    Raises AccessDenied, InvalidValue, MissingValue, AlreadyExists and WrongState (another level while it is in use).
    """
    permissions.require(viewer, "settings.manage")
    values = parse(RoleValues, raw)
    for right in values.rights:
        if right not in permissions.MOST_BY_LEVEL[values.level]:
            raise InvalidValue(
                Text("Accounts of this level cannot have the right “{right}”.", {"right": right}), field="rights"
            )
    before = _public(role) if role else {}
    if role is not None and role.level != values.level and role.users.exists():
        raise WrongState("Accounts of the other level have this role.", object="role", id=role.pk, state="in use")
    role = role or Role()
    role.name, role.level, role.rights = values.name, values.level, sorted(set(values.rights) | permissions.ALWAYS)
    if values.withheld is not None:
        _refuse_unknown(set(values.withheld) - set(role.withheld), operations)
        role.withheld = sorted(set(values.withheld))
    try:
        with transaction.atomic():
            role.save()
    except IntegrityError as error:
        raise AlreadyExists(field="name", object="role") from error
    if before:
        _end_impersonation_without_right(role)
        live.tell_rights()
    journal.record(
        viewer,
        "role.change" if before else "role.create",
        "role",
        role.pk,
        role.name,
        before=before,
        after=_public(role),
    )
    return role


def _refuse_unknown(withheld: set[str], operations: Collection[str] | None) -> None:
    for name in sorted(withheld):
        if operations is not None and name not in operations:
            raise InvalidValue(Text("There is no operation “{name}”.", {"name": name}), field="withheld")


def _end_impersonation_without_right(role: Role) -> None:
    """Nobody works on in another's account who may not open one any more."""
    if "users.open" not in role.rights:
        BrowserSession.objects.filter(impersonated_by__role=role).delete()


@transaction.atomic
def delete_role(viewer: User, role: Role) -> None:
    """Remove a role that no account has; raises AccessDenied and WrongState."""
    permissions.require(viewer, "settings.manage")
    before, role_id = _public(role), role.pk
    try:
        with transaction.atomic():
            role.delete()
    except ProtectedError as error:
        raise WrongState("Accounts have this role.", object="role", id=role_id, state="in use") from error
    journal.record(viewer, "role.delete", "role", role_id, role.name, before=before)


def _public(role: Role) -> dict[str, Any]:
    return {"name": role.name, "level": str(role.level), "rights": list(role.rights), "withheld": list(role.withheld)}
