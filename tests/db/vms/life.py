"""Nodes whose agents are the real ones on libvirt's test driver: the world that test_life.py does things in.

Each agent has a network namespace of its own, so bridges and filters of ports are the kernel's; all addresses of it
answer there, so a guest is found as soon as its domain runs. The second node is there from the moment that somebody
moves a VM to it; its pool is where the first has its own, and other files.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import transaction

from nodeagent.protocol import audit, host, storage
from panel.accounts.models import User
from panel.cluster import session
from panel.cluster.models import Node, NodeState
from panel.cluster.nodes import address_of
from panel.cluster.selectors import default_cluster
from panel.images.models import Image
from panel.monitoring.models import NodeWatch
from panel.monitoring.services import take_messages
from panel.network.models import Address, Network
from panel.network.node_part import bridge_of
from panel.network.services import ensure_default_network
from panel.notices.models import Problem
from panel.storage.models import NodePool, Volume
from panel.storage.services import ensure_default_pool
from panel.tasks.models import Task
from panel.vms.audit import AUDIT_SECONDS, audit_node
from panel.vms.models import Vm
from panel.vms.usage import note_shape
from tests.contract.local_agent import PYTHON, LocalAgent
from tests.contract.subjects import make_image
from tests.db.monitoring.messages import full_report
from tests.refs import directory
from vmwatch import wire

GIB = 1024**3
PORT = 8022
SUBNET = "10.77.0.0/24"
FIRST, SECOND = "driver", "second"
BY_HAND = """
from pathlib import Path

from nodeagent import libvirtd
from nodeagent.commands.hosts import absent, state_of

def run(request, job):
    conn = libvirtd.connection()
    domain = {find}
    {act}
    return state_of(domain)
"""
THERE = "conn.lookupByUUIDString(request.uuid)"


@dataclass(frozen=True)
class Glance:
    """What the nodes' vmwatch-node saw at one moment, on its way to the panel."""

    messages: list[wire.Message]
    at: float


class Place:
    """A node: its agent, what answers for its guests, its row, and its pool as it is seen from outside."""

    def __init__(self, folder: Path, name: str, pool: Path, bridge: Network) -> None:
        self.name, self.pool = name, pool
        self.files = pool if name == FIRST else folder / f"pool-{name}"
        self.files.mkdir(exist_ok=True)
        own = None if name == FIRST else (self.files, pool)
        self.agent = LocalAgent(folder / f"agent-{name}", netns=True, own=own)
        self.call = self.agent.call
        self.call(storage.PoolEnsure(directory(str(pool))))
        self.node = self.make_row()
        self.call(bridge_of(bridge, self.node))
        self.agent.run_in_namespace("ip", "link", "set", "lo", "up")
        self.agent.run_in_namespace("ip", "route", "add", "local", SUBNET, "dev", "lo", "table", "local")
        inside = f"--net=/proc/{self.agent.processes[-1].pid}/ns/net"
        serve = [PYTHON, "-m", "http.server", str(PORT), "--directory", str(self.agent.root)]
        with (folder / f"guests-{name}.log").open("wb") as log:
            self.guests = subprocess.Popen(["nsenter", inside, *serve], stdout=log, stderr=log)
        session._sessions[(os.getpid(), address_of(self.node))] = self.agent

    def make_row(self) -> Node:
        """The panel knows the node; only the first takes new VMs."""
        cluster = default_cluster()
        self.node = Node.objects.create(
            cluster=cluster,
            name=self.name,
            address=f"{self.name}.invalid",
            state=NodeState.READY,
            maintenance=self.name != FIRST,
            accel="qemu",
            # As the test driver says.
            facts={"memory_mib": 65536, "cpu_count": 16, "copies_running": False},
        )
        pool = ensure_default_pool(cluster)
        NodePool.objects.create(node=self.node, pool=pool, capacity_bytes=500 * GIB, free_bytes=400 * GIB)
        return self.node

    def close(self) -> None:
        """The agent has ended, and what answered for its guests."""
        self.guests.kill()
        self.guests.wait()
        session._sessions.pop((os.getpid(), address_of(self.node)), None)
        self.agent.stop()

    def domains(self) -> dict[str, host.HostState]:
        """What the driver has, by UUID."""
        return {each.uuid: each for each in self.call(host.HostsRead()).hosts}

    def audit(self, request: audit.HostsAudit) -> audit.Audit:
        """How far the domains are from what the panel wants."""
        return self.call(request, deadline=AUDIT_SECONDS)

    def guarded(self) -> dict[str, set[str]]:
        """The addresses that the agent anti-spoofing filters, by VM and MAC."""
        path = self.agent.root / "var/lib/vmpanel/guards.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return {uuid: {port["mac"] for port in ports.values()} for uuid, ports in kept.items()}

    def outside(self, path: str) -> Path:
        """Where a file of the node is as seen from here."""
        seen = Path(path)
        return self.files / seen.relative_to(self.pool) if seen.is_relative_to(self.pool) else seen

    def by_hand(self, uuid: str, act: str, *, find: str = THERE) -> host.HostState:
        """What nobody but an administrator does, by a command of his: the driver's domains are the agent's alone."""
        command = self.agent.root / "etc/vmpanel/commands/host_reset.py"
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(BY_HAND.format(find=find, act=act))
        try:
            return self.call(host.HostReset(uuid=uuid))
        finally:
            command.unlink()

    def clear(self) -> None:
        """Nothing is there but the pool and the network."""
        for each in self.domains().values():
            self.call(host.HostStop(uuid=each.uuid))
            self.call(host.HostDelete(uuid=each.uuid))
        for uuid in self.guarded():
            self.call(host.HostDelete(uuid=uuid))
        for folder in ("volumes", "seeds"):
            for path in (self.files / folder).iterdir():
                path.unlink()


