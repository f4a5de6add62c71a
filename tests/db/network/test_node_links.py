"""Bonds and VLANs that the panel makes on nodes: what can be, what is refused, what keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import NodeUnreachable
from panel.network import node_links
from panel.network.models import Network, NodeLink
from panel.tasks import registry
from panel.tasks.models import Task
from tests.db.conftest import run_task

CARDS = ["eno1", "eno2", "eno3"]
VLAN = {"kind": "vlan", "parent": "eno1", "vlan": 40}


@pytest.fixture
def api(admin: User, node: Node) -> APIClient:
    """An administrator's client; the node has network cards."""
    fake.node(node.pk).host_links += CARDS
    client = APIClient()
    client.force_authenticate(admin)
    return client


def ask(api: APIClient, node: Node, verb: str = "add-link", **raw: Any) -> Any:
    """The answer to a request."""
    return api.post(f"/api/v1/nodes/{node.pk}/{verb}", raw, format="json")


def did(answer: Any) -> Task:
    """Its task, ended."""
    assert answer.status_code == 202, answer.json()
    return run_task(Task.objects.get(pk=answer.json()["task"]["id"]))


def test_a_bond_and_a_vlan_on_it_are_made_confirmed_and_removed(api: APIClient, node: Node) -> None:
    memory = fake.node(node.pk)
    assert did(ask(api, node, kind="bond", ports=["eno2", "eno3"], mode="802.3ad")).status == "done"
    assert did(ask(api, node, kind="vlan", parent="bond0", vlan=40)).status == "done"
    assert (sorted(memory.made_links), memory.trials) == (["bond0", "bond0.40"], {})
    # By its very name it is an uplink.
    raw = {"name": "public", "kind": "bridge", "options": {"uplink": "bond0.40"}}
    assert did(api.post("/api/v1/networks", raw, format="json")).status == "done"
    refused = ask(api, node, "remove-link", link="bond0.40")
    assert (refused.status_code, refused.json()["field"]) == (409, "link")
    assert ask(api, node, "remove-link", link="bond0").status_code == 409
    did(api.delete(f"/api/v1/networks/{Network.objects.latest('pk').pk}"))
    assert did(ask(api, node, "remove-link", link="bond0.40")).status == "done"
    assert did(ask(api, node, "remove-link", link="bond0")).status == "done"
    assert (memory.made_links, memory.host_links, NodeLink.objects.count()) == ({}, CARDS, 0)


def test_a_node_that_is_lost_by_it_has_nothing_of_it(
    api: APIClient, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fake.node(node.pk)
    memory.fail("link_confirm", NodeUnreachable(node=node.name, reason="no route"), times=100)
    monkeypatch.setattr(node_links, "TRIAL_SECONDS", 0.01)
    ended = did(ask(api, node, **VLAN))
    assert (ended.status, NodeLink.objects.count(), memory.made_links) == ("failed", 0, {})


@pytest.mark.parametrize(
    ("raw", "field", "status"),
    [
        ({"kind": "vlan"}, "parent", 400),
        ({"kind": "vlan", "parent": "eno1"}, "vlan", 400),
        ({"kind": "vlan", "parent": "e;no1", "vlan": 1}, "parent", 400),
        ({"kind": "bond"}, "ports", 400),
        ({"kind": "bond", "ports": ["a b"]}, "ports", 400),
        ({"kind": "team"}, "kind", 400),
        ({"kind": "vlan", "parent": "eno1", "vlan": 7, "name": "taken"}, "name", 409),
        ({"kind": "bond", "ports": ["eno1", "eno2"]}, "ports", 409),
        ({"kind": "bond", "ports": ["eno3"]}, "ports", 409),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_touched(
    api: APIClient, node: Node, raw: dict[str, Any], field: str, status: int
) -> None:
    NodeLink.objects.create(node=node, name="taken", kind="vlan", settings={"parent": "eno2", "vlan": 5})
    Network.objects.update(kind="bridge", options={"uplink": "eno3"})
    answer = ask(api, node, **raw)
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert fake.node(node.pk).made_links == {}


def test_a_kernel_that_cannot_says_so_and_nothing_is_left(api: APIClient, node: Node) -> None:
    fake.node(node.pk).unable.add("vlan")
    task = did(ask(api, node, **VLAN))
    assert task.status == "failed" and task.error is not None
    assert "kernel has no VLANs (802.1Q)" in task.error["message"]
    assert (NodeLink.objects.count(), fake.node(node.pk).made_links) == (0, {})


def test_a_check_makes_again_what_is_gone_and_says_what_cannot_be(api: APIClient, node: Node, admin: User) -> None:
    memory = fake.node(node.pk)
    did(ask(api, node, **VLAN))
    memory.made_links.clear()
    memory.host_links.remove("eno1.40")
    assert run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk)).status == "done"
    assert list(memory.made_links) == ["eno1.40"]
    memory.made_links.clear()
    memory.host_links = []
    found = run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk)).result["complaints"]
    assert [each for each in found if "eno1.40" in each]
