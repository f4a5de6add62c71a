"""Networks that administrators add, change and remove: what can be, what is refused, what guests get of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from nodeagent.protocol.network import BridgesRead
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node, NodeState
from panel.core.errors import NodeUnreachable
from panel.images.models import Image
from panel.network.models import Address, AddressTerm, Network
from panel.network.ranges import free_by_version
from panel.network.selectors import free_count
from panel.network.subnets import usual_ranges
from panel.tasks import registry
from panel.tasks.models import Task
from panel.vms.models import Vm
from panel.vms.periodic import purge_history
from panel.vms.spec import guest_network
from tests.db.conftest import make_network, make_node, run_task
from tests.kinds import memory_network_agent, memory_network_panel

assert memory_network_panel.MemoryNetworkKind.name == memory_network_agent.Memory.KIND
MEMORY = memory_network_panel.MemoryNetworkKind.name
WEB = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}


@pytest.fixture
def api(admin: User, node: Node) -> APIClient:
    """An administrator's client; a node is there."""
    client = APIClient()
    client.force_authenticate(admin)
    return client


def asked(answer: Any) -> Task:
    """The task that was asked for, ended well."""
    assert answer.status_code == 202, answer.json()
    task = run_task(Task.objects.get(pk=answer.json()["task"]["id"]))
    assert task.status == "done", task.error
    return task


def added(api: APIClient, **values: Any) -> Network:
    """A network, made."""
    task = asked(api.post("/api/v1/networks", {"name": "public", "subnet": "10.210.0.0/24", **values}, format="json"))
    return Network.objects.get(pk=task.object_id)


def bridges(node: Node) -> dict[str, list[str]]:
    """The bridges of a node with the subnets of each."""
    found = fake.node(node.pk).call(BridgesRead()).bridges
    return {each.name: [each.subnet, *(more.subnet for more in each.further)] for each in found}


def test_a_network_is_on_every_node_with_what_is_usual(api: APIClient, node: Node) -> None:
    other = make_node("fake2")
    network = added(api, nameservers=["9.9.9.9"])
    shown = api.get(f"/api/v1/networks/{network.pk}").json()
    (told,) = shown["subnets"][0]["ranges"]
    shown["subnets"][0]["ranges"] = [{"first": told["first"], "last": told["last"]}]
    assert (told["size"], told["used"], told["purpose"], told["owner"]) == (253, 0, "private", None)
    assert shown["subnets"] == [
        {
            "version": 4,
            "cidr": "10.210.0.0/24",
            "gateway": "10.210.0.1",
            "nameservers": ["9.9.9.9"],
            "ranges": [{"first": "10.210.0.2", "last": "10.210.0.254"}],
            "excluded": [],
        }
    ]
    assert bridges(node)[network.bridge] == bridges(other)[network.bridge] == ["10.210.0.0/24"]
    assert {each.state for each in network.on_nodes.all()} == {"ready"}


def test_a_node_that_does_not_answer_has_the_network_from_its_next_check_on(api: APIClient, node: Node) -> None:
    away = make_node("fake2")
    fake.node(away.pk).fail("bridge_ensure", NodeUnreachable(node="fake2", reason="it is silent"))
    network = added(api)
    assert network.bridge in bridges(node) and not network.on_nodes.filter(node=away).exists()
    run_task(registry.get("node.check").submit(User.objects.get(name="admin"), {}, object_id=away.pk))
    assert network.bridge in bridges(away) and network.on_nodes.get(node=away).state == "ready"


