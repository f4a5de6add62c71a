"""Writes about users: made, changed, disabled, deleted; signing in. Each stands in the journal."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from pydantic import AfterValidator, Field, SecretStr

from nodeagent.protocol import words
from panel.accounts import journal, throttling
from panel.accounts.guards import refuse_impersonated, refuse_scoped
from panel.accounts.guards import require_power_over as require_power_over
from panel.accounts.limits import LIMITS, limits_of, set_limits
from panel.accounts.models import Level, Role, SshKey, User
from panel.accounts.session_store import drop_all
from panel.accounts.tokens import end_sign_ins
from panel.core import live, permissions
from panel.core.errors import AccessDenied, AlreadyExists, InvalidValue, NotFound, WrongState
from panel.core.validation import Params, parse, plain_name
from panel.core.wording import Text

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@+-]*$")]
Limit = Annotated[int, Field(ge=0, le=2**31 - 1)]


class LimitValues(Params):
    """The limits to set; None takes one away."""

    vms: Limit | None = None
    memory_mib: Limit | None = None
    vcpus: Limit | None = None
    disk_gib: Limit | None = None
    addresses: Limit | None = None
    iso_count: Limit | None = None
    iso_mib: Limit | None = None
    snapshots: Limit | None = None


def _zone(name: str) -> str:
    if name and name not in available_timezones():
        raise ValueError("must be the name of a time zone in the IANA database, as Europe/Berlin")
    return name


OWN = {"password", "email", "language", "time_zone"}
"""What everybody may change of themselves."""


class UserChange(Params):
    """What of a user is to be changed; what is not named stays."""

    name: Name | None = None
    password: SecretStr | None = None
    email: Annotated[str, Field(max_length=254, pattern=r"^$|^[^@\s]+@[^@\s]+$")] | None = None
    level: Literal["super", "admin", "readonly", "user"] | None = None
    role: str | None = None
    """A role's name; "" takes the role away."""
    may_create_vms: bool | None = None
    limits: LimitValues | None = None
    language: Literal["", "en", "ru"] | None = None
    time_zone: Annotated[str, Field(max_length=64), AfterValidator(_zone)] | None = None


class NewUser(UserChange):
    """A new user. Without a password nobody can sign in by one."""

    name: Name


def create_user(viewer: User, raw: dict[str, Any]) -> User:
    """A new user of the values of NewUser.

    Raises AccessDenied, InvalidValue, MissingValue, AlreadyExists and NotFound (the role).
    """
    permissions.require(viewer, "users.manage")
    values = parse(NewUser, raw)
    user = User(name=values.name)
    user.set_unusable_password()
    return _put(viewer, user, values, "user.create")


def change_user(viewer: User, user: User, raw: dict[str, Any], current: str | None = None) -> User:
    """The user with what UserChange names changed; one whose password was changed is signed out everywhere.

    That is of browsers, the classic API and what holds a token of a sign-in, but for the token that asks.

    Everybody may change their own e-mail address, language and time zone, and with their `current` password that too;
    the rest needs users.manage and power over the user.

    Raises AccessDenied, InvalidValue (“current” is wrong; the own password without it), AlreadyExists, NotFound (the
    role) and WrongState (the last super administrator).
    """
    values = parse(UserChange, raw)
    if viewer.pk == user.pk:
        refuse_impersonated()
    if viewer.pk != user.pk or not values.model_fields_set <= OWN or viewer.scope is not None:
        permissions.require(viewer, "users.manage")
        require_power_over(viewer, user)
    if viewer.pk == user.pk and values.password is not None:
        _require_current(user, current)
    return _put(viewer, user, values, "user.change")


def change_password(user: User, current: str, password: str) -> None:
    """Give oneself another password, which ends all one's sessions; callers renew the one that asks.

    Raises InvalidValue (“current” is wrong; the new one is weak), AccessDenied (scoped token; impersonated account).
    """
    change_user(user, user, {"password": password}, current)


def _require_current(user: User, current: str | None) -> None:
    """Whoever has somebody's browser or token for a moment does not keep the account by a password of their own."""
    refuse_impersonated()
    refuse_scoped(user)
    if current is None:
        message = "Your own password is changed with the present one beside it: POST /api/v1/me/password."
        raise InvalidValue(message, field="password")
    subject = ("password", "of", str(user.pk))
    with throttling.attempt(user, *subject) as attempt:
        if attempt.locked or not user.check_password(current):
            raise InvalidValue("This is not your password.", field="current")
        attempt.forgive()


@transaction.atomic
def _put(viewer: User, user: User, values: UserChange, action: str) -> User:
    if user.pk:
        # As it is now, and nobody else's until this is done: all of it is written back.
        user.refresh_from_db(from_queryset=User.objects.select_for_update())
    before = public(user) if user.pk else {}
    for field in ("name", "email", "level", "may_create_vms", "language", "time_zone"):
        if (value := getattr(values, field)) is not None:
            setattr(user, field, value)
    if values.role is not None:
        user.role = _role(values.role)
    _refuse_more_than_own(viewer, user)
    if user.role is not None and user.role.level != user.level:
        raise InvalidValue(
            Text("This role is for accounts of the level “{level}”.", {"level": user.role.level}), field="role"
        )
    if before.get("level") == Level.SUPER and user.level != Level.SUPER:
        _refuse_last(user)
    if values.password is not None:
        refuse_impersonated()
        _set_password(user, values.password.get_secret_value())
    try:
        with transaction.atomic():
            user.save()
    except IntegrityError as error:
        raise AlreadyExists(field="name", object="user") from error
    if values.limits is not None:
        set_limits(user, values.limits.model_dump(include=values.limits.model_fields_set))
    earlier, now = journal.changed(before, public(user))
    if values.password is not None or {"level", "role"} & now.keys():
        drop_all(user)
    if values.password is not None:
        end_sign_ins(viewer, user)
        now["password"] = "changed"
    journal.record(viewer, action, "user", user.pk, user.name, owner_id=user.pk, before=earlier, after=now)
    return user


