"""What is asked for besides the password: a code of an app, a security key, or a recovery code.

Wrong ones are counted by account, from wherever they come: whoever gives one knows the password already.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction

from panel.accounts import journal, recovery, security_keys, throttling, totp
from panel.accounts.backend import knows_password
from panel.accounts.guards import refuse_impersonated, refuse_scoped, require_power_over
from panel.accounts.models import SecurityKey, User
from panel.core import permissions
from panel.core.errors import AccessDenied, InvalidValue, NotFound, SecondFactorRequired, WrongState


def is_on(user: User) -> bool:
    """Whether a password alone does not sign the user in."""
    return totp.is_on(user) or security_keys.has_any(user)


def require_code(user: User, code: str | None) -> None:
    """Where the user has a second factor, take `code`: one of the app's or a recovery code. Nothing for other users.

    Raises SecondFactorRequired without a code, and for a wrong or used one, or after too many.
    """
    if not is_on(user):
        return
    if not code:
        raise SecondFactorRequired(field="code")
    with _attempt(user) as attempt:
        if not _take(user, code):
            raise SecondFactorRequired("This code is wrong, or was used before.", field="code")
        attempt.forgive()


def require_key(user: User, session: SessionBase, credential: Any) -> None:
    """Take the answer of one of the user's security keys to the challenge that `session` holds.

    Raises SecondFactorRequired for an answer that is none, and after too many of them.
    """
    with _attempt(user) as attempt:
        try:
            security_keys.take(user, session, credential)
        except InvalidValue as error:
            raise SecondFactorRequired(error.message, field="code") from error
        attempt.forgive()


def turn_off_app(user: User, password: str, code: str) -> None:
    """No code of the app is asked for any more.

    Raises InvalidValue (the password, the code), WrongState (it is off) and AccessDenied as totp.enrol().
    """
    refuse_impersonated()
    refuse_scoped(user)
    if not totp.is_on(user):
        raise WrongState("The second factor is off.", object="user", id=user.pk, state="off")
    # The code first: wrong ones are counted.
    try:
        require_code(user, code)
    except SecondFactorRequired as error:
        raise InvalidValue(error.message, field="code") from error
    _require_password(user, password)
    with transaction.atomic():
        totp.forget(user)
        _forget_idle_codes(user)
        _record("user.totp_off", user, user)


def remove_key(user: User, key_id: int, password: str) -> None:
    """One of the user's security keys is worth nothing any more; after the last one no key is asked for.

    Raises NotFound, InvalidValue (the password) and AccessDenied as totp.enrol().
    """
    refuse_impersonated()
    refuse_scoped(user)
    key = SecurityKey.objects.filter(user=user, pk=key_id).first()
    if key is None:
        raise NotFound(object="security key", id=key_id)
    _require_password(user, password)
    with transaction.atomic():
        key.delete()
        _forget_idle_codes(user)
        _record("user.key_remove", user, user, name=key.name)


@transaction.atomic
def reset(viewer: User, user: User) -> None:
    """Take app, security keys and recovery codes from a user who lost them; nothing for a user without.

    Raises AccessDenied, also for one's own, which the user's own functions end.
    """
    permissions.require(viewer, "users.manage")
    require_power_over(viewer, user)
    refuse_impersonated()
    if viewer.pk == user.pk:
        raise AccessDenied("Turn your own second factor off with a code.", permission="users.manage")
    had_app, keys = totp.forget(user), security_keys.forget(user)
    recovery.forget(user)
    if had_app or keys:
        _record("user.totp_reset", viewer, user, app=had_app, keys=keys)


@contextmanager
def _attempt(user: User) -> Iterator[throttling.Attempt]:
    """A try at the user's second factor; raises SecondFactorRequired after too many."""
    with throttling.attempt(user, *_subject(user)) as attempt:
        if attempt.locked:
            raise SecondFactorRequired("Too many codes were wrong. Try again in a quarter of an hour.", field="code")
        yield attempt


def _require_password(user: User, password: str) -> None:
    with throttling.attempt(user, *_subject(user)) as attempt:
        if attempt.locked:
            raise InvalidValue("Too many were wrong. Try again in a quarter of an hour.", field="password")
        if not knows_password(user, password):
            raise InvalidValue("This is not your password.", field="password")
        attempt.forgive()


def _subject(user: User) -> tuple[str, str]:
    return "code", str(user.pk)


@transaction.atomic
def _take(user: User, code: str) -> bool:
    return totp.take(user, code) or recovery.take(user, code)


def _forget_idle_codes(user: User) -> None:
    """Without app and key there is nothing to recover."""
    if not is_on(user):
        recovery.forget(user)


def _record(action: str, viewer: User, user: User, **after: Any) -> None:
    journal.record(viewer, action, "user", user.pk, user.name, owner_id=user.pk, after=after)
