"""The second factor: codes of an authenticator app (RFC 6238), and recovery codes for the day it is lost.

The secret is encrypted in the database; recovery codes are hashes. A code is taken once. Wrong ones are counted by
account, from wherever they come: whoever gives one knows the password already.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pyotp
import segno
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from panel.accounts import guessing, journal
from panel.accounts.backend import knows_password
from panel.accounts.guards import refuse_narrowed, refuse_opened, require_power_over
from panel.accounts.models import RecoveryCode, Totp, User
from panel.accounts.tokens import digest
from panel.core import permissions, secretbox
from panel.core.errors import AccessDenied, InvalidValue, SecondFactorRequired, WrongState

ISSUER = "vmpanel"
RECOVERY_CODES = 10
RECOVERY_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that look alike."""
STEPS_AROUND = 1
"""How many time steps of 30 s a phone's clock may be off."""


@dataclass(frozen=True)
class Enrolment:
    """What an app needs to know, shown once: the secret, the same as an address, and as a picture (SVG)."""

    secret: str
    uri: str
    picture: str


def is_on(user: User) -> bool:
    """Whether signing in asks for a code."""
    return Totp.objects.filter(user=user, confirmed_at__isnull=False).exists()


def codes_left(user: User) -> int:
    """How many recovery codes were not used yet."""
    return RecoveryCode.objects.filter(user=user).count()


@transaction.atomic
def enrol(user: User) -> Enrolment:
    """A new secret for the user's app, not in force until confirm().

    Raises WrongState while a second factor is on, and AccessDenied (a narrowed token; an opened account).
    """
    refuse_opened()
    refuse_narrowed(user)
    if is_on(user):
        raise WrongState("The second factor is on: turn it off first.", object="user", id=user.pk, state="on")
    secret = pyotp.random_base32()
    values = {"sealed": secretbox.seal({"totp": secret}), "confirmed_at": None, "last_step": 0}
    Totp.objects.update_or_create(user=user, defaults=values)
    uri = pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name=ISSUER)
    # Black on white in the dark too, as cameras want it. Classes and styles are left out: no policy has to let them in.
    picture = segno.make(uri, error="m").svg_inline(scale=4, border=3, light="#fff", svgclass=None, lineclass=None)
    return Enrolment(secret, uri, picture)


@transaction.atomic
def confirm(user: User, code: str) -> list[str]:
    """The second factor is in force from now on; answers the recovery codes, which are shown this once.

    Raises InvalidValue (a wrong code), WrongState (nothing to confirm) and AccessDenied as enrol().
    """
    refuse_opened()
    refuse_narrowed(user)
    totp = Totp.objects.select_for_update().filter(user=user, confirmed_at=None).first()
    if totp is None:
        raise WrongState("There is nothing to confirm.", object="user", id=user.pk, state="not being enrolled")
    if not _take_step(totp, code):
        raise InvalidValue("This code is wrong. Is the clock of your phone right?", field="code")
    totp.confirmed_at = timezone.now()
    totp.save(update_fields=["confirmed_at"])
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.filter(user=user).delete()
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, digest=digest(code)) for code in codes)
    _record("user.totp_on", user, user)
    return codes


def require_code(user: User, code: str | None) -> None:
    """Where the user has a second factor, take `code`: one of the app's or a recovery code. Nothing for other users.

    Raises SecondFactorRequired without a code, and for a wrong or used one, or after too many.
    """
    if not is_on(user):
        return
    if not code:
        raise SecondFactorRequired(field="code")
    subject = ("code", str(user.pk))
    if guessing.is_locked(*subject):
        raise SecondFactorRequired("Too many codes were wrong. Try again in a quarter of an hour.", field="code")
    if not _take(user, code):
        guessing.count(user, *subject)
        raise SecondFactorRequired("This code is wrong, or was used before.", field="code")


def turn_off(user: User, password: str, code: str) -> None:
    """No code is asked for any more.

    Raises InvalidValue (the password, the code), WrongState (it is off) and AccessDenied as enrol().
    """
    refuse_opened()
    refuse_narrowed(user)
    if not is_on(user):
        raise WrongState("The second factor is off.", object="user", id=user.pk, state="off")
    # The code first: wrong ones are counted.
    try:
        require_code(user, code)
    except SecondFactorRequired as error:
        raise InvalidValue(error.message, field="code") from error
    if not knows_password(user, password):
        guessing.count(user, "code", str(user.pk))
        raise InvalidValue("This is not your password.", field="password")
    with transaction.atomic():
        _remove(user)
        _record("user.totp_off", user, user)


@transaction.atomic
def reset(viewer: User, user: User) -> None:
    """Take the second factor from a user who lost it; nothing for a user without.

    Raises AccessDenied, also for one's own, which turn_off() ends.
    """
    permissions.require(viewer, "users.manage")
    require_power_over(viewer, user)
    refuse_opened()
    if viewer.pk == user.pk:
        raise AccessDenied("Turn your own second factor off with a code.", permission="users.manage")
    if _remove(user):
        _record("user.totp_reset", viewer, user)


def _remove(user: User) -> bool:
    RecoveryCode.objects.filter(user=user).delete()
    return bool(Totp.objects.filter(user=user).delete()[0])


@transaction.atomic
def _take(user: User, code: str) -> bool:
    # The row is locked, so that one code cannot be taken twice at the same time.
    totp = Totp.objects.select_for_update().filter(user=user, confirmed_at__isnull=False).first()
    if totp is None:
        return False
    if _take_step(totp, code):
        return True
    return bool(RecoveryCode.objects.filter(user=user, digest=digest(_plain(code))).delete()[0])


def _take_step(totp: Totp, code: str) -> bool:
    generator = pyotp.TOTP(secretbox.unseal(bytes(totp.sealed))["totp"])
    now = generator.timecode(timezone.now())
    given = code.replace(" ", "")
    for step in range(now - STEPS_AROUND, now + STEPS_AROUND + 1):
        if step > totp.last_step and constant_time_compare(generator.generate_otp(step), given):
            totp.last_step = step
            totp.save(update_fields=["last_step"])
            return True
    return False


def _recovery_code() -> str:
    letters = "".join(secrets.choice(RECOVERY_LETTERS) for _ in range(16))
    return "-".join(letters[start : start + 4] for start in range(0, 16, 4))


def _plain(code: str) -> str:
    return code.strip().lower()


def _record(action: str, viewer: User, user: User) -> None:
    journal.record(viewer, action, "user", user.pk, user.name, owner_id=user.pk)
