"""A node whose agent is the real one on libvirt's test driver, and what is true of every VM on it at any time.

test_life.py does things to the VMs; this is the world that it does them in. The agent has a network
namespace of its own, so bridges and guards are the kernel's; all addresses of it answer there, so a guest is
found as soon as its domain runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from nodeagent.protocol import audit, host, network, snapshot, storage
from panel.accounts.models import User
from panel.cluster import session
from panel.cluster.models import Node, NodeState
from panel.cluster.nodes import address_of
from panel.cluster.selectors import default_cluster
from panel.doctor.services import look
from panel.images.models import Image
from panel.monitoring.models import NodeWatch
from panel.monitoring.services import take_messages
from panel.network.models import Address, Network
from panel.network.services import ensure_default_network
from panel.notices.models import Problem
from panel.storage.models import NodePool, Volume
from panel.storage.services import ensure_default_pool
from panel.tasks.models import ENDED, Status, Task, TaskLock, TaskSecret
from panel.vms.models import Interface, Snapshot, StatusChange, Vm
from panel.vms.spec import host_spec
from panel.vms.usage import note_shape
from tests.contract.local_agent import PYTHON, LocalAgent
from tests.contract.subjects import BY_HAND, make_image
from tests.db.monitoring.messages import picture
from vmwatch import wire

GIB = 1024**3
PORT = 8022
SUBNET = "10.77.0.0/24"


@dataclass(frozen=True)
class Glance:
    """What vmwatch-node saw at one moment, on its way to the panel."""

    message: wire.Message
    at: float


@dataclass
class World:
    """The node, its agent, and what the panel has of it."""

    folder: Path
    admin: User
    agent: LocalAgent = field(init=False)
    node: Node = field(init=False)
    image: Image = field(init=False)
    pool: str = field(init=False)
    bridge: Network = field(init=False)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.agent = LocalAgent(self.folder / "agent", netns=True)
        self.pool = str(self.folder / "pool")
        cluster = default_cluster()
        pool = ensure_default_pool(cluster)
        pool.path = self.pool
        pool.save()
        self.node = Node.objects.create(
            cluster=cluster,
            name="driver",
            address="driver.invalid",
            state=NodeState.READY,
            accel="qemu",
            # As the test driver says.
            facts={"memory_mib": 65536, "cpu_count": 16, "copies_running": False},
        )
        NodePool.objects.create(node=self.node, pool=pool, capacity_bytes=500 * GIB, free_bytes=400 * GIB)
        self.bridge = ensure_default_network(cluster)
        session._sessions[(os.getpid(), address_of(self.node))] = self.agent
        self.agent.call(storage.PoolEnsure(path=self.pool))
        gateway = f"{self.bridge.gateway}/24"
        self.agent.call(network.BridgeEnsure(self.bridge.bridge, gateway, SUBNET))
        self.agent.run_in_namespace("ip", "link", "set", "lo", "up")
        self.agent.run_in_namespace("ip", "route", "add", "local", SUBNET, "dev", "lo", "table", "local")
        inside = f"--net=/proc/{self.agent.processes[-1].pid}/ns/net"
        serve = [PYTHON, "-m", "http.server", str(PORT), "--directory", str(self.folder / "agent/root")]
        with (self.folder / "guests.log").open("wb") as log:
            self.guests = subprocess.Popen(["nsenter", inside, *serve], stdout=log, stderr=log)
        self.image = self._make_image()

    def close(self) -> None:
        """The agent has ended, and what answered for its guests."""
        self.guests.kill()
        self.guests.wait()
        session._sessions.pop((os.getpid(), address_of(self.node)), None)
        self.agent.stop()

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

    def domains(self) -> dict[str, host.HostState]:
        """What the driver has, by UUID."""
        return {each.uuid: each for each in self.agent.call(host.HostsRead()).hosts}

    def glance(self) -> Glance:
        """A full picture as vmwatch-node would make it now."""
        self.sequence += 1
        at = time.time()
        seen = [wire.DomainState(each.uuid, each.name, each.state) for each in self.domains().values()]
        return Glance(picture(self.node, seen, self.sequence), at)

    def deliver(self, glance: Glance) -> None:
        """vmwatch-master hands the picture over, having held it since it was made."""
        take_messages([glance.message], [max(0.0, time.time() - glance.at)])

    def guarded(self) -> dict[str, set[str]]:
        """The addresses that the agent guards, by VM and MAC."""
        path = self.agent.root / "var/lib/vmpanel/guards.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return {uuid: {port["mac"] for port in ports.values()} for uuid, ports in kept.items()}

    def save_memory(self, uuid: str) -> None:
        """As by virsh managedsave."""
        self.by_hand(uuid, "managedSave")

    def by_hand(self, uuid: str, act: str) -> None:
        """What nobody but an administrator does, by a command of his: the driver's domains are the agent's alone."""
        command = self.agent.root / "etc/vmpanel/commands/host_reset.py"
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(BY_HAND.format(act))
        self.agent.call(host.HostReset(uuid=uuid))
        command.unlink()

    def clear(self) -> None:
        """Nothing is there but the node, whatever went wrong before."""
        for each in self.domains().values():
            self.agent.call(host.HostStop(uuid=each.uuid))
            self.agent.call(host.HostDelete(uuid=each.uuid))
        for uuid in self.guarded():
            self.agent.call(host.HostDelete(uuid=uuid))
        for folder in ("volumes", "seeds"):
            for path in (Path(self.pool) / folder).iterdir():
                path.unlink()
        with transaction.atomic():
            left = list(Vm.objects.values_list("pk", flat=True))
            Vm.objects.all().delete()
            for vm_id in left:
                note_shape(vm_id)
        for model in (Task, Volume, Address, Problem, NodeWatch):
            model.objects.all().delete()


def assert_right(world: World, *, open_tasks: set[int], left: dict[int, set[str]], drifted: set[int]) -> None:
    """What is always so, after a full picture that is taken back again.

    `open_tasks` have not been begun yet. `left` are, by VM, the kinds of findings that the doctor may have: somebody
    went behind the panel's back, or an operation that only goes forward failed and nobody asked again; `drifted`
    are VMs whose description may differ.
    """
    _assert_tasks(open_tasks)
    with transaction.atomic():
        take_messages([world.glance().message])
        found = look()
        _assert_status(world)
        transaction.set_rollback(True)
    world.sequence -= 1
    about = {f"vm {pk}": codes for pk, codes in left.items()}
    # No worker is free for them, and on a busy machine that can take longer than the doctor allows.
    about.update({f"task {pk}": {"task_abandoned"} for pk in open_tasks})
    # A memory that somebody saved is told; that it is there when it is told is _assert_status()'s matter.
    told = [each for each in found if each.code != "memory_saved"]
    unexpected = [each for each in told if each.code not in about.get(each.object, set())]
    assert not unexpected, unexpected
    _assert_addresses(world, set(left) | drifted)
    _assert_history()
    _assert_described(world, set(left) | drifted, open_tasks)


def _assert_tasks(open_tasks: set[int]) -> None:
    assert set(Task.objects.exclude(status__in=ENDED).values_list("pk", flat=True)) == open_tasks
    assert not Task.objects.filter(status=Status.STUCK).exists()
    assert set(TaskLock.objects.values_list("task_id", flat=True)) <= open_tasks
    assert set(TaskSecret.objects.values_list("task_id", flat=True)) <= open_tasks


def _assert_status(world: World) -> None:
    domains = world.domains()
    for vm in Vm.objects.filter(installed=True):
        there = domains.get(str(vm.uuid))
        assert vm.status == (there.state if there else "missing"), f"{vm}: {vm.status}"


def _assert_addresses(world: World, excused: set[int]) -> None:
    interfaces = list(Interface.objects.select_related("vm", "address"))
    ips = [each.address.ip for each in interfaces]
    assert len(ips) == len(set(ips)) == Address.objects.count()
    assert len({each.mac for each in interfaces}) == len(interfaces)
    guarded, wanted = world.guarded(), {}
    for vm in Vm.objects.filter(installed=True).exclude(pk__in=excused):
        wanted[str(vm.uuid)] = {
            each.mac for each in interfaces if each.vm_id == vm.pk and each.attached and each.guarded
        }
    ours = {str(uuid) for uuid in Vm.objects.filter(pk__in=excused).values_list("uuid", flat=True)}
    assert {uuid: macs for uuid, macs in guarded.items() if uuid not in ours} == {
        uuid: macs for uuid, macs in wanted.items() if macs
    }


def _assert_history() -> None:
    for vm in Vm.objects.all():
        rows = list(reversed(StatusChange.objects.filter(vm=vm)))
        for before, after in itertools.pairwise(rows):
            assert after.repeated == (after.status == before.status), f"{vm}: {before} then {after}"
        if rows:
            assert rows[-1].status == vm.status, f"{vm} is {vm.status}, its history ends with {rows[-1]}"


def _assert_described(world: World, excused: set[int], open_tasks: set[int]) -> None:
    # A suspension holds from when it is asked for; libvirt is told of it at the task's turn.
    told_later = Task.objects.filter(pk__in=open_tasks, operation__in=("vm.suspend", "vm.unsuspend"))
    excused = excused | set(told_later.values_list("object_id", flat=True))
    vms = Vm.objects.filter(installed=True).exclude(pk__in=excused).select_related("node", "pool", "image")
    specs = {str(vm.uuid): host_spec(vm) for vm in vms}
    answer = world.agent.call(audit.HostsAudit(specs=list(specs.values())))
    assert [each for each in answer.differing if each.drift] == []
    for vm in vms:
        rows = Snapshot.objects.filter(vm=vm)
        # One that is yet to be taken stands in the rows already.
        if not rows or Task.objects.filter(pk__in=open_tasks, operation="vm.snapshot", object_id=vm.pk).exists():
            continue
        told = world.agent.call(snapshot.SnapshotsRead(uuid=str(vm.uuid))).snapshots
        assert {(each.name, each.parent, each.current) for each in told} == {
            (str(row.uuid), str(row.parent.uuid) if row.parent else None, row.current) for row in rows
        }


def assert_nothing_left(world: World) -> None:
    """After every VM was deleted nothing of any is anywhere."""
    assert world.domains() == {}
    assert world.guarded() == {}
    assert "chain tap" not in world.agent.run_in_namespace("nft", "list", "ruleset")
    files = world.agent.call(storage.PoolList(path=world.pool)).files
    assert (files["volumes"], files["seeds"]) == ([], [])
    counts: dict[str, Any] = {model.__name__: model.objects.count() for model in (Vm, Volume, Address, TaskLock)}
    assert not any(counts.values()), counts
    assert not Problem.objects.filter(open_key__isnull=False).exists()
