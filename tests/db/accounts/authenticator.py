"""A security key in software, with the browser it is plugged into: what both say by WebAuthn's specification."""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ORIGIN = "https://panel.example.org:1500"
PRESENT, CREDENTIAL = 0x01, 0x40


def text_of(data: bytes) -> str:
    """base64url without padding, as browsers write bytes in JSON."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_of(text: str) -> bytes:
    """What text_of() was given."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    """One credential. `count` is how often it signed; `counts` is off for those that always say 0."""

    def __init__(self, *, counts: bool = True) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(32)
        self.count = 0
        self.counts = counts

    def make(self, options: dict[str, Any], *, origin: str = ORIGIN, flags: int = PRESENT) -> dict[str, Any]:
        """The browser's answer to the options for a registration."""
        point = self.private.public_key().public_numbers()
        public = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")})
        credential = bytes(16) + struct.pack(">H", len(self.id)) + self.id + public
        data = self._data(options["rp"]["id"], flags | CREDENTIAL) + credential
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options["challenge"], origin)
        return self._answer({"clientDataJSON": client, "attestationObject": attestation})

    def sign(
        self, options: dict[str, Any], *, origin: str = ORIGIN, name: str | None = None, flags: int = PRESENT
    ) -> dict[str, Any]:
        """The browser's answer to the options for a sign-in; `name` is the host that the key is told."""
        self.count += self.counts
        data = self._data(name or options["rpId"], flags)
        client = self._client("webauthn.get", options["challenge"], origin)
        signature = self.private.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer({"clientDataJSON": client, "authenticatorData": data, "signature": signature})

    def _data(self, name: str, flags: int) -> bytes:
        return hashlib.sha256(name.encode()).digest() + struct.pack(">BI", flags, self.count)

    @staticmethod
    def _client(kind: str, challenge: str, origin: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}).encode()

    def _answer(self, response: dict[str, bytes]) -> dict[str, Any]:
        named = text_of(self.id)
        response_text = {name: text_of(data) for name, data in response.items()}
        return {"id": named, "rawId": named, "type": "public-key", "response": response_text}
