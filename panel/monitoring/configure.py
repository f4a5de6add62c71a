"""vmwatch.configure: both ends of the status subsystem, by what the panel's configuration says.

The keys are those of keys.py; besides they stand in vmwatch-master.conf and on the nodes, in no log.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
from django.conf import settings
from django.db import transaction

from nodeagent.protocol import node as protocol
from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.cluster.periodic import check_nodes
from panel.core.errors import ConfigError
from panel.monitoring import keys
from panel.monitoring.keys import Keys
from panel.monitoring.models import NodeWatch
from vmwatch import config as vmwatch_config


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


def configure_master() -> tuple[str, Keys]:
    """vmwatch-master is configured, and disabled only while there is no node; answers endpoint and keys.

    Its file is written where the master runs (PanelHere); elsewhere the nodes learn the same.
    """
    path: Path = settings.CONFIG.vmwatch_master_conf
    with _alone(path):
        held = keys.ensure()
        where = endpoint() if Node.objects.exists() else ""
        before = _listens_on(path)
        if settings.CONFIG.panel_here and vmwatch_config.write(path, _master_values(where, held)):
            _reload_master()
    if before and where and before != where:
        # The nodes there are speak to the old address: their checks tell them the new one.
        transaction.on_commit(check_nodes)
    return where, held


def _master_values(where: str, held: Keys) -> dict[str, str]:
    if not where:
        return {"disabled": "yes", "secret": held.secret}
    values = {
        "disabled": "no",
        "listen": where,
        "secret": held.secret,
        "previous_secret": held.previous,
        "panel": f"https://{settings.CONFIG.own_host}:{settings.CONFIG.listen_port}",
        "certificate": str(settings.CONFIG.certificate_path),
        "curve_public_key": held.curve_public,
        "curve_secret_key": held.curve_secret,
    }
    return {name: value for name, value in values.items() if value}


def tell_node(agent: Agent, node: Node, where: str, held: Keys) -> None:
    """vmwatch-node runs on the node and knows the master; raises NodeError."""
    agent.call(
        protocol.VmwatchConfigure(
            connect=where,
            secret=held.secret,
            node_id=node.pk,
            resync=settings.CONFIG.vmwatch_resync_seconds,
            server_key=held.curve_public,
        )
    )
    NodeWatch.objects.update_or_create(node=node, defaults={"keys_digest": held.digest})


def end_rotation() -> bool:
    """Believe the previous secret no more, once every node has the present one; True when that is so now."""
    held = keys.current()
    if held is None or not held.previous:
        return True
    if Node.objects.exclude(watch__keys_digest=held.digest).exists():
        return False
    keys.forget_previous()
    configure_master()
    return True


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


def pid_file() -> Path:
    """Where vmwatch-master writes its process id."""
    return Path(settings.CONFIG.var_dir) / "run" / "vmwatch-master.pid"


def _reload_master() -> None:
    """Have a running master read its configuration; one that does not run reads it when it starts."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(pid_file().read_text(encoding="ascii")))
        # The number in the file may be another process' by now, and the signal would end it.
        if any("vmwatch" in word for word in process.cmdline()):
            process.send_signal(signal.SIGHUP)
