"""vmwatch.configure: both ends of the status subsystem, by what the panel's configuration says.

The keys are those of keys.py; besides they stand in vmwatch-master.conf and on the nodes, in no log.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from django.conf import settings
from django.db import transaction

from nodeagent.protocol import node as protocol
from panel.accounts.system import system_user
from panel.cluster.models import Node, NodeState
from panel.cluster.nodes import Agent
from panel.cluster.periodic import check_nodes
from panel.core.errors import ConfigError, NotConfigured, PanelError
from panel.monitoring import keys, master
from panel.monitoring.keys import Keys
from panel.tasks import registry
from panel.tasks.models import ENDED, Task
from vmwatch import config as vmwatch_config
from vmwatch import wire

log = logging.getLogger(__name__)

MOST_TELLINGS = 3
"""How often a node is told at once, while what there is to tell changes; its next check goes on."""


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

    Its file is written where it runs (PanelHere), and a running master has read it when this returns.
    Elsewhere the answer is what was told there last; raises NotConfigured when nothing was, and asks for it.
    """
    if not settings.CONFIG.panel_here:
        return _configured_there()
    path: Path = settings.CONFIG.vmwatch_master_conf
    with _alone(path):
        held, nodes = keys.ensure(), _believed()
        where = endpoint() if Node.objects.exists() else ""
        before = _listens_on(path)
        if vmwatch_config.write(path, _master_values(where, held, nodes)):
            master.reload(path, wait=bool(where))
        elif not master.has_read(path):
            master.reload(path, wait=False)
        before = keys.note_master(where, held, nodes) or before
    if before and where and before != where:
        # The nodes there are speak to the old address: their checks tell them the new one.
        transaction.on_commit(check_nodes)
    return where, held


def _configured_there() -> tuple[str, Keys]:
    where, held = keys.told()
    if held is None or not keys.known().issuperset(_believed()):
        configure_again()
        raise NotConfigured(what="vmwatch-master", option="PanelHere")
    return where, held


def _believed() -> list[int]:
    """The nodes whose words are taken: one that is being removed or forgotten has none any more."""
    return list(Node.objects.exclude(state=NodeState.REMOVING).order_by("pk").values_list("pk", flat=True))


def narrow() -> None:
    """vmwatch-master believes no node that is gone; where that cannot be done now, the next configuration does it."""
    if not settings.CONFIG.panel_here:
        configure_again()
        return
    try:
        configure_master()
    except (PanelError, OSError):
        log.exception("vmwatch-master could not be told which nodes there are")


def rotate() -> None:
    """There is a new secret beside the present one; raises ConfigError where the master's file is not."""
    _need_panel_here()
    keys.rotate()


def renew_curve() -> None:
    """There is another pair of CURVE keys; raises ConfigError where the master's file is not, or keys are not used."""
    _need_panel_here()
    if not settings.CONFIG.vmwatch_curve:
        raise ConfigError("There are no CURVE keys while VmwatchCurve is no.", option="VmwatchCurve")
    keys.renew_curve()


def _need_panel_here() -> None:
    if not settings.CONFIG.panel_here:
        raise ConfigError("Keys are changed on the panel's machine, where PanelHere is yes.", option="PanelHere")


def configure_again() -> None:
    """Ask for vmwatch.configure; one that is under way already is enough."""
    open_one = Task.objects.filter(operation="vmwatch.configure").exclude(status__in=ENDED)
    if not open_one.exists():
        registry.get("vmwatch.configure").submit(system_user(), {}, object_id=1)


def _master_values(where: str, held: Keys, nodes: Sequence[int]) -> dict[str, str]:
    named = {"nodes": " ".join(map(str, nodes))}
    if not where:
        return {"disabled": "yes", "secret": held.secret, **named}
    values = {
        "disabled": "no",
        "listen": where,
        "secret": held.secret,
        "previous_secret": held.previous,
        "shared_secret": held.shared,
        "panel": f"https://{settings.CONFIG.own_host}:{settings.CONFIG.listen_port}",
        "certificate": str(settings.CONFIG.certificate_path),
        "curve_public_key": held.curve_public,
        "curve_secret_key": held.curve_secret,
    }
    # An empty list of nodes is one too.
    return {name: value for name, value in values.items() if value} | named


def tell_node(agent: Agent, node: Node) -> None:
    """vmwatch-node runs on the node and knows the master; raises NodeError, or what configure_master() does.

    Another worker may change what there is to tell meanwhile, and this word may be the last to reach
    the node: then it is told anew.
    """
    for _ in range(MOST_TELLINGS):
        where, held = configure_master()
        agent.call(
            protocol.VmwatchConfigure(
                connect=where,
                secret=wire.own_secret(held.secret, node.pk),
                node_id=node.pk,
                resync=settings.CONFIG.vmwatch_resync_seconds,
                server_key=held.curve_public,
            )
        )
        if keys.note_node(node, where, held):
            return


def end_rotation() -> bool:
    """Believe earlier secrets no more, once the master and every node have the present one; True when so."""
    held = keys.current()
    if held is None or not held.changing:
        return True
    if not keys.all_told(held.digest):
        return False
    if not settings.CONFIG.panel_here:
        configure_again()
        return False
    if not (master.has_read(settings.CONFIG.vmwatch_master_conf) and keys.forget_previous(held.digest)):
        return False
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
