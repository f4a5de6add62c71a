"""The two ceremonies of WebAuthn by py_webauthn: a key is made, a key signs. What the panel asks, and what it believes.

Origin and name are those of PublicUrl, never what a request says of itself. Loaded by security_keys.py when there is
something to do: most processes never need the library.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import webauthn
from django.conf import settings
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from panel.accounts.models import SecurityKey, User
from panel.core.errors import InvalidValue

log = logging.getLogger(__name__)

LONGEST_ID = 1023
"""Bytes of a credential's id, as WebAuthn has it."""
# The password was given already: a touch is enough, and no key has to ask for its own PIN.
_VERIFICATION = UserVerificationRequirement.DISCOURAGED


@dataclass(frozen=True)
class Made:
    """A key that was made: its id, its public key as COSE has it, and how often it signed."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


def registration_options(name: str, user: User, keys: list[SecurityKey], challenge: bytes, ms: int) -> dict[str, Any]:
    """What navigator.credentials.create() is given for a key of `user` bound to the host `name`, and none of `keys`."""
    options = webauthn.generate_registration_options(
        rp_id=name,
        rp_name="vmpanel",
        user_id=str(user.pk).encode(),
        user_name=user.name,
        challenge=challenge,
        timeout=ms,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.DISCOURAGED, user_verification=_VERIFICATION
        ),
        exclude_credentials=_descriptors(keys),
    )
    return _plain(options)


def sign_in_options(name: str, keys: list[SecurityKey], challenge: bytes, ms: int) -> dict[str, Any]:
    """What navigator.credentials.get() is given, so that one of `keys` signs."""
    options = webauthn.generate_authentication_options(
        rp_id=name,
        challenge=challenge,
        timeout=ms,
        allow_credentials=_descriptors(keys),
        user_verification=_VERIFICATION,
    )
    return _plain(options)


def made_by(credential: dict[str, Any], name: str, challenge: bytes) -> Made:
    """The key whose registration this is, by a touch; raises InvalidValue."""
    with _refusing():
        made = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=name,
            expected_origin=settings.CONFIG.public_url,
        )
        if len(made.credential_id) > LONGEST_ID:
            raise ValueError("the credential's id is too long")
    return Made(made.credential_id, made.credential_public_key, made.sign_count)


def count_signed(credential: dict[str, Any], key: SecurityKey, name: str, challenge: bytes) -> int:
    """How often the key signed, this time included, if it did now; raises InvalidValue.

    A count that does not grow is refused: the key was copied, or the answer is an old one. Keys that never count say 0.
    """
    with _refusing():
        return webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=name,
            expected_origin=settings.CONFIG.public_url,
            credential_public_key=bytes(key.public_key),
            credential_current_sign_count=key.sign_count,
        ).new_sign_count


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Besides the library's own errors whatever parsers of CBOR, ASN.1 and certificates raise for what is none.
        log.warning("an answer of a security key is refused: %s", error)
        raise InvalidValue("The panel does not take this answer of the key. Try again.", field="credential") from error


def _descriptors(keys: list[SecurityKey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=bytes(key.credential_id)) for key in keys]


def _plain(options: Any) -> dict[str, Any]:
    return dict(json.loads(webauthn.options_to_json(options)))