REFUSED = [
    ({"kind": "wifi"}, "invalid_value", "kind"),
    ({"options": {"speed": "1"}}, "invalid_value", "speed"),
    ({"subnet": "10.210.0.1/24"}, "invalid_value", "cidr"),
    ({"subnet": "2001:db8::/64"}, "invalid_value", "cidr"),
    ({"subnet": None}, "missing_value", "subnet"),
    ({"subnet": "10.77.0.128/25"}, "already_exists", "cidr"),
    ({"gateway": "10.211.0.1"}, "invalid_value", "gateway"),
    ({"gateway": "somewhere"}, "invalid_value", "gateway"),
    ({"nameservers": ["dns.example"]}, "invalid_value", "nameservers"),
    ({"ranges": ["10.210.0.9-10.210.0.5"]}, "invalid_value", "ranges"),
    ({"ranges": ["10.210.0.5-10.210.0.9", "10.210.0.9"]}, "invalid_value", "ranges"),
    ({"ranges": ["10.211.0.5"]}, "invalid_value", "ranges"),
    ({"ranges": ["all of them"]}, "invalid_value", "ranges.0"),
    ({"name": "private"}, "already_exists", "name"),
    ({"bridge": "vmbr-nat0"}, "already_exists", "bridge"),
    ({"bridge": "no bridge"}, "invalid_value", "bridge"),
]


@pytest.mark.parametrize(("values", "code", "field"), REFUSED)
def test_what_cannot_be_is_refused_at_its_field_before_anything_is_there(
    api: APIClient, values: dict[str, Any], code: str, field: str
) -> None:
    body = {"name": "public", "subnet": "10.210.0.0/24", **values}
    for address in ("/api/v1/networks", "/api/v1/networks?plan=1"):
        answer = api.post(address, body, format="json")
        assert (answer.json()["code"], answer.json()["field"]) == (code, field), answer.json()
    assert [each.name for each in Network.objects.all()] == ["private"]


def test_a_network_in_use_is_not_removed_nor_shrunk_and_it_says_by_whom(
    api: APIClient, node: Node, image: Image
) -> None:
    network = added(api, ranges=["10.210.0.50-10.210.0.60"])
    where = f"/api/v1/networks/{network.pk}"
    asked(api.post("/api/v1/vms", {**WEB, "network": "public"}, format="json"))
    refusals = {
        "change-subnet": {"subnet": "10.210.0.0/24", "ranges": ["10.210.0.55-10.210.0.60"]},
        "remove-subnet": {"subnet": "10.210.0.0/24"},
        "remove": {},
    }
    asked(api.post(f"{where}/add-subnet", {"cidr": "10.211.0.0/24"}, format="json"))
    for verb, body in refusals.items():
        answer = api.post(f"{where}/{verb}", body, format="json")
        assert answer.status_code == 409 and "web1" in answer.json()["detail"], (verb, answer.json())
    # To grow, and to shrink where nobody is, is another matter.
    wider = {"subnet": "10.210.0.0/24", "ranges": ["10.210.0.40-10.210.0.55", "10.210.0.100/31"]}
    asked(api.post(f"{where}/change-subnet", wider, format="json"))
    assert [str(each) for each in network.subnets.get(cidr="10.210.0.0/24").ranges.all()] == [
        "10.210.0.40-10.210.0.55",
        "10.210.0.100-10.210.0.101",
    ]
    asked(api.post(f"{where}/remove-subnet", {"subnet": "10.211.0.0/24"}, format="json"))
    assert bridges(node)[network.bridge] == ["10.210.0.0/24"]


