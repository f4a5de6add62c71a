"""What each operation needs to be there, and how it is asked for then.

Several may be prepared in one database, each on a node of its own: names that are taken get a number.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, count
from typing import Any

from django.utils import timezone

from nodeagent.protocol.host import EMPTY, DiskSpec, DomainSpec, HostCreate, InterfaceSpec
from nodeagent.protocol.storage import VolumeRef
from nodeagent.storage import place
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.dns.models import DnsServer
from panel.images.models import Image, Iso
from panel.network.models import Network, NodeLink, SecurityGroup
from panel.network.node_part import bridge_of
from panel.network.security import add_group
from panel.storage.models import Pool
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms import port_forwards
from panel.vms.models import Interface, InterfaceAddress, Sighting, Snapshot, UnmanagedDomain, Vm, VmStatus
from panel.vms.spec import domain_spec
from tests.db.conftest import make_network, make_node, run_task


def free(name: str) -> str:
    """The name, or one with a number behind it where a VM or node has that name, or will have it."""
    taken = {*Vm.objects.values_list("name", flat=True), *Node.objects.values_list("name", flat=True)}
    taken.update(Task.objects.values_list("params__name", flat=True))
    return next(each for each in chain([name], (f"{name}-{number}" for number in count(2))) if each not in taken)


def raw_of(name: str) -> dict[str, Any]:
    """What is asked for where an operation has something to choose, with a name that is free."""
    raw = RAW[name]
    return raw | {"name": free(raw["name"])} if "name" in raw else raw


def ask_create(admin: User) -> Task:
    """A new VM with all that one can have."""
    raw = {"name": free("web1"), "image": "small", "flavor": "small", "password": "correct horse"}
    return registry.get("vm.create").submit(admin, raw)


def _vm(admin: User) -> int:
    task = run_task(ask_create(admin))
    assert task.status == Status.DONE, task.error
    return int(task.object_id or 0)


def _domain(vm_id: int) -> fake.FakeDomain:
    vm = Vm.objects.get(pk=vm_id)
    return fake.node(vm.node_id).domains[str(vm.uuid)]


def _on_vm(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        return lambda: registry.get(name).submit(admin, {}, object_id=vm_id)

    return prepare


def _start(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm_id))
    return lambda: registry.get("vm.start").submit(admin, {}, object_id=vm_id)


def _on_node(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    return lambda admin, node: lambda: registry.get(name).submit(admin, RAW.get(name, {}), object_id=node.pk)


def ask_install(admin: User) -> Task:
    """A new VM with an installer in its drive."""
    image = Image.objects.get()
    fields = {"file_name": image.file_name, "sha256": image.sha256, "size_bytes": image.size_bytes}
    Iso.objects.get_or_create(name="installer", defaults={"title": "Installer", **fields})
    return registry.get("vm.create").submit(admin, {"name": free("web1"), "iso": "installer", "flavor": "small"})


def _finish_install(admin: User, node: Node) -> Callable[[], Task]:
    task = run_task(ask_install(admin))
    assert task.status == Status.DONE, task.error
    vm_id = int(task.object_id or 0)
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm_id))
    return lambda: registry.get("vm.finish-install").submit(admin, {}, object_id=vm_id)


def _settle(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    other = make_node(free("fake2"))
    spec = _domain(vm_id).spec
    fake.node(other.pk).domains[spec.uuid] = fake.FakeDomain(spec, VmStatus.RUNNING)
    Sighting.objects.create(vm_id=vm_id, node=other, status=VmStatus.RUNNING, seen_at=timezone.now())
    raw = {"node": node.name, "stop_others": True}
    return lambda: registry.get("vm.settle").submit(admin, raw, object_id=vm_id)


def _resume(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    run_task(registry.get("vm.pause").submit(admin, {}, object_id=vm_id))
    return lambda: registry.get("vm.resume").submit(admin, {}, object_id=vm_id)


def _discard_saved(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    domain = _domain(vm_id)
    domain.state = VmStatus.SAVED
    Vm.objects.filter(pk=vm_id).update(status=VmStatus.SAVED)
    return lambda: registry.get("vm.discard-saved").submit(admin, {}, object_id=vm_id)


def _suspended(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        run_task(registry.get("vm.suspend").submit(admin, {"reason": "unpaid"}, object_id=vm_id))
        return lambda: registry.get(name).submit(admin, {}, object_id=vm_id)

    return prepare


def _guest(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    """On a VM that runs, with parameters."""

    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        return lambda: registry.get(name).submit(admin, raw_of(name), object_id=vm_id)

    return prepare


def _take_snapshot(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    return lambda: registry.get("vm.snapshot").submit(admin, {"name": "before"}, object_id=vm_id)


def _on_snapshot(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        for each in ("first", "second"):
            run_task(registry.get("vm.snapshot").submit(admin, {"name": each}, object_id=vm_id))
        first = Snapshot.objects.get(vm_id=vm_id, name="first")
        return lambda: registry.get(name).submit(admin, {"snapshot": first.pk}, object_id=vm_id)

    return prepare


def _forget_snapshot(admin: User, node: Node) -> Callable[[], Task]:
    submit = _on_snapshot("vm.forget-snapshot")(admin, node)
    first = Snapshot.objects.filter(name="first").latest("pk")
    del _domain(first.vm_id).snapshots[first.on_node]
    return submit


def _adopt_snapshot(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    domain = _domain(vm_id)
    domain.snapshots["by_hand"] = fake.FakeSnapshot("running", with_memory=True, parent=None)
    return lambda: registry.get("vm.adopt-snapshot").submit(admin, {"name": "by_hand"}, object_id=vm_id)


def _on_devices(name: str, raw: dict[str, Any]) -> Callable[[User, Node], Callable[[], Task]]:
    """On a running VM with two disks, two interfaces and an ISO image in its drive."""

    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm = Vm.objects.get(pk=_vm(admin))
        image = vm.image
        assert image is not None
        for iso in ("installer", "rescue"):
            fields = {"file_name": image.file_name, "sha256": image.sha256, "size_bytes": image.size_bytes}
            Iso.objects.get_or_create(name=iso, defaults={"title": iso, **fields})
        other = Network.objects.filter(cluster=vm.cluster, name="other").first()
        other = other or make_network(vm.cluster, "other", "vmbr1", "10.78.0.0/24", [("10.78.0.10", "10.78.0.20")])
        fake.node(node.pk).call(bridge_of(other, node))
        for verb, values in (
            ("add-disk", {"size_gib": 2}),
            ("add-interface", {}),
            ("mount-iso", {"iso": "rescue", "boot": True}),
        ):
            task = run_task(registry.get(f"vm.{verb}").submit(admin, values, object_id=vm.pk))
            assert task.status == Status.DONE, task.error
        if not Interface.objects.filter(mac=SECOND_MAC).exists():
            Interface.objects.filter(vm=vm, position=1).update(mac=SECOND_MAC)
        vm.refresh_from_db()
        fake.node(node.pk).call(HostCreate(spec=domain_spec(vm)))
        fake.node(node.pk).domains[str(vm.uuid)].running = None
        return lambda: registry.get(name).submit(admin, _with_mac_of(vm, raw), object_id=vm.pk)

    return prepare


def _with_mac_of(vm: Vm, raw: dict[str, Any]) -> dict[str, Any]:
    """The request with the MAC of the VM's own second interface, and another one that is free."""
    if "interface" not in raw:
        return raw
    mac = Interface.objects.get(vm=vm, position=1).mac
    return {**raw, "interface": mac} | ({"mac": f"52:54:01{mac[8:]}"} if mac != SECOND_MAC and "mac" in raw else {})