def public(user: User) -> dict[str, Any]:
    """What of a user may stand in the journal."""
    limits = limits_of(user)
    return {
        "name": user.name,
        "email": user.email,
        "level": str(user.level),
        "role": user.role.name if user.role else "",
        "may_create_vms": user.may_create_vms,
        "is_active": user.is_active,
        "language": user.language,
        "time_zone": user.time_zone,
        "limits": {name: getattr(limits, name) for name in LIMITS},
    }


@transaction.atomic
def set_active(viewer: User, user: User, active: bool) -> User:
    """Let a user in again, or out: sign-ins, sessions and tokens of a disabled one are worth nothing.

    Raises AccessDenied and WrongState (oneself; the last super administrator).
    """
    permissions.require(viewer, "users.manage")
    require_power_over(viewer, user)
    if not active:
        _refuse_oneself(viewer, user)
        _refuse_last(user)
    if user.is_active != active:
        user.is_active = active
        user.save(update_fields=["is_active"])
        drop_all(user)
        action = "user.enable" if active else "user.disable"
        journal.record(viewer, action, "user", user.pk, user.name, owner_id=user.pk)
    return user


@transaction.atomic
def delete_user(viewer: User, user: User) -> None:
    """Remove a user who owns nothing any more, with tokens and keys.

    Raises AccessDenied and WrongState (oneself; the last super administrator; an owner of VMs).
    """
    permissions.require(viewer, "users.manage")
    require_power_over(viewer, user)
    _refuse_oneself(viewer, user)
    _refuse_last(user)
    before, user_id = public(user), user.pk
    try:
        with transaction.atomic():
            user.delete()
    except ProtectedError as error:
        kinds = sorted({str(each._meta.verbose_name_plural) for each in error.protected_objects})
        message = Text(
            "The user still owns {kinds}: delete them or give them to another user first.",
            {"kinds": " and ".join(kinds)},
        )
        raise WrongState(message, object="user", id=user_id, state="owner") from error
    live.tell_rights(user_id)
    journal.record(viewer, "user.delete", "user", user_id, user.name, before=before)


def _refuse_more_than_own(viewer: User, user: User) -> None:
    if viewer.level != Level.SUPER and viewer.pk != user.pk and user.level != Level.USER:
        raise AccessDenied("Only a super administrator makes administrators.", permission="users.manage")


def _refuse_oneself(viewer: User, user: User) -> None:
    if viewer.pk == user.pk:
        raise WrongState("Nobody can lock themselves out.", object="user", id=user.pk, state="signed in")


def _refuse_last(user: User) -> None:
    # The rows are locked, so that the last two cannot take each other's place away at the same time.
    supers = User.objects.select_for_update().filter(level=Level.SUPER, is_active=True).values_list("pk", flat=True)
    if list(supers) == [user.pk]:
        raise WrongState("This is the last super administrator.", object="user", id=user.pk, state="the last")


def _role(name: str) -> Role | None:
    if not name:
        return None
    role = Role.objects.filter(name=name).first()
    if role is None:
        raise NotFound(object="role", id=name, field="role")
    return role


def _set_password(user: User, password: str) -> None:
    if user.directory_dn:
        raise InvalidValue("The directory keeps this user's password: change it there.", field="password")
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidValue(" ".join(error.messages), field="password") from error
    user.set_password(password)


@transaction.atomic
def ensure_administrator(name: str) -> tuple[User, str | None]:
    """The super administrator of that name, and the password when the account was made just now."""
    user = User.objects.filter(name=name).first()
    if user is not None:
        return user, None
    password = secrets.token_urlsafe(12)
    return User.objects.create_user(name, password, level=Level.SUPER), password


@transaction.atomic
def add_ssh_key(user: User, name: str, public_key: str) -> SshKey:
    """Remember a public key that the user's new VMs let in.

    Raises InvalidValue for what is none for nodes, AlreadyExists for a name in use and AccessDenied.
    """
    refuse_impersonated()
    refuse_scoped(user)
    if not words.is_public_key(public_key):
        text = "This is not one public key, as in authorized_keys, of printable characters and without tabs."
        raise InvalidValue(text, field="public_key")
    name = plain_name(name)
    try:
        with transaction.atomic():
            key = SshKey.objects.create(user=user, name=name, public_key=public_key)
    except IntegrityError as error:
        raise AlreadyExists(field="name", object="ssh key") from error
    journal.record(user, "ssh_key.add", "ssh_key", key.pk, name, owner_id=user.pk, after={"public_key": public_key})
    return key


@transaction.atomic
def remove_ssh_key(user: User, key_id: int) -> bool:
    """Forget one of the user's keys; VMs that let it in still do. Answers if there was one; raises AccessDenied."""
    refuse_impersonated()
    key = SshKey.objects.filter(user=user, pk=key_id).first()
    if key is None:
        return False
    refuse_scoped(user)
    key.delete()
    journal.record(user, "ssh_key.remove", "ssh_key", key_id, key.name, owner_id=user.pk)
    return True
