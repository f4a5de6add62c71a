"""The two configuration files: NAME=VALUE, one a line, mode 0600, written as a whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict

NODE_CONF = Path("/etc/vmpanel/vmwatch-node.conf")


class BadConfig(ValueError):
    """The configuration cannot be used; the text names the file and the line or parameter."""


@dataclass(frozen=True)
class MasterConfig:
    """vmwatch-master.conf. `panel` is the base URL of the panel, `certificate` the file that proves it."""

    disabled: bool
    listen: str
    secret: str
    panel: str
    certificate: str


@dataclass(frozen=True)
class NodeConfig:
    """vmwatch-node.conf. `resync` is the seconds between two full pictures."""

    connect: str
    secret: str
    node_id: int
    resync: float


def read_master(path: Path) -> MasterConfig:
    """Read vmwatch-master.conf; raises BadConfig."""
    values = read(path)
    if values.get("disabled", "no") == "yes":
        return MasterConfig(True, values.get("listen", ""), "", "", "")
    return MasterConfig(
        disabled=False,
        listen=_required(values, "listen", path),
        secret=_required(values, "secret", path),
        panel=_required(values, "panel", path),
        certificate=_required(values, "certificate", path),
    )


def read_node(path: Path) -> NodeConfig:
    """Read vmwatch-node.conf; raises BadConfig."""
    values = read(path)
    try:
        return NodeConfig(
            connect=_required(values, "connect", path),
            secret=_required(values, "secret", path),
            node_id=int(_required(values, "node_id", path)),
            resync=float(values.get("resync", "15")),
        )
    except ValueError as error:
        raise BadConfig(f"{path}: {error}") from error


def read(path: Path) -> Dict[str, str]:
    """The parameters of a file; raises BadConfig."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    values = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise BadConfig(f"{path}:{number}: expected NAME=VALUE")
        values[name.strip()] = value.strip()
    return values


def write(path: Path, values: Dict[str, str]) -> bool:
    """Have the file with these parameters, mode 0600; True when it was not so before."""
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    try:
        if path.read_text(encoding="utf-8") == text:
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return True


def _required(values: Dict[str, str], name: str, path: Path) -> str:
    if not values.get(name):
        raise BadConfig(f"{path}: the parameter “{name}” is missing")
    return values[name]
