"""vmwatch's shared secret and the keys of its encryption: sealed in the database, so that every worker has the same.

While the secret is being changed there are two: the master and the panel believe both, until every node
has the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import string
from dataclasses import asdict, dataclass, replace

import zmq
from django.conf import settings
from django.db import transaction

from panel.core import secretbox
from panel.monitoring.models import WatchKeys
from vmwatch import config as vmwatch_config

SECRET_LENGTH = 48
SECRET_LETTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class Keys:
    """`previous` is empty but while the secret is being changed; the CURVE keys where VmwatchCurve is off."""

    secret: str
    previous: str = ""
    curve_public: str = ""
    curve_secret: str = ""

    @property
    def digest(self) -> str:
        """What tells these keys from others without telling them."""
        return hashlib.sha256(f"{self.secret} {self.curve_public}".encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Keys({self.digest})"


def current() -> Keys | None:
    """The keys in force; None before there are any."""
    row = WatchKeys.objects.filter(id=1).first()
    return _read(row) if row is not None else None


def ensure() -> Keys:
    """The keys in force, made when there are none: with the secret of an existing vmwatch-master.conf."""
    with transaction.atomic():
        row = _locked()
        keys = _read(row) or Keys(_adopted() or _new_secret())
        if settings.CONFIG.vmwatch_curve and not keys.curve_secret:
            public, secret = zmq.curve_keypair()
            keys = replace(keys, curve_public=public.decode(), curve_secret=secret.decode())
        elif not settings.CONFIG.vmwatch_curve and keys.curve_secret:
            keys = replace(keys, curve_public="", curve_secret="")
        _write(row, keys)
    return keys


def rotate() -> Keys:
    """Have a new secret beside the present one; while a change is under way, that one goes on."""
    ensure()
    with transaction.atomic():
        row = _locked()
        keys = _read(row)
        assert keys is not None
        if not keys.previous:
            keys = replace(keys, secret=_new_secret(), previous=keys.secret)
            _write(row, keys)
    return keys


def forget_previous() -> bool:
    """Believe only the present secret from now on; True when there was another."""
    with transaction.atomic():
        row = _locked()
        keys = _read(row)
        if keys is None or not keys.previous:
            return False
        _write(row, replace(keys, previous=""))
    return True


def _locked() -> WatchKeys:
    WatchKeys.objects.get_or_create(id=1)
    return WatchKeys.objects.select_for_update().get(id=1)


def _read(row: WatchKeys) -> Keys | None:
    return Keys(**secretbox.unseal(bytes(row.sealed))) if row.sealed else None


def _write(row: WatchKeys, keys: Keys) -> None:
    if _read(row) != keys:
        row.sealed = secretbox.seal(asdict(keys))
        row.save(update_fields=["sealed"])


def _new_secret() -> str:
    return "".join(secrets.choice(SECRET_LETTERS) for _ in range(SECRET_LENGTH))


def _adopted() -> str:
    """The secret of a vmwatch-master.conf that an earlier version wrote."""
    with contextlib.suppress(vmwatch_config.BadConfig):
        return vmwatch_config.read(settings.CONFIG.vmwatch_master_conf).get("secret", "")
    return ""
