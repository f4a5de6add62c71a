"""Every operation goes there and back on a kind of network that is one file on either side."""

from __future__ import annotations

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.cluster.selectors import default_cluster
from panel.core.errors import AlreadyExists, CapacityError, InvalidValue, MissingValue, NodeUnreachable, OperationFailed
from panel.doctor.services import look
from panel.images.models import Image
from panel.network.kinds import get_kind
from panel.network.models import Network, NodeNetwork
from panel.network.node_part import bridge_of
from panel.network.services import allocate_certain
from panel.network.subnets import add_subnet
from panel.notices.models import Problem, Severity
from panel.tasks.models import Status
from panel.tasks.registry import get as operation_named
from panel.vms.addresses import hold
from panel.vms.models import Vm
from panel.vms.spec import guest_network
from tests.db.conftest import make_network, make_node, run_task
from tests.db.tasks.scenarios import SCENARIOS, ask_create
from tests.db.tasks.strikes import Strike
from tests.db.tasks.test_every_operation import REMAINS, operation_of, undoable
from tests.db.tasks.world import world
from tests.kinds import memory_network_agent, memory_network_panel

OF_NAT = {"vm.add-port-forward"}
"""What is of no other kind of network."""


@pytest.fixture
def memory_network() -> Network:
    """The cluster's first network, of that kind."""
    assert memory_network_panel.MemoryNetworkKind.name == memory_network_agent.Memory.KIND
    ranges, fields = [("10.77.0.10", "10.77.0.254")], {"kind": "memory", "options": {"wire": "a"}}
    network = make_network(default_cluster(), "private", "vmbr-m", "10.77.0.0/24", ranges, **fields)
    add_subnet(network, "2001:db8::/64", "2001:db8::1")
    return network


@pytest.fixture
def node(memory_network: Network) -> Node:
    """A node that has it."""
    return make_node()


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - OF_NAT))
def test_every_operation_is_undone_and_done(admin: User, node: Node, image: Image, name: str) -> None:
    ask, operation = SCENARIOS[name](admin, node), operation_of(name)
    before, last = world(), undoable(name)[-1]
    # Those that have interfaces, or networks on nodes.
    holds = operation.on_failure == "undo" and ("interface" in name or name in ("vm.create", "vm.clone", "node.add"))
    if holds and not last.inline and last == operation.steps[-1]:
        failed = run_task(ask(), Strike(last.name, "before", OperationFailed("It was meant to fail.", step=last.name)))
        assert (failed.status, world()) == (Status.FAILED, before), failed.error
    done = run_task(ask())
    assert done.status == Status.DONE, done.error
    assert {finding.code for finding in look()} == REMAINS.get(name, set())


def test_a_node_tells_of_its_networks(admin: User, node: Node, memory_network: Network) -> None:
    api = APIClient()
    api.force_authenticate(admin)
    run_task(operation_named("node.check").submit(admin, {}, object_id=node.pk))
    told = api.get(f"/api/v1/nodes/{node.pk}").json()["networks"]
    assert [(each["network"], each["bridge"], each["uplink"], each["state"], each["error"]) for each in told] == [
        ("private", "vmbr-m", "up-a", "ready", "")
    ]
    Network.objects.update(options={"wire": "?"})
    run_task(operation_named("node.check").submit(admin, {}, object_id=node.pk))
    (told,) = api.get(f"/api/v1/nodes/{node.pk}").json()["networks"]
    assert (told["state"], "letters and digits" in told["error"]) == ("failed", True)


