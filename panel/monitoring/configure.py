"""vmwatch.configure: both ends of the status subsystem, by what the panel's configuration says.

The shared secret stands in vmwatch-master.conf and on the nodes, in no table and no log.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import string
from pathlib import Path

import psutil
from django.conf import settings

from panel.cluster.models import Node
from panel.core.errors import ConfigError
from vmwatch import config as vmwatch_config

SECRET_LENGTH = 48
SECRET_LETTERS = string.ascii_uppercase + string.digits


def listen_ip() -> str:
    """The address that vmwatch-master listens on.

    VmwatchListenIp; else the address of the node that is this machine; else this machine's first
    address that is not a loopback one (the order that VMmanager documents).

    Raises ConfigError when there is none.
    """
    chosen: str = settings.CONFIG.vmwatch_listen_ip
    if chosen:
        return chosen
    own = _own_addresses()
    for address in Node.objects.values_list("address", flat=True):
        if address in own:
            return str(address)
    for candidate in own:
        if not ipaddress.ip_address(candidate).is_loopback:
            return candidate
    raise ConfigError(
        "This machine has no address that nodes could reach; set VmwatchListenIp.", option="VmwatchListenIp"
    )


def _own_addresses() -> list[str]:
    found = []
    for addresses in psutil.net_if_addrs().values():
        found += [each.address for each in addresses if each.family == socket.AF_INET]
    return found


def endpoint() -> str:
    """Where nodes send to, as ZeroMQ writes it."""
    return f"tcp://{listen_ip()}:{settings.CONFIG.vmwatch_listen_port}"


def configure_master() -> tuple[str, str]:
    """vmwatch-master is configured, and disabled only while there is no node; answers endpoint and secret."""
    path: Path = settings.CONFIG.vmwatch_master_conf
    secret = _secret(path)
    if not Node.objects.exists():
        changed = vmwatch_config.write(path, {"disabled": "yes", "secret": secret})
        where = ""
    else:
        where = endpoint()
        values = {
            "disabled": "no",
            "listen": where,
            "secret": secret,
            "panel": f"https://127.0.0.1:{settings.CONFIG.listen_port}",
            "certificate": str(settings.CONFIG.certificate_path),
        }
        changed = vmwatch_config.write(path, values)
    if changed:
        _reload_master()
    return where, secret


def shared_secret() -> str:
    """The secret in force; empty before the master is configured."""
    with contextlib.suppress(vmwatch_config.BadConfig):
        return vmwatch_config.read(settings.CONFIG.vmwatch_master_conf).get("secret", "")
    return ""


def pid_file() -> Path:
    """Where vmwatch-master writes its process id."""
    return Path(settings.CONFIG.var_dir) / "run" / "vmwatch-master.pid"


def _secret(path: Path) -> str:
    with contextlib.suppress(vmwatch_config.BadConfig):
        if secret := vmwatch_config.read(path).get("secret"):
            return secret
    return "".join(secrets.choice(SECRET_LETTERS) for _ in range(SECRET_LENGTH))


def _reload_master() -> None:
    """Have a running master read its configuration; one that does not run reads it when it starts."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        os.kill(int(pid_file().read_text(encoding="ascii")), signal.SIGHUP)
