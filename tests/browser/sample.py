"""Rows as a small panel in use has them, one at least of each kind that pages show. Run by the panel's own shell.

No host is behind them. What make() made is told as JSON: ids by the names that addresses of pages have for them.
"""

from __future__ import annotations

import json
import math
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from panel.accounts import signin_keys
from panel.accounts.models import JournalEntry, Limits, Role, SigninKey, SshKey, Token, Totp, User
from panel.cluster.models import Node, NodeState
from panel.cluster.selectors import default_cluster
from panel.core import permissions, secretbox
from panel.core.errors import NodeUnreachable, NotFound
from panel.core.wording import Text, for_row
from panel.dns.models import DnsServer, Record, RecordState
from panel.dns.names import pointer
from panel.images.models import Flavor, Image, Iso
from panel.monitoring.models import NodeInterfaces, Step, VmTraffic, VmUsage
from panel.network.models import Address, Network
from panel.network.security import add_group
from panel.network.services import ensure_default_network, record_state
from panel.notices.models import Problem
from panel.notices.services import acknowledge, open_problem
from panel.storage.models import NodePool, Pool, Volume
from panel.storage.services import ensure_default_pool
from panel.tasks import registry
from panel.tasks.commands import DONE, NodeCommand, note
from panel.tasks.engine import TRYING_AGAIN
from panel.tasks.models import Status, StepStatus, Task, TaskLog, TaskStep
from panel.vms.models import Cause, Disk, Interface, InterfaceAddress, Snapshot, StatusChange, Vm, VmStatus
from panel.vms.unmanaged import UnmanagedDomain
from panel.vms.usage import note_shape
from panel.webhooks.models import Delivery, DeliveryState, Webhook
from vmwatch.wire import LinkState

ADMIN, CUSTOMER, CAREFUL = "admin", "anna", "boris"
"""Who looks: an administrator, a customer, and one whose sign-in has a second step."""
PASSWORD = "correct horse battery"
MADE = "role", "image", "iso", "flavor", "task", "problem", "entry", "webhook", "token", "pool", "network", "snapshot"
"""Of each of these one at least."""
GIB = 1 << 30
FOR_EVER = timedelta(days=3650)
"""How long workers leave the task that is under way."""
VMS: tuple[tuple[str, str, int, int], ...] = (
    ("shop", VmStatus.RUNNING, 4096, 2),
    ("mail", VmStatus.RUNNING, 2048, 2),
    ("database-of-the-shop", VmStatus.RUNNING, 8192, 4),
    ("staging", VmStatus.SHUT_OFF, 1024, 1),
    ("build", VmStatus.PAUSED, 2048, 4),
    ("archive", VmStatus.SAVED, 512, 1),
    ("old", VmStatus.UNKNOWN, 512, 1),
    ("lost", VmStatus.MISSING, 512, 1),
)
FACTS = {
    "hostname": "node", "os_id": "debian", "os_version": "12", "os_name": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "6.1.0", "python": "3.11.2", "arch": "x86_64", "cpu_model": "AMD EPYC 7443P", "cpu_count": 48,
    "memory_mib": 257000, "memory_free_mib": 181000, "libvirt": "answers", "libvirt_version": "9.0.0",
    "qemu_version": "7.2.0", "copies_running": True,
    "file_systems": [{"path": "/", "size_bytes": 500 * GIB, "free_bytes": 310 * GIB}],
}  # fmt: skip


def nodes() -> list[Node]:
    """Two nodes as their checks leave them, with a storage that is low on one."""
    found = list(Node.objects.order_by("pk")[:2])
    if found:
        return found
    pool = ensure_default_pool(default_cluster())
    for name, free_gib in (("node1", 310), ("node2", 3)):
        node = Node.objects.create(
            cluster=pool.cluster, name=name, address=f"{name}.invalid", state=NodeState.READY, accel="kvm", is_fake=True
        )
        NodePool.objects.create(
            node=node, pool=pool, capacity_bytes=500 * GIB, free_bytes=free_gib * GIB, mark=name, seen_at=timezone.now()
        )
        Volume.objects.create(pool=pool, node=node, size_gib=20)
        found.append(node)
    return found


def make() -> None:
    """All of it, and a line that tells of it."""
    made = SimpleNamespace(now=timezone.now(), nodes=nodes())
    made.cluster = made.nodes[0].cluster
    made.pool, made.network = Pool.objects.order_by("pk")[0], ensure_default_network(made.cluster)
    _people(made)
    _images(made)
    _hosts(made)
    made.vms = [_vm(made, number, *each) for number, each in enumerate(VMS)]
    _of_the_first(made, made.vms[0])
    _security_groups(made)
    _tasks(made, made.vms)
    _names(made)
    _interfaces(made)
    _told(made, made.vms[0])
    print("MADE" + json.dumps(_ids(made)))


