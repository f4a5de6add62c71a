"""The two configuration files: NAME=VALUE, one a line, mode 0600, written as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, FrozenSet, Optional

NODE_CONF = Path("/etc/vmpanel/vmwatch-node.conf")
RESYNC_SECONDS = 15.0
STATISTICS_SECONDS = 600.0
MIN_SECONDS, MAX_SECONDS = 0.1, 3600.0
KEY_LENGTH = 40
"""A CURVE key in Z85, as ZeroMQ writes it."""
_KEY = re.compile(r"[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{" + str(KEY_LENGTH) + "}")


class BadConfig(ValueError):
    """The configuration cannot be used; the text names the file and the line or parameter."""


@dataclass(frozen=True)
class MasterConfig:
    """vmwatch-master.conf. `panel` is the base URL of the panel, `certificate` the file that proves it.

    `nodes` are the ids of the nodes that are believed; None in a file of an earlier version, whose secret they all
    have. `previous_secret` is believed too while the secret is being changed, and `shared_secret` while nodes still
    have the one of an earlier version. With the CURVE keys nodes must speak encrypted.
    """

    disabled: bool
    listen: str
    secret: str
    panel: str
    certificate: str
    previous_secret: str = ""
    shared_secret: str = ""
    nodes: Optional[FrozenSet[int]] = None
    curve_public_key: str = ""
    curve_secret_key: str = ""


@dataclass(frozen=True)
class NodeConfig:
    """vmwatch-node.conf. `secret` is this node's own.

    `resync` are the seconds between two full reports, `statistics` between two collections.

    `server_key` is the master's public CURVE key, empty where messages travel in the open.
    """

    connect: str
    secret: str
    node_id: int
    resync: float = RESYNC_SECONDS
    statistics: float = STATISTICS_SECONDS
    server_key: str = ""


def read_master(path: Path) -> MasterConfig:
    """Read vmwatch-master.conf; raises BadConfig."""
    values = read(path)
    if values.get("disabled", "no") == "yes":
        return MasterConfig(True, values.get("listen", ""), "", "", "")
    public, secret = (_key(values, f"curve_{half}_key", path) for half in ("public", "secret"))
    if bool(public) != bool(secret):
        raise BadConfig(f"{path}: “curve_public_key” and “curve_secret_key” go together")
    main, nodes = _required(values, "secret", path), _nodes(values, path)
    return MasterConfig(
        disabled=False,
        listen=_required(values, "listen", path),
        secret=main,
        panel=_required(values, "panel", path),
        certificate=_required(values, "certificate", path),
        previous_secret=values.get("previous_secret", ""),
        shared_secret=main if nodes is None else values.get("shared_secret", ""),
        nodes=nodes,
        curve_public_key=public,
        curve_secret_key=secret,
    )


def read_node(path: Path) -> NodeConfig:
    """Read vmwatch-node.conf; raises BadConfig."""
    values = read(path)
    connect, secret, node_id = (_required(values, name, path) for name in ("connect", "secret", "node_id"))
    if not (node_id.isascii() and node_id.isdigit()):
        raise BadConfig(f"{path}: “node_id” must be a number, not “{node_id}”")
    return NodeConfig(
        connect=connect,
        secret=secret,
        node_id=int(node_id),
        resync=_seconds(values, "resync", RESYNC_SECONDS, path),
        statistics=_seconds(values, "statistics", STATISTICS_SECONDS, path),
        server_key=_key(values, "server_key", path),
    )


def read(path: Path) -> Dict[str, str]:
    """The parameters of a file; raises BadConfig."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path}: is not text in UTF-8") from error
    values: Dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise BadConfig(f"{path}:{number}: expected NAME=VALUE")
        if name.strip() in values:
            raise BadConfig(f"{path}:{number}: “{name.strip()}” is there twice")
        values[name.strip()] = value.strip()
    return values


def write(path: Path, values: Dict[str, str]) -> bool:
    """Have the file with these parameters, mode 0600; True when it was not so before.

    Raises BadConfig for a value that a line cannot hold.
    """
    for name, value in values.items():
        if not value.isprintable():
            raise BadConfig(f"{path}: the value of “{name}” has a character that a line cannot hold")
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    try:
        if path.read_bytes() == text.encode():
            path.chmod(0o600)
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    # Left by a process of this number that died at it; made anew, so that its mode is ours.
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return True


def digest(path: Path) -> str:
    """What tells this content of a file from another without telling it; empty for a file that cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def mark_of(pid_file: Path) -> Path:
    """Where vmwatch-master writes the digest of the configuration that it works with: beside its process id."""
    return pid_file.with_suffix(".read")


def beat_of(pid_file: Path) -> Path:
    """The file whose time says when vmwatch-master's loop went round last: beside its process id."""
    return pid_file.with_suffix(".beat")


def _required(values: Dict[str, str], name: str, path: Path) -> str:
    if not values.get(name):
        raise BadConfig(f"{path}: the parameter “{name}” is missing")
    return values[name]


def _nodes(values: Dict[str, str], path: Path) -> Optional[FrozenSet[int]]:
    if "nodes" not in values:
        return None
    words = values["nodes"].split()
    if not all(word.isascii() and word.isdigit() for word in words):
        raise BadConfig(f"{path}: “nodes” must be numbers with blanks between them")
    return frozenset(int(word) for word in words)


def _seconds(values: Dict[str, str], name: str, default: float, path: Path) -> float:
    try:
        seconds = float(values.get(name, default))
    except ValueError:
        seconds = 0.0
    # Also false for NaN.
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise BadConfig(f"{path}: “{name}” must be seconds, {MIN_SECONDS:g} to {MAX_SECONDS:g}, not “{values[name]}”")
    return seconds


def _key(values: Dict[str, str], name: str, path: Path) -> str:
    key = values.get(name, "")
    # The key is not told: it may be the secret one.
    if key and not _KEY.fullmatch(key):
        raise BadConfig(f"{path}: “{name}” is no CURVE key of {KEY_LENGTH} characters")
    return key
