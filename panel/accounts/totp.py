"""Codes of an authenticator app (RFC 6238) as a second factor: enrolled, confirmed, taken once each.

The secret is encrypted in the database. Who asks for a code and counts wrong ones: second_factor.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyotp
import segno
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from panel.accounts import journal, recovery
from panel.accounts.guards import refuse_impersonated, refuse_scoped
from panel.accounts.models import Totp, User
from panel.core import secretbox
from panel.core.errors import InvalidValue, WrongState

ISSUER = "vmpanel"
STEPS_AROUND = 1
"""How many time steps of 30 s a phone's clock may be off."""


@dataclass(frozen=True)
class Enrolment:
    """What an app needs to know, shown once: the secret, the same as an address, and as a picture (SVG)."""

    secret: str
    uri: str
    picture: str


def is_on(user: User) -> bool:
    """Whether the user has an app whose codes are taken."""
    return Totp.objects.filter(user=user, confirmed_at__isnull=False).exists()


@transaction.atomic
def enrol(user: User) -> Enrolment:
    """A new secret for the user's app, not in force until confirm().

    Raises WrongState while an app is in use, and AccessDenied (a scoped token; an impersonated account).
    """
    refuse_impersonated()
    refuse_scoped(user)
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
    """The app's codes are asked for from now on; answers new recovery codes, which are shown this once.

    Raises InvalidValue (a wrong code), WrongState (nothing to confirm) and AccessDenied as enrol().
    """
    refuse_impersonated()
    refuse_scoped(user)
    totp = Totp.objects.select_for_update().filter(user=user, confirmed_at=None).first()
    if totp is None:
        raise WrongState("There is nothing to confirm.", object="user", id=user.pk, state="not being enrolled")
    if not _take_step(totp, code):
        raise InvalidValue("This code is wrong. Is the clock of your phone right?", field="code")
    totp.confirmed_at = timezone.now()
    totp.save(update_fields=["confirmed_at"])
    codes = recovery.renew(user)
    journal.record(user, "user.totp_on", "user", user.pk, user.name, owner_id=user.pk)
    return codes


def take(user: User, code: str) -> bool:
    """Whether it is a code that the app shows about now, and none that was taken; the caller is in a transaction."""
    # The row is locked, so that one code cannot be taken twice at the same time.
    totp = Totp.objects.select_for_update().filter(user=user, confirmed_at__isnull=False).first()
    return totp is not None and _take_step(totp, code)


def forget(user: User) -> bool:
    """The user has no app any more; answers whether there was one."""
    return bool(Totp.objects.filter(user=user).delete()[0])


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