def _guest_off(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    """On a VM that is off, with parameters."""

    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm_id))
        return lambda: registry.get(name).submit(admin, raw_of(name), object_id=vm_id)

    return prepare


SECOND_MAC = "52:54:00:00:00:02"
DEVICES: dict[str, dict[str, Any]] = {
    "vm.add-disk": {"size_gib": 3, "bus": "scsi"},
    "vm.grow-disk": {"disk": "vdb", "size_gib": 4},
    "vm.remove-disk": {"disk": "vdb"},
    "vm.change-disk": {"disk": "vdb", "bus": "scsi", "cache": "writeback", "read_iops_sec": 100},
    "vm.mount-iso": {"iso": "installer"},
    "vm.eject-iso": {},
    "vm.add-interface": {"network": "other"},
    "vm.remove-interface": {"interface": SECOND_MAC},
    "vm.change-interface": {"interface": SECOND_MAC, "network": "other", "mac": "52:54:00:00:00:03"},
    "vm.add-address": {"interface": SECOND_MAC},
}


def _remove_address(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    task = run_task(registry.get("vm.add-address").submit(admin, {}, object_id=vm_id))
    assert task.status == Status.DONE, task.error
    raw = {"address": task.result["address"]}
    return lambda: registry.get("vm.remove-address").submit(admin, raw, object_id=vm_id)


def _end_rescue(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    assert run_task(registry.get("vm.rescue").submit(admin, RAW["vm.rescue"], object_id=vm_id)).status == Status.DONE
    return lambda: registry.get("vm.end-rescue").submit(admin, {}, object_id=vm_id)


RAW: dict[str, dict[str, Any]] = {
    "vm.remove-address": {"address": "10.77.0.11"},
    "vm.rename": {"name": "web2"},
    "vm.change-owner": {"owner": "admin"},
    "vm.reinstall": {"password": "another horse"},
    "vm.configure-guest": {"password": "another horse", "hostname": "inside"},
    "vm.configure": {"vcpus": 2, "clock": "localtime", "inbound_kibps": 1024},
    "vm.clone": {"name": "web2", "password": "another horse"},
    "vm.rescue": {"image": "small", "password": "another horse"},
    "node.accept-storage": {"pool": "local"},
    "node.restart-service": {"service": "libvirtd"},
    "vm.take-over": {
        "domain": "0a3c1de5-77aa-4d2e-9c11-2f4a5b6c7d8e",
        "owner": "admin",
        "name": "shop",
        "addresses": {"52:54:00:aa:bb:01": "10.77.0.200"},
    },
}
"""What is asked for where an operation has something to choose."""


def _migrate(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    make_node(free("fake2"))
    return lambda: registry.get("vm.migrate").submit(admin, {}, object_id=vm_id)


def _end_maintenance(admin: User, node: Node) -> Callable[[], Task]:
    run_task(registry.get("node.maintain").submit(admin, {}, object_id=node.pk))
    return lambda: registry.get("node.end-maintenance").submit(admin, {}, object_id=node.pk)


def _accept_storage(admin: User, node: Node) -> Callable[[], Task]:
    """Another disk is where the storage was."""
    run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
    pool = Pool.objects.latest("pk")
    fake.node(node.pk).marks[pool.name] = "f" * 32
    run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
    return lambda: registry.get("node.accept-storage").submit(admin, {"pool": pool.name}, object_id=node.pk)


def _forget(admin: User, node: Node) -> Callable[[], Task]:
    _vm(admin)
    return lambda: registry.get("node.forget").submit(admin, {"forget_vms": True}, object_id=node.pk)


def _add_network(admin: User, node: Node) -> Callable[[], Task]:
    """A network behind NAT with its first subnet, which no other network of the cluster has."""
    number = Network.objects.count()
    raw = {"name": f"more{number}", "subnet": f"10.201.{number}.0/24", "nameservers": ["9.9.9.9"]}
    return lambda: registry.get("network.add").submit(admin, raw)


def _on_network(operation: str, **raw: Any) -> Callable[[User, Node], Callable[[], Task]]:
    """On a network with two subnets that no VM is in."""

    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        added = run_task(_add_network(admin, node)())
        assert added.status == Status.DONE, added.error
        network = Network.objects.get(pk=added.object_id)
        first = network.first_subnet
        second = {"cidr": str(first).replace("10.201.", "10.202.")}
        run_task(registry.get("network.add-subnet").submit(admin, second, object_id=network.pk))
        more = {"subnet": second["cidr"]} if "-subnet" in operation and operation != "network.add-subnet" else {}
        if operation in ("network.release-address", "network.change-address"):
            raw_address = {"owner": "admin", "comment": "a router"}
            run_task(registry.get("network.reserve-address").submit(admin, raw_address, object_id=network.pk))
            more = {"address": network.addresses.get().ip}
        if operation == "network.change-range":
            more = {"range": str(network.ranges[0]), "node": node.name}
        if operation == "network.import-addresses":
            more = {"lines": [f"{str(first).replace('.0/24', '.77')}, admin, a router"]}
        if operation == "network.add-subnet":
            more = {"cidr": str(first).replace("10.201.", "10.203.")}
        return lambda: registry.get(operation).submit(admin, {**raw, **more}, object_id=network.pk)

    return prepare


LINK: dict[str, Any] = {"kind": "bond", "ports": ["eno2", "eno3"]}
"""A bond of two network cards that the node in memory is given."""


def _add_link(admin: User, node: Node) -> Callable[[], Task]:
    number = len(fake.node(node.pk).host_links)
    ports = [f"eno{number + 2}", f"eno{number + 3}"]
    fake.node(node.pk).host_links += ports
    return lambda: registry.get("node.add-link").submit(admin, {**LINK, "ports": ports}, object_id=node.pk)


def _remove_link(admin: User, node: Node) -> Callable[[], Task]:
    added = run_task(_add_link(admin, node)())
    assert added.status == Status.DONE, added.error
    raw = {"link": NodeLink.objects.filter(node=node).latest("pk").name}
    return lambda: registry.get("node.remove-link").submit(admin, raw, object_id=node.pk)


DNS: dict[str, Any] = {"api_key": "secret", "url": "http://127.0.0.1:1", "zone_nameservers": ["ns1.example.org"]}
"""Of a name server; operations do not wait for one."""


def _add_dns_server(admin: User, node: Node) -> Callable[[], Task]:
    number = DnsServer.objects.count()
    raw = {**DNS, "name": f"ns{number}", "ranges": [f"10.{number}.0.0/16"], "domain": "vm.example.org"}
    return lambda: registry.get("dns-server.add").submit(admin, raw)


def _on_dns_server(name: str, **raw: Any) -> Callable[[User, Node], Callable[[], Task]]:
    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        added = run_task(_add_dns_server(admin, node)())
        return lambda: registry.get(name).submit(admin, raw, object_id=added.object_id)

    return prepare


def _reverse_name(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    ranges, ip = ["10.77.0.0/16"], InterfaceAddress.objects.filter(interface__vm=vm_id).earliest("pk").address.ip
    if not DnsServer.objects.filter(ranges=ranges).exists():
        raw = {**DNS, "name": f"of-{vm_id}", "ranges": ranges, "domain": "vm.example.org"}
        run_task(registry.get("dns-server.add").submit(admin, raw))
    body = {"address": ip, "name": "mail.example.org"}
    return lambda: registry.get("vm.set-reverse-name").submit(admin, body, object_id=vm_id)


def _on_group(operation: str, **raw: Any) -> Callable[[User, Node], Callable[[], Task]]:
    """On a security group, which an interface has where that is possible."""

    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        group = add_group(admin, f"group{SecurityGroup.objects.count()}", "", ["in tcp 22"])
        if operation != "security-group.remove":
            Vm.objects.get(pk=_vm(admin)).interfaces.get().security_groups.add(group)
        return lambda: registry.get(operation).submit(admin, raw, object_id=group.pk)

    return prepare


def _set_groups(admin: User, node: Node) -> Callable[[], Task]:
    """A VM with one of two groups gets the other."""
    number = SecurityGroup.objects.count()
    first, second = (add_group(admin, f"{name}{number}", "", ["in tcp 22"]) for name in ("one", "two"))
    interface = Vm.objects.get(pk=_vm(admin)).interfaces.get()
    interface.security_groups.add(first)
    raw = {"interface": interface.mac, "groups": [second.name]}
    return lambda: registry.get("vm.set-security-groups").submit(admin, raw, object_id=interface.vm_id)


def _forward(admin: User, node: Node) -> Callable[[], Task]:
    """A VM that a port of its node leads to gets another one."""
    interface = _forwarded(admin)
    raw = {"to_port": 80, "interface": interface.mac}
    return lambda: registry.get("vm.add-port-forward").submit(admin, raw, object_id=interface.vm_id)


def _forward_no_more(admin: User, node: Node) -> Callable[[], Task]:
    """A port of its node leads to the VM no more."""
    interface = _forwarded(admin)
    raw = {"port": interface.port_forwards.get().port}
    return lambda: registry.get("vm.remove-port-forward").submit(admin, raw, object_id=interface.vm_id)


def _forwarded(admin: User) -> Interface:
    interface = Vm.objects.get(pk=_vm(admin)).interfaces.get()
    port_forwards.take(Interface.objects.with_ips().get(pk=interface.pk), "tcp", None, 22, 1)
    return interface


def _import(admin: User, node: Node) -> Callable[[], Task]:
    """A domain that somebody defined, with a name that no VM can have."""
    raw, memory = _raw_of_stranger(), fake.node(node.pk)
    pool, network = Pool.objects.earliest("pk"), Network.objects.earliest("pk")
    volume = VolumeRef(pool.ref, "legacy.qcow2")
    memory.files[place(volume)] = fake.FakeVolume("qcow2", 1024**3)
    interfaces = [InterfaceSpec(mac=mac, bridge=network.bridge) for mac in raw["addresses"]]
    spec = DomainSpec(
        raw["domain"], "Old_Name", 512, 1, "qemu", [DiskSpec(volume, "qcow2", "vda")], interfaces, iso=EMPTY
    )
    memory.domains[spec.uuid] = fake.FakeDomain(spec)
    run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
    return lambda: registry.get("vm.take-over").submit(admin, raw, object_id=node.pk)


def _raw_of_stranger() -> dict[str, Any]:
    """As RAW has it, or with other numbers where that domain is there already."""
    raw, more = (
        raw_of("vm.take-over"),
        UnmanagedDomain.objects.count() + Vm.objects.filter(name__startswith="shop").count(),
    )
    if not more:
        return raw
    addresses = {f"52:54:00:aa:bb:{more + 1:02x}": f"10.77.0.{200 + more}"}
    return {**raw, "domain": f"{raw['domain'][:-2]}{more:02x}", "addresses": addresses}


SCENARIOS: dict[str, Callable[[User, Node], Callable[[], Task]]] = {
    "vm.create": lambda admin, node: lambda: ask_create(admin),
    "vm.delete": _on_vm("vm.delete"),
    "vm.start": _start,
    "vm.stop": _on_vm("vm.stop"),
    "vm.force-off": _on_vm("vm.force-off"),
    "vm.restart": _on_vm("vm.restart"),
    "vm.pause": _on_vm("vm.pause"),
    "vm.resume": _resume,
    "vm.reset": _on_vm("vm.reset"),
    "vm.discard-saved": _discard_saved,
    "vm.autostart": _on_vm("vm.autostart"),
    "vm.suspend": _on_vm("vm.suspend"),
    "vm.unsuspend": _suspended("vm.unsuspend"),
    "vm.keep-off": _suspended("vm.keep-off"),
    "vm.snapshot": _take_snapshot,
    "vm.revert-snapshot": _on_snapshot("vm.revert-snapshot"),
    "vm.delete-snapshot": _on_snapshot("vm.delete-snapshot"),
    "vm.forget-snapshot": _forget_snapshot,
    "vm.adopt-snapshot": _adopt_snapshot,
    "vm.finish-install": _finish_install,
    "vm.settle": _settle,
    "vm.rename": _guest_off("vm.rename"),
    "vm.remove-address": _remove_address,
    "vm.change-owner": _guest("vm.change-owner"),
    "vm.reinstall": _guest("vm.reinstall"),
    "vm.configure-guest": _guest("vm.configure-guest"),
    "vm.clone": _guest("vm.clone"),
    "vm.clone:off": _guest_off("vm.clone"),
    "vm.rescue": _guest("vm.rescue"),
    "vm.end-rescue": _end_rescue,
    "cluster.examine": lambda admin, node: lambda: registry.get("cluster.examine").submit(admin, {}, object_id=1),
    "vm.configure": _guest("vm.configure"),
    "vm.repair": _on_vm("vm.repair"),
    "vm.adopt": _on_vm("vm.adopt"),
    **{name: _on_devices(name, raw) for name, raw in DEVICES.items()},
    "vmwatch.configure": lambda admin, node: lambda: registry.get("vmwatch.configure").submit(admin, {}, object_id=1),
    "vm.migrate": _migrate,
    "vm.take-over": _import,
    "node.check": _on_node("node.check"),
    "node.restart-service": _on_node("node.restart-service"),
    "node.accept-storage": _accept_storage,
    "node.maintain": _on_node("node.maintain"),
    "node.end-maintenance": _end_maintenance,
    "node.evacuate": _on_node("node.evacuate"),
    "node.remove": _on_node("node.remove"),
    "node.forget": _forget,
    "security-group.add": lambda admin, node: (
        lambda: registry.get("security-group.add").submit(admin, {"name": "web", "rules": ["in tcp 80", "out any"]})
    ),
    "security-group.change": _on_group("security-group.change", rules=["in tcp 443 from 192.0.2.0/24"]),
    "security-group.apply": _on_group("security-group.apply"),
    "security-group.remove": _on_group("security-group.remove"),
    "vm.set-security-groups": _set_groups,
    "vm.add-port-forward": _forward,
    "vm.remove-port-forward": _forward_no_more,
    "network.add": _add_network,
    "network.change": _on_network("network.change", name="renamed"),
    "network.remove": _on_network("network.remove"),
    "network.add-subnet": _on_network("network.add-subnet"),
    "network.change-subnet": _on_network("network.change-subnet", nameservers=["1.1.1.1"], ranges=[]),
    "network.remove-subnet": _on_network("network.remove-subnet"),
    "network.reserve-address": _on_network("network.reserve-address", comment="a router"),
    "network.release-address": _on_network("network.release-address"),
    "node.add-link": _add_link,
    "node.remove-link": _remove_link,
    "dns-server.add": _add_dns_server,
    "dns-server.change": _on_dns_server("dns-server.change", ttl_seconds=300),
    "dns-server.compare": _on_dns_server("dns-server.compare"),
    "dns-server.remove": _on_dns_server("dns-server.remove"),
    "vm.set-reverse-name": _reverse_name,
    "network.change-address": _on_network("network.change-address", comment="a printer"),
    "network.change-range": _on_network("network.change-range", owner="admin", choice="random", purpose="public"),
    "network.import-addresses": _on_network("network.import-addresses"),
}
"""What each operation needs; behind a colon is how another scenario of the same operation differs."""