@dataclass
class World:
    """The nodes, and what the panel has of them."""

    folder: Path
    admin: User
    first: Place = field(init=False)
    other: Place | None = None
    image: Image = field(init=False)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.pool = self.folder / "pool"
        cluster = default_cluster()
        # What they are kept from follows this machine's addresses, which others change meanwhile.
        cluster.guests_reach_nodes = True
        cluster.save()
        pool = ensure_default_pool(cluster)
        pool.options = {"path": str(self.pool)}
        pool.save()
        self.bridge = ensure_default_network(cluster)
        self.first = Place(self.folder, FIRST, self.pool, self.bridge)
        self.image = self._make_image()

    def close(self) -> None:
        """No agent runs."""
        for each in filter(None, (self.first, self.other)):
            each.close()

    @property
    def places(self) -> list[Place]:
        """The nodes that the panel knows at the time."""
        known = set(Node.objects.values_list("name", flat=True))
        return [each for each in (self.first, self.other) if each is not None and each.name in known]

    def second(self) -> Place:
        """The other node, made when somebody first moves a VM to it."""
        if self.other is None:
            self.other = Place(self.folder, SECOND, self.pool, self.bridge)
        elif self.other not in self.places:
            self.other.make_row()
        return self.other

    def at(self, vm: Vm) -> Place:
        """Where the VM lives, for all that the panel knows."""
        return next(each for each in self.places if each.node.pk == vm.node_id)

    def seat(self, vm: Vm) -> Place | None:
        """Where a domain of the VM really is."""
        home = self.at(vm)
        having = [each for each in self.places if str(vm.uuid) in each.domains()]
        return home if home in having else next(iter(having), None)

    def _make_image(self) -> Image:
        folder = Path(settings.CONFIG.images_dir)
        folder.mkdir(parents=True, exist_ok=True)
        made = make_image(self.folder)
        content = made.read_bytes()
        (folder / "life.qcow2").write_bytes(content)
        return Image.objects.create(
            name="life",
            title="A system",
            os_family="test",
            file_name="life.qcow2",
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            virtual_bytes=8 * 1024**2,
            login="root",
            min_memory_mib=64,
            min_disk_gib=1,
            reachable_port=PORT,
        )

    def glance(self) -> Glance:
        """Full reports as each vmwatch-node would make them now."""
        self.sequence += 1
        at, messages = time.time(), []
        for place in self.places:
            seen = [wire.DomainState(each.uuid, each.name, each.state) for each in place.domains().values()]
            messages.append(full_report(place.node, seen, self.sequence))
        return Glance(messages, at)

    def deliver(self, glance: Glance) -> None:
        """vmwatch-master hands the full reports over, having held them since they were made."""
        take_messages(glance.messages, [max(0.0, time.time() - glance.at)] * len(glance.messages))

    def check(self) -> None:
        """Each node's check compares its VMs."""
        for place in self.places:
            audit_node(place.node, place.audit)

    def clear(self) -> None:
        """Nothing is there but the first node, whatever went wrong before."""
        for place in filter(None, (self.first, self.other)):
            place.clear()
        with transaction.atomic():
            left = list(Vm.objects.values_list("pk", flat=True))
            Vm.objects.all().delete()
            for vm_id in left:
                note_shape(vm_id)
        for model in (Task, Volume, Address, Problem, NodeWatch):
            model.objects.all().delete()
        Node.objects.exclude(pk=self.first.node.pk).delete()