def test_a_network_that_is_removed_is_gone_from_nodes_and_gives_no_address_meanwhile(
    api: APIClient, node: Node, image: Image
) -> None:
    network = added(api)
    answer = api.delete(f"/api/v1/networks/{network.pk}")
    refused = api.post("/api/v1/vms", {**WEB, "network": "public"}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    asked(answer)
    assert network.bridge not in bridges(node)
    assert api.get(f"/api/v1/networks/{network.pk}").status_code == 404
    assert not Address.objects.exists() and not Vm.objects.exists()


def test_a_vm_has_an_address_of_each_version_that_its_network_gives(
    api: APIClient, admin: User, node: Node, image: Image
) -> None:
    network = Network.objects.create(
        cluster=node.cluster, name="both", bridge="vmbr-both0", kind=MEMORY, options={"wire": "a"}
    )
    where = f"/api/v1/networks/{network.pk}"
    for cidr, gateway in (("192.0.2.0/24", "192.0.2.1"), ("2001:db8::/64", "2001:db8::1")):
        asked(api.post(f"{where}/add-subnet", {"cidr": cidr, "gateway": gateway}, format="json"))
    task = asked(api.post("/api/v1/vms", {**WEB, "network": "both"}, format="json"))
    told = guest_network(Vm.objects.get(pk=task.object_id))
    assert [(each.address, each.prefix, each.gateway) for each in told.every_interface()[0].addresses] == [
        ("192.0.2.2", 24, "192.0.2.1"),
        ("2001:db8::100", 64, "2001:db8::1"),
    ]
    # What is free is counted by version, and no row stands for a free address.
    network = Network.objects.prefetch_related("subnets__ranges").get(pk=network.pk)
    assert free_by_version(network) == {4: 252, 6: 2**64 - 0x100 - 1} and free_count(network) > 2**63
    assert Address.objects.count() == 2


def test_a_network_without_addresses_is_for_further_interfaces(
    api: APIClient, admin: User, node: Node, image: Image
) -> None:
    Network.objects.create(cluster=node.cluster, name="wire", bridge="vmbr-w0", kind=MEMORY, options={"wire": "a"})
    refused = api.post("/api/v1/vms", {**WEB, "network": "wire"}, format="json").json()
    assert (refused["code"], refused["field"]) == ("missing_value", "network")
    vm = asked(api.post("/api/v1/vms", WEB, format="json")).object_id
    result = asked(api.post(f"/api/v1/vms/{vm}/add-interface", {"network": "wire"}, format="json"))
    assert [each.ips for each in Vm.objects.get(pk=vm).interfaces.with_ips().order_by("position")] == [
        ["10.77.0.10"],
        [],
    ]
    assert result.status == "done"


def test_a_node_that_is_being_removed_is_not_asked(api: APIClient, node: Node) -> None:
    going = make_node("fake2")
    Node.objects.filter(pk=going.pk).update(state=NodeState.REMOVING)
    network = added(api)
    assert network.bridge not in bridges(going)


@pytest.mark.parametrize(
    ("cidr", "gateway", "ranges"),
    [
        ("192.0.2.0/24", "192.0.2.1", [("192.0.2.2", "192.0.2.254")]),
        ("192.0.2.0/24", "192.0.2.254", [("192.0.2.1", "192.0.2.253")]),
        ("192.0.2.0/24", "192.0.2.9", [("192.0.2.1", "192.0.2.8"), ("192.0.2.10", "192.0.2.254")]),
        ("192.0.2.0/24", None, [("192.0.2.1", "192.0.2.254")]),
        ("192.0.2.8/31", None, [("192.0.2.8", "192.0.2.9")]),
        ("192.0.2.8/32", None, [("192.0.2.8", "192.0.2.8")]),
        ("2001:db8::/64", "2001:db8::1", [("2001:db8::100", "2001:db8::ffff:ffff:ffff:ffff")]),
        ("2001:db8::/126", "2001:db8::1", [("2001:db8::2", "2001:db8::3")]),
    ],
)
def test_what_is_given_out_of_a_subnet_where_nobody_says_so(
    cidr: str, gateway: str | None, ranges: list[tuple[str, str]]
) -> None:
    assert usual_ranges(cidr, gateway) == ranges


def test_an_address_is_kept_for_its_owner_until_it_is_released(
    api: APIClient, user: User, node: Node, image: Image
) -> None:
    where = f"/api/v1/networks/{Network.objects.get().pk}"
    kept = asked(api.post(f"{where}/reserve-address", {"owner": "anna", "comment": "order 17"}, format="json"))
    assert kept.steps.get().output["result"]["address"] == "10.77.0.10"
    other = asked(api.post("/api/v1/vms", WEB, format="json"))
    assert [each.ip for each in Vm.objects.get(pk=other.object_id).interfaces.all()] == ["10.77.0.11"]
    # By name it goes to VMs of its owner alone, and is still his when he removes the VM.
    taken = {**WEB, "name": "web2", "address": "10.77.0.10"}
    assert api.post("/api/v1/vms", taken, format="json").json()["code"] == "already_exists"
    mine = asked(api.post("/api/v1/vms", {**taken, "owner": "anna"}, format="json"))
    assert api.post("/api/v1/vms", {**taken, "name": "web3", "owner": "anna"}, format="json").status_code == 409
    theirs = APIClient()
    theirs.force_authenticate(user)
    for present in (True, False):
        (row,) = theirs.get("/api/v1/ipam/addresses").json()["results"]
        told = (row["ip"], row["vm_name"], row["owner"], row["reserved"], row["comment"])
        assert told == ("10.77.0.10", "web2" if present else None, "anna", True, "order 17")
        if present:
            asked(api.delete(f"/api/v1/vms/{mine.object_id}", headers={"X-Confirmed": "yes"}))
    asked(api.post(f"{where}/release-address", {"address": "10.77.0.10"}, format="json"))
    assert [each.ip for each in Address.objects.all()] == ["10.77.0.11"]
    assert api.post(f"{where}/release-address", {"address": "10.77.0.11"}, format="json").status_code == 404


def test_who_had_an_address_is_known_by_address_and_time(api: APIClient, user: User, node: Node, image: Image) -> None:
    make_network(node.cluster, "other", "vmbr-b", "10.9.0.0/24", [("10.9.0.10", "10.9.0.20")])
    network = Network.objects.get(name="private")
    vm = asked(api.post("/api/v1/vms", WEB, format="json")).object_id
    first = Vm.objects.get(pk=vm).interfaces.get().mac
    asked(api.post(f"/api/v1/vms/{vm}/change-owner", {"owner": "anna"}, format="json"))
    at = timezone.now()
    change = {"interface": first, "network": "other", "mac": "52:54:00:00:00:99"}
    asked(api.post(f"/api/v1/vms/{vm}/change-interface", change, format="json"))
    asked(api.delete(f"/api/v1/vms/{vm}", headers={"X-Confirmed": "yes"}))

    def had(client: APIClient, **query: str) -> list[tuple[str, str, str, bool]]:
        rows = client.get("/api/v1/ipam/history", query).json()["results"]
        return [(row["ip"], row["mac"], row["owner"], row["until"] is None) for row in rows]

    assert had(api) == [
        ("10.9.0.10", "52:54:00:00:00:99", "anna", False),
        ("10.77.0.10", first, "anna", False),
        ("10.77.0.10", first, "admin", False),
    ]
    assert had(api, ip="10.77.0.10", at=at.isoformat()) == [("10.77.0.10", first, "anna", False)]
    assert had(api, at=timezone.now().isoformat()) == [] and network.addresses.count() == 0
    theirs = APIClient()
    theirs.force_authenticate(user)
    assert [owner for _ip, _mac, owner, _now in had(theirs)] == ["anna", "anna"]
    # Long after it nobody knows it any more.
    AddressTerm.objects.update(until=timezone.now() - timedelta(days=401))
    purge_history()
    assert had(api) == []


def test_no_interface_is_made_in_a_network_that_cannot_be_on_the_vm_s_node(
    api: APIClient, node: Node, image: Image
) -> None:
    network = added(api)
    vm = asked(api.post("/api/v1/vms", WEB, format="json")).object_id
    network.on_nodes.update(state="failed", error="There is no such interface.")
    mac = Vm.objects.get(pk=vm).interfaces.get().mac
    for verb, body in (("add-interface", {}), ("change-interface", {"interface": mac})):
        answer = api.post(f"/api/v1/vms/{vm}/{verb}", {**body, "network": "public"}, format="json")
        assert (answer.json()["code"], answer.json()["field"]) == ("no_capacity", "network"), answer.json()
