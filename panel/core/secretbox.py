"""Encryption of what must outlive a process but never be readable in the database.

Used for the secrets of running tasks (tasks/models.py TaskSecret). The key is derived from the
installation's secret.key, which is a file of mode 0600 outside the database.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from panel.core.errors import ConfigError


def _box() -> Fernet:
    digest = hashlib.sha256(b"vmpanel task secrets\0" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))


def seal(values: dict[str, Any]) -> bytes:
    """Encrypt a JSON-ready dictionary."""
    return _box().encrypt(json.dumps(values).encode())


def unseal(sealed: bytes) -> dict[str, Any]:
    """Decrypt what seal() made; raises ConfigError when the installation's key is another."""
    try:
        values: dict[str, Any] = json.loads(_box().decrypt(sealed))
    except InvalidToken as error:
        raise ConfigError(
            "The secret.key of this installation is not the one that encrypted this.", option="VarDir"
        ) from error
    return values