def test_a_node_that_lacks_the_host_s_bridge_is_a_node_and_gets_no_vm_of_the_network(
    admin: User, memory_network: Network, image: Image
) -> None:
    fields = {"kind": "bridge", "options": {"bridge": "br0"}}
    make_network(default_cluster(), "public", "br0", "192.0.2.0/24", [("192.0.2.10", "192.0.2.99")], **fields)
    has, lacks = make_node(), make_node("lacks")
    fake.node(has.pk).host_bridges.append("br0")
    for node in (has, lacks):
        assert run_task(operation_named("node.check").submit(admin, {}, object_id=node.pk)).status == Status.DONE
    (told,) = Problem.objects.filter(object_type="node", object_id=lacks.pk, open_key__isnull=False)
    assert (told.severity, "no bridge “br0”" in told.text) == (Severity.WARNING, True)
    create, raw = operation_named("vm.create"), {"image": "small", "flavor": "small", "password": "correct horse"}
    with pytest.raises(CapacityError, match="the network “public” cannot be made there"):
        create.submit(admin, {**raw, "name": "web1", "network": "public", "node": "lacks"})
    made = run_task(create.submit(admin, {**raw, "name": "web1", "network": "public"}))
    assert (made.status, Vm.objects.get(pk=made.object_id).node) == (Status.DONE, has)
    with pytest.raises(CapacityError, match="the network “public” cannot be made there"):
        operation_named("vm.migrate").submit(admin, {"node": "lacks"}, object_id=made.object_id)
    (domain,) = fake.node(has.pk).domains.values()
    assert [each.bridge for each in domain.now.interfaces] == ["br0"]
    other = run_task(create.submit(admin, {**raw, "name": "web2", "network": "private", "node": "lacks"}))
    assert (other.status, Vm.objects.get(pk=other.object_id).node) == (Status.DONE, lacks)


def test_an_uplink_is_each_node_s_own_and_stays_once_the_node_is_reached_anew(
    admin: User, memory_network: Network
) -> None:
    options = get_kind("bridge").checked({"uplink": "eth0,node2 = eno1"})
    assert options == {"uplink": "eth0, node2=eno1"}
    fields = {"kind": "bridge", "options": options}
    make_network(default_cluster(), "public", "vmbr-b", "192.0.2.0/24", [("192.0.2.10", "192.0.2.99")], **fields)
    nodes = {make_node(): "eth0", make_node("node2"): "eno1"}
    for node, uplink in nodes.items():
        fake.node(node.pk).host_links.append(uplink)
        # What the node says over the first connection, and then over new ones.
        fake.node(node.pk).fail("bridge_confirm", NodeUnreachable(node=node.name, reason="not yet"))
        assert run_task(operation_named("node.check").submit(admin, {}, object_id=node.pk)).status == Status.DONE
        assert fake.node(node.pk).links["vmbr-b"].options == {"uplink": uplink}
        assert fake.node(node.pk).trials == {}
    assert {each.node: each.uplink for each in NodeNetwork.objects.filter(network__name="public")} == nodes
    assert [each.code for each in look() if "bridge" in each.code] == []


@pytest.mark.parametrize(
    "options", [{}, {"bridge": "br0", "uplink": "eth0"}, {"uplink": "a b"}, {"uplink": "eth0, eth1"}, {"bridge": "a/b"}]
)
def test_a_bridge_has_one_uplink_a_node(options: dict[str, str]) -> None:
    with pytest.raises(InvalidValue):
        get_kind("bridge").checked(options)


def test_a_routed_network_s_guest_has_each_address_alone_and_nodes_have_the_gateway(
    admin: User, memory_network: Network, image: Image
) -> None:
    options = get_kind("routed").checked({"uplink": "eth0", "proxy": "on"})
    network = Network.objects.create(
        cluster=default_cluster(), name="public", bridge="vmbr-r", kind="routed", options=options
    )
    add_subnet(network, "192.0.2.0/28", ranges=[("192.0.2.1", "192.0.2.14")])
    add_subnet(network, "2001:db8:1::/64")
    node = make_node()
    fake.node(node.pk).host_links.append("eth0")
    assert run_task(operation_named("node.check").submit(admin, {}, object_id=node.pk)).status == Status.DONE
    there = fake.node(node.pk).links["vmbr-r"]
    assert [each.gateway for each in there.every_subnet()] == ["169.254.1.1/32", "fe80::1/64"]
    assert there.options == {"uplink": "eth0", "proxy": "on"}
    raw = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse", "network": "public"}
    vm = Vm.objects.get(pk=run_task(operation_named("vm.create").submit(admin, raw)).object_id)
    told = guest_network(vm).every_interface()[0].addresses[0]
    assert (told.prefix, told.gateway) == (32, "169.254.1.1")
    with pytest.raises(MissingValue):
        get_kind("routed").checked({"proxy": "on"})
    with pytest.raises(InvalidValue, match="is no address of IPv4"):
        add_subnet(network, "198.51.100.0/28", "fe80::1")
    assert add_subnet(network, "198.51.100.0/28", "172.31.1.1").gateway == "172.31.1.1"