def _security_groups(made: SimpleNamespace) -> None:
    office = add_group(made.customer, "office", "Who works for the shop", [])
    lines = ["in tcp 22 from 192.0.2.0/24", "in tcp 443", "in any from office", "out any"]
    web = made.security_group = add_group(made.customer, "web", "", lines)
    for vm, groups in zip(made.vms, ([web, office], [office]), strict=False):
        vm.interfaces.first().security_groups.set(groups)


def _ids(made: SimpleNamespace) -> dict[str, Any]:
    """What stands for each parameter of an address, and keys that sign browsers in."""
    ids = {f"{name}_id": getattr(made, name).pk for name in MADE}
    ids |= {
        "vm_id": made.vms[0].pk,
        "node_id": made.nodes[0].pk,
        "user_id": made.customer.pk,
        "cluster_id": made.cluster.pk,
    }
    # What is a storage or a plan on pages is a pool or a flavor in the database.
    ids |= {
        "storage_id": made.pool.pk,
        "plan_id": made.flavor.pk,
        "network_id": made.network.pk,
        "dns_server_id": made.dns_server.pk,
        "dns-server_id": made.dns_server.pk,
        "security-group_id": made.security_group.pk,
        "request_id": made.task.request_id,
    }
    return {**ids, "keys": {each.name: _key(each) for each in (made.admin, made.customer)}}


def _key(user: User) -> str:
    key = f"walk-{user.name}-{timezone.now().timestamp()}"
    until = timezone.now() + signin_keys.LIFETIME
    SigninKey.objects.create(user=user, digest=signin_keys.digest(key), leads_to="/profile", expires_at=until)
    return key


