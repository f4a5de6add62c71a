"""What vmwatch's daemons are told, in the database, so that every worker tells the same: address, secret, CURVE keys.

Only the panel's machine, where vmwatch-master and its file are, makes or changes any of it (configure.py).
No node has the secret: each has one of its own, made of that and of its id (wire.own_secret), so that none can speak
as another, nor as the master. While the secret is being changed there are two: the master and the panel believe both,
until every node has its own of the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import zmq
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from panel.cluster.models import Node
from panel.core import secretbox
from panel.monitoring.models import NodeWatch, WatchKeys
from vmwatch import config as vmwatch_config

SECRET_LENGTH = 48
SECRET_LETTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class Keys:
    """`previous` is empty but while the secret is being changed; the CURVE keys where VmwatchCurve is off.

    `shared` is the secret that all nodes had in earlier versions, until each has its own.
    """

    secret: str
    previous: str = ""
    shared: str = ""
    curve_public: str = ""
    curve_secret: str = ""

    @property
    def digest(self) -> str:
        """What tells these keys from others without telling them."""
        return hashlib.sha256(f"{self.secret} {self.curve_public}".encode()).hexdigest()[:16]

    @property
    def of_earlier_version(self) -> bool:
        """Whether every node has the very secret: no node's own may be made of it."""
        return bool(self.shared) and self.shared == self.secret

    @property
    def changing(self) -> bool:
        """Whether not every node has its own of the present secret yet."""
        return bool(self.previous or self.shared)

    def __repr__(self) -> str:
        return f"Keys({self.digest})"


def current() -> Keys | None:
    """The keys in force; None before there are any."""
    row = WatchKeys.objects.filter(id=1).first()
    return of(row) if row is not None else None


def told() -> tuple[str, Keys | None]:
    """Address and keys as vmwatch-master's file has them; no keys while it lacks those in force."""
    row = WatchKeys.objects.filter(id=1).first()
    keys = of(row) if row is not None else None
    if row is None or keys is None or row.master_digest != keys.digest or keys.of_earlier_version:
        return "", None
    return row.endpoint, keys


def known() -> frozenset[int]:
    """The nodes that vmwatch-master's file names."""
    return frozenset(WatchKeys.objects.filter(id=1).values_list("master_nodes", flat=True).first() or ())


def note_master(where: str, held: Keys, nodes: Sequence[int]) -> str:
    """Note what vmwatch-master's file says; answers the address that it had before."""
    with transaction.atomic():
        row = _locked()
        before = row.endpoint
        if before != where or bool(where) != bool(row.enabled_at):
            row.enabled_at = timezone.now() if where else None
        row.endpoint, row.master_digest, row.master_nodes = where, held.digest, list(nodes)
        row.save(update_fields=["endpoint", "master_digest", "master_nodes", "enabled_at"])
    return before


def note_node(node: Node, where: str, held: Keys) -> bool:
    """Note that the node was told this; False when that is not what nodes are told any more."""
    with transaction.atomic():
        row = _locked()
        keys = of(row)
        if keys is None or (row.endpoint, keys.digest) != (where, held.digest):
            return False
        NodeWatch.objects.update_or_create(node=node, defaults={"keys_digest": held.digest})
    return True


def ensure() -> Keys:
    """The keys in force, made when there are none: with the secret of an existing vmwatch-master.conf.

    One that every node has, as in earlier versions, is replaced, and believed until each has its own.
    """
    with transaction.atomic():
        row = _locked()
        keys = of(row) or _adopted() or Keys(_new_secret())
        if keys.of_earlier_version:
            keys = replace(keys, secret=_new_secret(), previous="")
        if settings.CONFIG.vmwatch_curve and not keys.curve_secret:
            keys = _with_new_pair(keys)
        elif not settings.CONFIG.vmwatch_curve and keys.curve_secret:
            keys = replace(keys, curve_public="", curve_secret="")
        _write(row, keys)
    return keys


def rotate() -> Keys:
    """Have a new secret beside the present one; while a change is under way, that one goes on."""
    ensure()
    with transaction.atomic():
        row = _locked()
        keys = of(row)
        assert keys is not None
        if not keys.changing:
            keys = replace(keys, secret=_new_secret(), previous=keys.secret)
            _write(row, keys)
    return keys


def renew_curve() -> Keys:
    """Have another pair of CURVE keys at once: a master's socket has one, so there is no time with both."""
    ensure()
    with transaction.atomic():
        row = _locked()
        keys = of(row)
        assert keys is not None
        if keys.curve_secret:
            keys = _with_new_pair(keys)
            _write(row, keys)
    return keys


def all_told(digest: str) -> bool:
    """Whether every node has the keys of this digest."""
    return not Node.objects.exclude(watch__keys_digest=digest).exists()


def forget_previous(digest: str) -> bool:
    """Believe only the present secret from now on, if it is that of the digest and every node has it."""
    with transaction.atomic():
        row = _locked()
        keys = of(row)
        if keys is None or keys.digest != digest or not all_told(digest):
            return False
        _write(row, replace(keys, previous="", shared=""))
    return True


def _locked() -> WatchKeys:
    WatchKeys.objects.get_or_create(id=1)
    return WatchKeys.objects.select_for_update().get(id=1)


def of(row: WatchKeys) -> Keys | None:
    """The keys of the row; None before there are any."""
    if not row.sealed:
        return None
    raw = secretbox.unseal(bytes(row.sealed))
    return Keys(**{"shared": raw["secret"], **raw})


def _write(row: WatchKeys, keys: Keys) -> None:
    if of(row) != keys:
        row.sealed = secretbox.seal(asdict(keys))
        row.save(update_fields=["sealed"])


def _with_new_pair(keys: Keys) -> Keys:
    public, secret = zmq.curve_keypair()
    return replace(keys, curve_public=public.decode(), curve_secret=secret.decode())


def _new_secret() -> str:
    return "".join(secrets.choice(SECRET_LETTERS) for _ in range(SECRET_LENGTH))


def _adopted() -> Keys | None:
    """The secret of a vmwatch-master.conf; where that names no nodes, as an earlier version's, it is theirs too."""
    with contextlib.suppress(vmwatch_config.BadConfig):
        values = vmwatch_config.read(settings.CONFIG.vmwatch_master_conf)
        if secret := values.get("secret", ""):
            return Keys(secret, shared="" if "nodes" in values else secret)
    return None
