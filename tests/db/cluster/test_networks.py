"""A cluster's networks and what a host has of its own: a free range is chosen, a conflict is refused by name."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from nodeagent.protocol.network import BridgeState, HostNetwork
from panel.accounts.system import system_user
from panel.cluster import fake, parts
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.core.errors import CapacityError, OperationFailed
from panel.doctor import wires
from panel.network import reach
from panel.network.models import Network
from panel.network.node_part import bridge_of
from panel.network.services import FIRST_SUBNETS
from panel.notices.models import Problem
from panel.tasks import registry
from panel.tasks.models import Status, Task
from tests.db.conftest import make_node, run_task

LAN = HostNetwork("10.77.0.0/24", "the address 10.77.0.1/24 of eth0")


@pytest.fixture
def fresh(node: Node) -> Node:
    """The only node of a cluster that has no network yet."""
    Network.objects.all().delete()
    return node


def prepare(node: Node) -> None:
    """What adding the node does about networks."""
    context: NodeContext[Any] = NodeContext(Task(object_type="node", object_id=node.pk), None)  # type: ignore[arg-type]
    context.task.pk = 1
    parts.get("network").look(context)


def first() -> tuple[str, str, str]:
    """The first network's range, its gateway, and the addresses that VMs get."""
    network = Network.objects.get()
    return network.subnet, network.gateway, str(*network.ranges)


def test_the_first_network_has_the_first_range_that_its_first_node_does_not_use(fresh: Node) -> None:
    fake.node(fresh.pk).host_networks = [LAN, HostNetwork("10.64.0.0/12", "the route to 10.64.0.0/12 by tun0")]
    prepare(fresh)
    assert first() == ("10.87.0.0/24", "10.87.0.1", "10.87.0.10-10.87.0.254")


def test_a_node_s_own_address_is_not_in_it_either(fresh: Node) -> None:
    Node.objects.update(address="10.77.0.9")
    prepare(fresh)
    assert first()[0] == "10.78.0.0/24"


def test_a_host_that_uses_every_range_is_refused_with_a_way_out(fresh: Node) -> None:
    fake.node(fresh.pk).host_networks = [HostNetwork(each, "a route") for each in FIRST_SUBNETS]
    with pytest.raises(CapacityError, match="set FirstNetwork"):
        prepare(fresh)


def test_the_range_that_the_option_says_is_taken_or_refused_by_name(
    fresh: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "first_network", "10.77.0.0/24")
    prepare(fresh)
    assert first()[0] == "10.77.0.0/24"
    fake.node(fresh.pk).host_networks = [LAN]
    with pytest.raises(OperationFailed, match=r"“private” \(10\.77\.0\.0/24\) overlaps .* 10\.77\.0\.1/24 of eth0"):
        prepare(fresh)


def test_a_network_that_nobody_uses_yet_makes_room_for_the_first_node(fresh: Node) -> None:
    prepare(fresh)
    fake.node(fresh.pk).host_networks = [LAN]
    prepare(fresh)
    assert first()[0] == "10.78.0.0/24"
    Network.objects.get().addresses.create(ip="10.78.0.10")
    fake.node(fresh.pk).host_networks = [HostNetwork("10.78.0.0/24", "the address 10.78.0.1/24 of eth0")]
    with pytest.raises(OperationFailed, match=r"10\.78\.0\.1/24 of eth0"):
        prepare(fresh)


def test_a_later_node_that_conflicts_is_refused_by_name_and_changes_no_network(fresh: Node) -> None:
    prepare(fresh)
    before, other = first(), make_node("fake2")
    fake.node(other.pk).host_networks = [LAN]
    fake.node(other.pk).host_links = ["vmbr-nat0"]
    with pytest.raises(OperationFailed) as caught:
        prepare(other)
    assert "an interface “vmbr-nat0” of its own" in caught.value.message
    assert "“private” (10.77.0.0/24) overlaps what is the host's own: the address 10.77.0.1/24" in caught.value.message
    assert first() == before


def test_what_comes_to_overlap_later_is_a_problem_until_it_is_gone(node: Node) -> None:
    fake.node(node.pk).host_networks = [LAN]
    check = registry.get("node.check")
    run_task(check.submit(system_user(), {}, object_id=node.pk))
    problem = Problem.objects.get(open_key=f"node:{node.pk}:network")
    assert "the address 10.77.0.1/24 of eth0" in problem.text
    fake.node(node.pk).host_networks = []
    run_task(check.submit(system_user(), {}, object_id=node.pk))
    assert not Problem.objects.filter(open_key=problem.open_key).exists()


class TestReach:
    """What guests begin nothing with."""

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The panel's machine has an address, and loopback and link-local ones that no guest could send to."""
        found = ("127.0.0.1", "::1", "fe80::1%eth0", "203.0.113.1", "2001:db8::1")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        entries = [SimpleNamespace(family=family[":" in each], address=each) for each in found]
        monkeypatch.setattr(reach.psutil, "net_if_addrs", lambda: {"eth0": entries})

    def checked(self, node: Node) -> list[str] | None:
        """What the node's guests are kept from after its next check."""
        assert run_task(registry.get("node.check").submit(system_user(), {}, object_id=node.pk)).status == Status.DONE
        return fake.node(node.pk).bridges[Network.objects.get().bridge].kept_from

    def test_the_addresses_of_nodes_and_panel_also_on_a_node_that_was_there_before(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = make_node("fake2")
        for each, address in ((node, "192.0.2.31"), (other, "192.0.2.32")):
            Node.objects.filter(pk=each.pk).update(address=address)
        monkeypatch.setattr(settings.CONFIG, "public_url", "https://198.51.100.9:1500")
        memory = fake.node(node.pk)
        name = Network.objects.get().bridge
        memory.bridges[name] = memory.links[name] = replace(memory.bridges[name], kept_from=None)
        found = self.checked(node)
        assert found is not None
        assert {"192.0.2.31", "192.0.2.32", "203.0.113.1", "2001:db8::1", "198.51.100.9"} <= set(found)
        assert not {"127.0.0.1", "::1", "fe80::1", "0.0.0.0"} & set(found)
        # A worker elsewhere goes by what the panel's machine last saw of itself.
        monkeypatch.setattr(settings.CONFIG, "panel_here", False)
        monkeypatch.setattr(reach.psutil, "net_if_addrs", dict)
        assert self.checked(node) == found

    def test_the_cluster_s_setting_opens_and_closes_it_with_a_check_of_each_node(
        self, api: APIClient, node: Node, run_tasks: Callable[[], None]
    ) -> None:
        assert api.get("/api/v1/cluster").json()["guests_reach_nodes"] is False
        for opened in (True, False):
            assert api.patch("/api/v1/cluster", {"guests_reach_nodes": opened}, format="json").status_code == 200
            run_tasks()
            bridge = fake.node(node.pk).bridges[Network.objects.get().bridge]
            assert (bridge.kept_from is None) == opened

    def test_the_doctor_finds_a_node_that_is_open(self, node: Node) -> None:
        network = Network.objects.get()
        wanted = bridge_of(network, node)
        seen = BridgeState(network.bridge, True, [], wanted.gateway, wanted.subnet, nat=True)
        [finding] = wires.bridges("fake1", [(network, wanted)], [seen])
        assert finding.code == "bridge_differs" and "what guests reach" in finding.text
        kept = replace(seen, kept_from=["192.0.2.99"])
        assert list(wires.bridges("fake1", [(network, wanted)], [kept])) == []