def _people(made: SimpleNamespace) -> None:
    made.admin = User.objects.get(name=ADMIN)
    rights = sorted(permissions.ALWAYS | {"vms.power", "vms.console"})
    made.role = Role.objects.create(name="Operator", level="user", rights=rights)
    password = make_password(PASSWORD)
    made.customer = User.objects.create(name=CUSTOMER, email="anna@example.com", password=password)
    careful = User.objects.create(name=CAREFUL, password=password)
    User.objects.create(name="vera", password="!", role=made.role)
    Totp.objects.create(user=careful, sealed=secretbox.seal({"totp": "JBSWY3DPEHPK3PXP"}), confirmed_at=made.now)
    Limits.objects.create(user=made.customer, vms=10, memory_mib=65536, vcpus=32, disk_gib=500, addresses=10)
    for user in (made.admin, made.customer):
        SshKey.objects.create(user=user, name="laptop", public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI anna@laptop")
        made.token = Token.objects.create(user=user, name="billing", digest=f"{user.pk:064d}", last_used_at=made.now)
        hook = {"url": "https://shop.example.com/hooks", "events": ["task.*"], "sealed": b"", "active": False}
        made.webhook = Webhook.objects.create(owner=user, **hook)
        Delivery.objects.create(
            webhook=made.webhook, key="1", event="task.done", data={}, state=DeliveryState.DELIVERED, attempts=1,
            response_status=200, finished_at=made.now,
        )  # fmt: skip


def _images(made: SimpleNamespace) -> None:
    file = {"file_name": "none", "sha256": "1" * 64, "size_bytes": 400 << 20}
    for name, title in (("debian-12", "Debian 12"), ("rocky-9", "Rocky Linux 9")):
        made.image = Image.objects.create(name=name, title=title, os_family="linux", virtual_bytes=2 * GIB, **file)
    for name, memory_mib, vcpus, disk_gib in (("start", 1024, 1, 20), ("business", 4096, 2, 80)):
        size = {"memory_mib": memory_mib, "vcpus": vcpus, "disk_gib": disk_gib}
        made.flavor = Flavor.objects.create(name=name, title=name.capitalize(), **size)
    shared = {"name": "rescue", "shared_name": "rescue", "title": "Rescue system"}
    Iso.objects.create(**{**file, **shared, "sha256": "2" * 64})
    own = {"owner": made.customer, "name": "drivers", "title": "Drivers"}
    made.iso = Iso.objects.create(**{**file, **own, "sha256": "3" * 64})


def _hosts(made: SimpleNamespace) -> None:
    for node in made.nodes:
        node.facts, node.facts_at = {**FACTS, "hostname": node.name}, made.now
        node.save(update_fields=["facts", "facts_at"])
        record_state(node, made.network)
    UnmanagedDomain.objects.create(
        node=made.nodes[0], uuid="00000000-0000-4000-8000-000000000001", name="by-hand", status="running", vcpus=1,
        memory_mib=512, disks=["/var/lib/libvirt/images/by-hand.qcow2"], seen_at=made.now,
    )  # fmt: skip


def _vm(made: SimpleNamespace, number: int, name: str, status: str, memory_mib: int, vcpus: int) -> Vm:
    vm = Vm.objects.create(
        name=name, cluster=made.cluster, node=made.nodes[number % 2], pool=made.pool, image=made.image,
        owner=made.customer if number % 3 == 0 else made.admin, memory_mib=memory_mib, vcpus=vcpus, status=status,
        wanted="running", installed=True, observed_at=made.now - timedelta(seconds=40),
    )  # fmt: skip
    volume = Volume.objects.create(pool=made.pool, node=vm.node, size_gib=20 + number)
    Disk.objects.create(vm=vm, volume=volume)
    interface = Interface.objects.create(vm=vm, network=made.network, mac=f"52:54:00:aa:00:{number:02x}")
    address = _address(made.network, number)
    InterfaceAddress.objects.create(interface=interface, address=address, primary=4)
    with transaction.atomic():
        note_shape(vm.pk)
    return vm


def _address(network: Network, number: int) -> Address:
    subnet = network.first_subnet
    assert subnet is not None
    return Address.objects.create(network=network, ip=str(subnet.parsed[100 + number]))


def _of_the_first(made: SimpleNamespace, vm: Vm) -> None:
    """A second disk, snapshots, a history, what its node has otherwise, traffic and curves."""
    volume = Volume.objects.create(pool=made.pool, node=vm.node, size_gib=100)
    Disk.objects.create(vm=vm, volume=volume, target="vdb", position=1)
    first = Snapshot.objects.create(vm=vm, name="before-upgrade", state="ready", description="Before the upgrade.")
    made.snapshot = Snapshot.objects.create(vm=vm, name="after-upgrade", state="ready", parent=first, current=True)
    vm.drift = [{"field": "vcpus", "node": 4, "stored": 2}]
    vm.pending = [{"field": "memory_mib", "now": 2048, "then": 4096}]
    vm.save()
    for hours, status in ((30, VmStatus.SHUT_OFF), (20, VmStatus.RUNNING), (5, VmStatus.PAUSED), (4, VmStatus.RUNNING)):
        at = made.now - timedelta(hours=hours)
        StatusChange.objects.create(vm=vm, status=status, at=at, node=vm.node, cause=Cause.VMWATCH)
    Vm.objects.filter(pk=vm.pk).update(created_at=made.now - timedelta(days=40))
    VmTraffic.objects.create(vm_id=vm.pk, month=made.now.date().replace(day=1), rx_bytes=9 * GIB, tx_bytes=31 * GIB)
    begin = made.now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=24)
    for number in (*range(60), *range(75, 144)):
        wave = 1 + math.sin(number / 9)
        VmUsage.objects.create(
            vm_id=vm.pk, step=Step.TEN_MINUTES, at=begin + timedelta(minutes=10 * number), seconds=600,
            memory_kib=3 << 20, rss_kib=int((2 + wave / 4) * (1 << 20)), cpu_ns=int(wave * 3e11),
            read_bytes=int(wave * 5e7), write_bytes=int(wave * 9e7), rx_bytes=int(wave * 4e7), tx_bytes=int(wave * 2e8),
        )  # fmt: skip


def _tasks(made: SimpleNamespace, vms: list[Vm]) -> None:
    """One that ended, one that failed, one under way that no worker takes."""
    _task(made, "vm.start", vms[1], Status.DONE)
    late = {"lease_owner": "elsewhere", "lease_until": made.now + FOR_EVER, "progress": 0.4}
    _task(made, "vm.snapshot", vms[2], Status.RUNNING, **late)
    error = NodeUnreachable(node=vms[0].node.name, reason="timed out").stored()
    made.task = _task(made, "vm.restart", vms[0], Status.FAILED, error=error)


