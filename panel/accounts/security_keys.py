"""Security keys by WebAuthn: registered in a browser that is signed in, and asked after the password.

A challenge is kept in the browser's session and is good for one answer. What is asked and believed: ceremony.py. Who
counts wrong answers, and removes keys: second_factor.py.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any, Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.http import urlsafe_base64_decode

from panel.accounts import journal, recovery, totp
from panel.accounts.guards import refuse_impersonated, refuse_scoped
from panel.accounts.models import SecurityKey, User
from panel.core.errors import AccessDenied, AlreadyExists, InvalidValue, LimitExceeded, WrongState

MOST = 20
"""Keys of one user."""
SECONDS = 300
"""How long a challenge waits for its answer."""
_CHALLENGE = "security_key_challenge"

Purpose = Literal["register", "sign in"]


def is_configured() -> bool:
    """Whether the panel knows the name that keys are bound to."""
    return bool(settings.CONFIG.public_url)


def has_any(user: User) -> bool:
    """Whether the user has one."""
    return SecurityKey.objects.filter(user=user).exists()


def keys_of(user: User) -> list[SecurityKey]:
    """The user's keys, by name; at most MOST."""
    return list(SecurityKey.objects.filter(user=user).order_by("name")[:MOST])


def begin_registration(user: User, session: SessionBase | None) -> dict[str, Any]:
    """What navigator.credentials.create() is to be given; register() takes its answer.

    Raises AccessDenied (a call that is no signed-in browser's; an impersonated account; a scoped token), LimitExceeded
    and WrongState (no PublicUrl).
    """
    # Here, since the library of the ceremonies is loaded by those processes alone that need it.
    from panel.accounts import ceremony

    session = _own(user, session)
    name, keys = _name(), keys_of(user)
    _refuse_more(len(keys))
    challenge = _new_challenge(session, user, "register")
    return ceremony.registration_options(name, user, keys, challenge, SECONDS * 1000)


def register(
    user: User, session: SessionBase | None, name: str, credential: dict[str, Any]
) -> tuple[SecurityKey, list[str]]:
    """The key that answered is the user's from now on, and is asked for at the next sign-in.

    Answers it with new recovery codes, which are shown this once; none for a user who has a second factor already.
    Raises InvalidValue (the answer; one to no challenge of this session), AlreadyExists (the name; the key), and what
    begin_registration() does.
    """
    from panel.accounts import ceremony

    challenge = _take_challenge(_own(user, session), user, "register")
    made = ceremony.made_by(credential, _name(), challenge)
    key = SecurityKey(
        user=user,
        name=name,
        credential_id=made.credential_id,
        digest=_digest(made.credential_id),
        public_key=made.public_key,
        sign_count=made.sign_count,
    )
    return key, _add(key)


@transaction.atomic
def _add(key: SecurityKey) -> list[str]:
    """Save it; answers recovery codes where it is the user's first second factor."""
    # The user's row is locked: of two keys at the same time one is the first, and no more than MOST come in.
    user = User.objects.select_for_update().get(pk=key.user_id)
    count = SecurityKey.objects.filter(user=user).count()
    _refuse_more(count)
    if SecurityKey.objects.filter(user=user, name=key.name).exists():
        raise AlreadyExists(field="name", object="security key")
    first = count == 0 and not totp.is_on(user)
    try:
        with transaction.atomic():
            key.save()
    except IntegrityError as error:
        raise AlreadyExists("This key is registered already.", field="credential", object="security key") from error
    journal.record(user, "user.key_add", "user", user.pk, user.name, owner_id=user.pk, after={"name": key.name})
    return recovery.renew(user) if first else []


def begin_sign_in(user: User, session: SessionBase) -> dict[str, Any]:
    """What navigator.credentials.get() is to be given; take() takes its answer. Raises WrongState (no PublicUrl)."""
    from panel.accounts import ceremony

    return ceremony.sign_in_options(_name(), keys_of(user), _new_challenge(session, user, "sign in"), SECONDS * 1000)


def take(user: User, session: SessionBase, credential: Any) -> None:
    """One of the user's keys answered the session's challenge, which is used up whatever the answer is.

    Raises InvalidValue.
    """
    from panel.accounts import ceremony

    challenge = _take_challenge(session, user, "sign in")
    with transaction.atomic():
        # Locked, so that of two answers with the same count one is refused.
        key = SecurityKey.objects.select_for_update().filter(user=user, digest=_digest_of(credential)).first()
        if key is None:
            raise InvalidValue("This is none of your security keys.", field="credential")
        key.sign_count = ceremony.count_signed(credential, key, _name(), challenge)
        key.last_used_at = timezone.now()
        key.save(update_fields=["sign_count", "last_used_at"])


def forget(user: User) -> int:
    """The user has no security key any more; answers how many there were."""
    return SecurityKey.objects.filter(user=user).delete()[0]


def _own(user: User, session: SessionBase | None) -> SessionBase:
    """The session, if a browser is signed in by it as the user and nobody works in their account."""
    refuse_impersonated()
    refuse_scoped(user)
    if session is None or session.get(SESSION_KEY) != str(user.pk):
        raise AccessDenied("A security key is registered in a browser that is signed in.", permission="account")
    return session


def _refuse_more(count: int) -> None:
    if count >= MOST:
        raise LimitExceeded(limit="security keys", used=count, allowed=MOST)


def _name() -> str:
    """The host name that keys are bound to; raises WrongState."""
    name = urlsplit(settings.CONFIG.public_url).hostname
    if not name:
        raise WrongState("Security keys need the panel's address: set PublicUrl.", object="panel", state="nameless")
    return name


def _new_challenge(session: SessionBase, user: User, purpose: Purpose) -> bytes:
    challenge = secrets.token_bytes(32)
    session[_CHALLENGE] = {"of": [user.pk, purpose], "hex": challenge.hex(), "until": time.time() + SECONDS}
    return challenge


def _take_challenge(session: SessionBase, user: User, purpose: Purpose) -> bytes:
    kept = session.pop(_CHALLENGE, None)
    if kept is None or kept["of"] != [user.pk, purpose] or kept["until"] < time.time():
        raise InvalidValue("That took too long. Try again.", field="credential")
    return bytes.fromhex(kept["hex"])


def _digest(credential_id: bytes) -> str:
    return hashlib.sha256(credential_id).hexdigest()


def _digest_of(credential: Any) -> str:
    try:
        return _digest(urlsafe_base64_decode(credential["rawId"]))
    except (TypeError, LookupError, ValueError, AttributeError) as error:
        raise InvalidValue("This is no answer of a security key.", field="credential") from error