def test_each_node_of_a_vxlan_knows_the_others_and_a_vlan_its_own_uplink(admin: User, memory_network: Network) -> None:
    cluster = default_cluster()
    vxlan = Network.objects.create(cluster=cluster, name="x", bridge="vmbr-x", kind="vxlan", options={"vni": "7"})
    options = get_kind("vlan").checked({"uplink": "eth0, node2=eno1", "vlan": 77})
    vlan = Network.objects.create(cluster=cluster, name="v", bridge="vmbr-v", kind="vlan", options=options)
    nodes = [make_node(), make_node("node2"), make_node("six")]
    for node, address in zip(nodes, ("192.0.2.1", "192.0.2.2", "2001:db8::3"), strict=True):
        Node.objects.filter(pk=node.pk).update(address=address)
    told = [bridge_of(vxlan, Node.objects.get(pk=node.pk)).options for node in nodes]
    assert [(each["local"], each["peers"]) for each in told] == [
        ("192.0.2.1", "192.0.2.2"),
        ("192.0.2.2", "192.0.2.1"),
        ("2001:db8::3", ""),
    ]
    assert [bridge_of(vlan, node).options["uplink"] for node in nodes[:2]] == ["eth0", "eno1"]
    clash = get_kind("vlan").clash
    assert clash(options, {"uplink": "node3=eth0", "vlan": "77"}) == "vlan"
    assert clash(options, {"uplink": "node2=eth0", "vlan": "77"}) == clash(options, {**options, "vlan": "78"}) == ""


def test_a_guest_joins_its_bridge(admin: User, node: Node, image: Image) -> None:
    run_task(ask_create(admin))
    (domain,) = fake.node(node.pk).domains.values()
    assert [each.bridge for each in domain.now.interfaces] == ["vmbr-m"]


def test_an_interface_has_addresses_of_both_versions(admin: User, node: Node, image: Image) -> None:
    vm = Vm.objects.get(pk=run_task(ask_create(admin)).object_id)
    interface = vm.interfaces.get()
    with transaction.atomic():
        hold(interface, [allocate_certain(interface.network, "2001:db8::5")])
    told = guest_network(vm)
    assert [vars(each) for each in told.every_interface()[0].addresses] == [
        {"address": "10.77.0.10", "prefix": 24, "gateway": "10.77.0.1"},
        {"address": "2001:db8::5", "prefix": 64, "gateway": "2001:db8::1"},
    ]


def test_rest_tells_of_a_network_s_subnets(admin: User, node: Node) -> None:
    api = APIClient()
    api.force_authenticate(admin)
    (told,) = api.get("/api/v1/networks").json()["results"]
    assert (told["subnet"], told["gateway"], told["options"]) == ("10.77.0.0/24", "10.77.0.1", {"wire": "a"})
    (first, second) = told["subnets"]
    assert [first[name] for name in ("version", "cidr", "gateway")] == [4, "10.77.0.0/24", "10.77.0.1"]
    assert [(each["first"], each["last"], each["size"]) for each in first["ranges"]] == [
        ("10.77.0.10", "10.77.0.254", 245)
    ]
    assert [second[name] for name in ("version", "cidr", "ranges")] == [6, "2001:db8::/64", []]


@pytest.mark.parametrize(
    ("kind", "cidr", "gateway", "ranges", "field"),
    [
        ("memory", "10.77.0.128/25", None, [], "cidr"),
        ("memory", "10.79.0.1/24", None, [], "cidr"),
        ("memory", "10.79.0.0/24", "10.80.0.1", [], "gateway"),
        ("memory", "10.79.0.0/24", None, [("10.79.0.1", "10.80.0.1")], "ranges"),
        ("memory", "10.79.0.0/24", None, [("10.79.0.9", "10.79.0.1")], "ranges"),
        ("nat", "10.79.0.0/24", None, [], "gateway"),
        ("nat", "2001:db8:1::/64", "2001:db8:1::1", [], "cidr"),
    ],
)
def test_a_subnet_that_cannot_be_is_refused(
    memory_network: Network, kind: str, cidr: str, gateway: str | None, ranges: list[tuple[str, str]], field: str
) -> None:
    memory_network.kind = kind
    with pytest.raises((InvalidValue, AlreadyExists)) as refused:
        add_subnet(memory_network, cidr, gateway, ranges=ranges)
    assert refused.value.data["field"] == field