def _task(made: SimpleNamespace, operation: str, vm: Vm, status: Status, **fields: Any) -> Task:
    ended, declared = status != Status.RUNNING, registry.get(operation)
    title, said = for_row(Text("{action} {name}", {"action": Text(declared.label), "name": vm.name}))
    task = Task.objects.create(
        operation=operation, title=title, title_said=said, status=status, owner=vm.owner, created_by=vm.owner,
        object_type="vm", object_id=vm.pk, object_name=vm.name, node_id=vm.node_id, request_id=f"sample-{vm.pk}",
        started_at=made.now - timedelta(minutes=2), finished_at=made.now - timedelta(minutes=1) if ended else None,
        **fields,
    )  # fmt: skip
    for position, step in enumerate(declared.steps):
        last = StepStatus.FAILED if ended else StepStatus.RUNNING
        state = StepStatus.DONE if status == Status.DONE or position < len(declared.steps) - 1 else last
        begun = {"started_at": made.now - timedelta(minutes=2), "attempts": 1}
        commands: list[NodeCommand] = []
        note(commands, vm.node.name, "host_info", made.now - timedelta(minutes=2), 0.016, DONE if ended else "deadline")
        TaskStep.objects.create(
            task=task, position=position, name=step.name, title=step.title, status=state, commands=commands, **begun
        )
    english, line = for_row(
        Text(TRYING_AGAIN, {"error": NodeUnreachable(node=vm.node.name, reason="timed out").text, "seconds": 2})
    )
    TaskLog.objects.create(task=task, step=declared.steps[-1].name, text=english, said=line)
    return task


def _interfaces(made: SimpleNamespace) -> None:
    """What the first node told of its interfaces: one is out that had a cable."""
    links = [
        LinkState("eno1", "physical", True, True, 1500, "0c:c4:7a:00:00:01", 10000, "bond0", carrier_changes=2,
                  rx_bytes=81 * GIB, tx_bytes=90 * GIB, rx_errors=0, tx_errors=0, rx_dropped=12, tx_dropped=0),
        LinkState("eno2", "physical", True, False, 1500, "0c:c4:7a:00:00:01", None, "bond0", carrier_changes=5),
        LinkState("bond0", "bond", True, True, 1500, "0c:c4:7a:00:00:01", 10000, addresses=["192.0.2.2/24"]),
        LinkState("bond0.40", "vlan", True, True, 1500, "0c:c4:7a:00:00:01", 10000, "br40", "bond0", 40),
        LinkState("br40", "bridge", False, False, 1500, "0c:c4:7a:00:00:01"),
    ]  # fmt: skip
    told = [vars(each) for each in links]
    NodeInterfaces.objects.create(
        node=made.nodes[0], interfaces=told, were_up=["eno1", "eno2"], changed_at=made.now, seen_at=made.now
    )


def _names(made: SimpleNamespace) -> None:
    """A name server that answered, with records in each state."""
    made.dns_server = DnsServer.objects.create(
        name="ns1", url="https://ns1.example.com:8081", sealed=secretbox.seal({"key": "secret"}),
        ranges=["10.0.0.0/8", "2001:db8::/48"], domain="vm.example.com", template="{name}.{domain}", forward=True,
        zone_nameservers=["ns1.example.com"], look_again=False, compare_at=made.now + FOR_EVER, answered_at=made.now,
        next_try_at=made.now + FOR_EVER,
    )  # fmt: skip
    states = (RecordState.DONE, RecordState.WAITING, RecordState.BY_HAND, RecordState.REFUSED)
    for vm, state in zip(made.vms, states, strict=False):
        for ip in vm.interfaces.earliest("pk").ips[:1]:
            zone, name = pointer(ip, "10.0.0.0/8")
            Record.objects.create(
                server=made.dns_server, vm_id=vm.pk, ip=ip, zone=zone, name=name, type="PTR", state=state,
                content=f"{vm.name}.vm.example.com.",
            )  # fmt: skip


def _told(made: SimpleNamespace, vm: Vm) -> None:
    """Problems and the journal."""
    silent = NodeUnreachable(node=made.nodes[1].name, reason="timed out").text
    made.problem = open_problem("sample:node", silent, object_type="node", object_id=made.nodes[1].pk)
    lost = NotFound(object="vm", id=vm.name).text
    known = open_problem("sample:vm", lost, severity="warning", object_type="vm", object_id=vm.pk)
    acknowledge(known, made.admin, "boris")
    english, said = for_row(silent)
    Problem.objects.create(key="sample:old", severity="alarm", text=english, said=said, closed_at=made.now)
    for user in (made.admin, made.customer):
        made.entry = JournalEntry.objects.create(
            user_id=user.pk, user_name=user.name, action="vm.configure", object_type="vm", object_id=vm.pk,
            object_name=vm.name, owner_id=vm.owner_id, door="page", address="192.0.2.7", request_id=f"sample-{vm.pk}",
            before={"vcpus": 1}, after={"vcpus": 2},
        )  # fmt: skip
