"""What nodes tell of their network interfaces: kept, shown, and a problem where a link is gone."""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.monitoring import services
from panel.monitoring.models import NodeInterfaces
from panel.network.models import Network, NodeNetwork
from panel.notices.models import Problem
from tests.db.monitoring.messages import EPOCH
from vmwatch import wire

ENO1 = wire.LinkState("eno1", "physical", True, True, 1500, "0c:c4:7a:00:00:01", 1000, addresses=["192.0.2.2/24"])
ENO2 = wire.LinkState("eno2", "physical", True, False, 1500, "0c:c4:7a:00:00:02")
BRIDGE = wire.LinkState("br0", "bridge", True, False, 1500)
OUT: dict[str, Any] = {"carrier": False, "speed_mbps": None}


def say(node: Node, sequence: int, *links: wire.LinkState, kind: str = wire.ALIVE) -> None:
    """The node's vmwatch-node says that it has these."""
    message = wire.Message(node.pk, EPOCH, sequence, time.time(), kind, links=list(links))
    # As it comes out of its bytes.
    services.take_messages([wire.from_body(wire.to_body(message))])


def problems() -> dict[str, str]:
    """The open ones of links: severity by interface."""
    found = Problem.objects.filter(open_key__contains=":link:")
    return {str(each.open_key).rpartition(":")[2]: each.severity for each in found}


def test_a_link_that_goes_down_is_a_problem_until_it_is_up_again(node: Node) -> None:
    say(node, 1, ENO1, ENO2, BRIDGE, kind=wire.FULL_REPORT)
    # What never had a cable lacks none.
    assert problems() == {}
    say(node, 2, dataclasses.replace(ENO1, **OUT), ENO2, BRIDGE)
    assert problems() == {"eno1": "warning"}
    assert Problem.objects.get().text == f"The interface eno1 of node {node.name} has no link."
    # An older message, and a daemon that knows nothing of interfaces, say nothing of it.
    say(node, 1, ENO1)
    say(node, 3, kind=wire.FULL_REPORT)
    assert problems() == {"eno1": "warning"}
    say(node, 4, ENO1, ENO2, BRIDGE)
    assert problems() == {}
    say(node, 5, dataclasses.replace(ENO1, up=False, **OUT))
    assert "is set down" in Problem.objects.get(closed_at=None).text
    # One that was taken out of the host is missed by nobody.
    say(node, 6, ENO2)
    assert problems() == {}


def test_the_uplink_of_a_network_is_an_error_with_the_network_s_name(node: Node) -> None:
    network = Network.objects.get()
    NodeNetwork.objects.create(
        node=node, network=network, bridge="vmbr0", uplink="eno2", state="ready", seen_at=timezone.now()
    )
    say(node, 1, ENO1, ENO2)
    assert problems() == {"eno2": "error"}
    assert f"“{network.name}”" in Problem.objects.get().text
    say(node, 2, ENO1)
    assert "is not there" in Problem.objects.get(closed_at=None).text
    say(node, 3, ENO1, dataclasses.replace(ENO2, carrier=True))
    assert problems() == {}


def test_interfaces_are_told_by_rest_and_counters_alone_are_written_now_and_then(node: Node, admin: User) -> None:
    client = APIClient()
    client.force_authenticate(admin)
    where = f"/api/v1/nodes/{node.pk}/interfaces"
    assert client.get(where).json() == {"seen_at": None, "changed_at": None, "interfaces": []}
    say(node, 1, dataclasses.replace(ENO1, rx_bytes=1))
    say(node, 2, dataclasses.replace(ENO1, rx_bytes=2))
    told = client.get(where).json()["interfaces"]
    assert [(each["name"], each["rx_bytes"], each["addresses"]) for each in told] == [("eno1", 1, ["192.0.2.2/24"])]
    NodeInterfaces.objects.update(seen_at=timezone.now() - timedelta(minutes=2))
    changed_at = NodeInterfaces.objects.get().changed_at
    say(node, 3, dataclasses.replace(ENO1, rx_bytes=3))
    row = NodeInterfaces.objects.get()
    assert (row.interfaces[0]["rx_bytes"], row.changed_at) == (3, changed_at)


@pytest.mark.parametrize(
    "links",
    [
        [{**vars(ENO1), "up": "yes"}], [{**vars(ENO1), "mtu": -1}], [{"name": "x"}], ["eno1"],
        [{**vars(ENO1), "addresses": ["192.0.2.1/24"] * 33}], [vars(ENO1)] * 201, [{**vars(ENO1), "name": "x" * 256}],
    ],
)  # fmt: skip
def test_what_is_no_interface_is_not_believed(links: list[Any]) -> None:
    raw = {**vars(wire.Message(3, EPOCH, 1, time.time(), wire.ALIVE)), "links": links}
    with pytest.raises(wire.Refused):
        wire.from_raw(raw)
