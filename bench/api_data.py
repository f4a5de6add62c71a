"""Rows as a panel of some size has them, made in bulk. Run by the panel's own shell: main(vms) prints what was made."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from panel.accounts.models import User
from panel.api.paging import Cursor
from panel.cluster.models import Node, NodeState
from panel.cluster.selectors import default_cluster
from panel.monitoring.models import Step, VmTraffic
from panel.monitoring.models import VmUsage as UsageRow
from panel.network.models import Address, Network
from panel.network.services import add_subnet, ensure_default_network
from panel.storage.models import Volume
from panel.storage.services import ensure_default_pool
from panel.usage import ledger
from panel.usage.models import Entry
from panel.vms.models import Disk, Interface, InterfaceAddress, Vm

NODES, USERS = 200, 2000
BATCH = 1000
MONTH = datetime(2026, 1, 1, tzinfo=UTC)
"""That is asked for; the ledger has two entries of each VM before its end, and its traffic is known."""


def make(vms: int) -> None:
    """So many VMs in all, each with a disk, an address, a history of its size and traffic; nodes and users once."""
    cluster = default_cluster()
    pool, network = ensure_default_pool(cluster), _large_network(cluster)
    nodes = list(Node.objects.filter(name__startswith="bench").order_by("pk"))
    if not nodes:
        Node.objects.bulk_create(
            Node(cluster=cluster, name=f"bench{number}", address=f"192.0.2.{number}", state=NodeState.REMOVING)
            for number in range(NODES)
        )
        User.objects.bulk_create([User(name=f"bench{n}", password="!") for n in range(USERS)], batch_size=BATCH)
        nodes = list(Node.objects.filter(name__startswith="bench").order_by("pk"))
    users = list(User.objects.filter(name__startswith="bench").order_by("pk"))
    there = Vm.objects.filter(name__startswith="bench-").count()
    numbers = count(there)
    for _ in range(there, vms, BATCH):
        _batch([next(numbers) for _ in range(BATCH)], cluster, pool, network, nodes, users)
    ledger.close(MONTH + timedelta(days=31), ledger.read_clock())
    with connection.cursor() as cursor:
        cursor.execute(
            "ANALYZE TABLE vms_vm, vms_disk, vms_interface, storage_volume, network_address, cluster_node,"
            " vms_interfaceaddress, accounts_user, usage_entry, monitoring_vmtraffic, monitoring_vmusage, tasks_task"
        )


def _large_network(cluster: object) -> Network:
    ensure_default_network(cluster)  # type: ignore[arg-type]
    network, made = Network.objects.get_or_create(cluster=cluster, name="bench", defaults={"bridge": "bench"})
    if made:
        add_subnet(network, "10.128.0.0/16", "10.128.0.1")
    return network


def _batch(numbers: list[int], cluster, pool, network, nodes, users) -> None:  # type: ignore[no-untyped-def]
    seen = {"installed": True, "status": "running", "observed_at": timezone.now()}
    vms = [
        Vm(
            cluster=cluster,
            node=nodes[number % len(nodes)],
            owner=users[number % len(users)],
            pool=pool,
            name=f"bench-{number}",
            memory_mib=1024,
            vcpus=1,
            **seen,
        )
        for number in numbers
    ]
    Vm.objects.bulk_create(vms)
    vms = list(Vm.objects.filter(name__in=[vm.name for vm in vms]).order_by("pk"))
    volumes = [Volume(pool=pool, node_id=vm.node_id, size_gib=10) for vm in vms]
    Volume.objects.bulk_create(volumes)
    by_uuid = {volume.uuid: volume for volume in Volume.objects.filter(uuid__in=[each.uuid for each in volumes])}
    Disk.objects.bulk_create(Disk(vm=vm, volume=by_uuid[volume.uuid]) for vm, volume in zip(vms, volumes, strict=True))
    ips = [f"10.128.{1 + number // 250}.{1 + number % 250}" for number in numbers]
    Address.objects.bulk_create([Address(network=network, ip=ip) for ip in ips])
    addresses = {address.ip: address for address in Address.objects.filter(network=network, ip__in=ips)}
    Interface.objects.bulk_create(
        Interface(
            vm=vm,
            network=network,
            mac=f"52:54:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}:01",
        )
        for vm, number in zip(vms, numbers, strict=True)
    )
    interfaces = {interface.vm_id: interface for interface in Interface.objects.filter(vm__in=vms)}
    InterfaceAddress.objects.bulk_create(
        InterfaceAddress(interface=interfaces[vm.pk], address=addresses[ip], primary=4)
        for vm, ip in zip(vms, ips, strict=True)
    )
    size = {"vcpus": 1, "disk_gib": 10, "addresses": 1, "request_id": "bench"}
    for sequence, at, memory_mib in ((1, MONTH - timedelta(days=9), 512), (2, MONTH + timedelta(days=9), 1024)):
        Entry.objects.bulk_create(
            Entry(
                vm_id=vm.pk, sequence=sequence, at=at, uuid=vm.uuid, name=vm.name, owner_id=vm.owner_id,
                memory_mib=memory_mib, **size,
            )
            for vm in vms
        )  # fmt: skip
    VmTraffic.objects.bulk_create(
        VmTraffic(vm_id=vm.pk, month=MONTH.date(), rx_bytes=10**9, tx_bytes=10**9) for vm in vms
    )
    UsageRow.objects.bulk_create(
        UsageRow(vm_id=vm.pk, step=Step.DAY, at=MONTH + timedelta(days=day), rx_bytes=10**7, tx_bytes=10**7)
        for vm in vms
        for day in range(2)
    )


def told() -> str:
    """What the bench needs to know of what was made."""
    first_of_last = min(Vm.objects.order_by("-pk").values_list("pk", flat=True)[:50])
    cursor = Cursor("id", first_of_last - 1, first_of_last - 1, False)
    vm, owner = Vm.objects.filter(name="bench-500").values_list("pk", "owner__name").get()
    return "MADE" + json.dumps({"count": Vm.objects.count(), "vm": vm, "owner": owner, "last": str(cursor)})


def by_hand(paths: dict[str, str], token: str) -> str:
    """Of each request, how many queries it makes, and the seconds that they take by hand: median of 30."""
    return "HAND" + json.dumps({name: _by_hand(path, token) for name, path in paths.items()})


def _by_hand(path: str, token: str) -> tuple[int, float]:
    client = Client(headers={"authorization": f"Bearer {token}"}, HTTP_HOST="127.0.0.1")
    client.get(f"/api/v1/{path}", secure=True)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(f"/api/v1/{path}", secure=True)
    assert answer.status_code in (200, 404), answer.content
    statements = [each["sql"] for each in queries.captured_queries]
    return len(statements), median_by_hand(statements)


def median_by_hand(statements: Sequence[str]) -> float:
    """The seconds that the statements take together, without Django: median of 30."""
    taken = []
    with connection.cursor() as cursor:
        for _ in range(30):
            begun = time.perf_counter()
            for sql in statements:
                cursor.execute(sql)
                cursor.fetchall()
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken)
