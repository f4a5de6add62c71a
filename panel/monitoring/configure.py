"""vmwatch.configure: both ends of the status subsystem, by what the panel's configuration says.

The shared secret stands in vmwatch-master.conf and on the nodes, in no table and no log.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import secrets
import signal
import socket
import string
from collections.abc import Iterator
from pathlib import Path

import psutil
from django.conf import settings
from django.db import transaction

from panel.cluster.models import Node
from panel.cluster.periodic import check_nodes
from panel.core.errors import ConfigError
from vmwatch import config as vmwatch_config

SECRET_LENGTH = 48
SECRET_LETTERS = string.ascii_uppercase + string.digits


def listen_ip() -> str:
    """The address that vmwatch-master listens on.

    VmwatchListenIp; else the address of the node that is this machine; else this machine's first
    address that is not a loopback one (the order that VMmanager documents). A loopback address is
    no choice as soon as there is a node elsewhere, which could not reach it.

    Raises ConfigError when there is none.
    """
    chosen: str = settings.CONFIG.vmwatch_listen_ip
    if chosen:
        return chosen
    own = _own_addresses()
    nodes = list(Node.objects.order_by("pk").values_list("address", flat=True))
    local = [address for address in nodes if address in own]
    reachable = [address for address in own if not ipaddress.ip_address(address).is_loopback]
    chosen_from = [address for address in local if address in reachable]
    if len(local) == len(nodes):
        chosen_from += local
    chosen_from += reachable
    if chosen_from:
        return chosen_from[0]
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
    with _alone(path):
        secret = _secret(path)
        where = endpoint() if Node.objects.exists() else ""
        before = _listens_on(path)
        if where:
            values = {
                "disabled": "no",
                "listen": where,
                "secret": secret,
                "panel": f"https://{settings.CONFIG.own_host}:{settings.CONFIG.listen_port}",
                "certificate": str(settings.CONFIG.certificate_path),
            }
        else:
            values = {"disabled": "yes", "secret": secret}
        if vmwatch_config.write(path, values):
            _reload_master()
    if before and where and before != where:
        # The nodes there are speak to the old address: their checks tell them the new one.
        transaction.on_commit(check_nodes)
    return where, secret


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Held by one process at a time: two that add the first nodes must not make two secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _listens_on(path: Path) -> str:
    with contextlib.suppress(vmwatch_config.BadConfig):
        return vmwatch_config.read(path).get("listen", "")
    return ""


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
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(pid_file().read_text(encoding="ascii")))
        # The number in the file may be another process' by now, and the signal would end it.
        if any("vmwatch" in word for word in process.cmdline()):
            process.send_signal(signal.SIGHUP)
