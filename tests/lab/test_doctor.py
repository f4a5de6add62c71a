"""The doctor on real hosts, by the command line: what is done behind the panel's back is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.hosts import Node
from tests.stack import Stack, done, wait_until

POOL = "/var/lib/vmpanel/pool"


@pytest.fixture
def vm(cluster: list[Node], api: httpx.Client) -> Iterator[dict[str, Any]]:
    """A running VM on the first node."""
    answer = api.post("vms", json={"name": "patient", "image": "tiny", "flavor": "tiny", "node": cluster[0].name})
    done(api, answer)
    yield api.get(f"vms/{answer.json()['vm']}").json()
    done(api, api.delete(f"vms/{answer.json()['vm']}?queue=1"))


def examined(api: httpx.Client) -> list[tuple[str, str]]:
    """Code and node of what is found."""
    found = done(api, api.post("cluster/examine"))["result"]["findings"]
    return [(each["code"], each["node"]) for each in found]


def test_a_node_and_the_database_agree_until_somebody_meddles(
    cluster: list[Node], api: httpx.Client, vm: dict[str, Any], stack: Stack
) -> None:
    node = cluster[0]
    assert examined(api) == []
    assert "agree" in stack.manage("doctor")

    xml = node.run(["virsh", "-c", "qemu:///system", "dumpxml", "--inactive", "patient"]).stdout
    node.run(["touch", f"{POOL}/volumes/forgotten.qcow2"])
    other = xml.replace("<name>patient</name>", "<name>stranger</name>").replace(vm["uuid"][:8], "00000000")
    node.run(["sh", "-c", "cat > /run/stranger.xml"], input=other)
    node.run(["virsh", "-c", "qemu:///system", "define", "/run/stranger.xml"])
    try:
        assert sorted(examined(api)) == [("domain_foreign", node.name), ("file_foreign", node.name)]
    finally:
        node.run(["virsh", "-c", "qemu:///system", "undefine", "stranger"])
        node.run(["rm", "-f", f"{POOL}/volumes/forgotten.qcow2", "/run/stranger.xml"])
    wait_until(lambda: examined(api) == [], "all is well again", 30)


def test_a_domain_that_was_undefined_is_missed_and_found_again(
    cluster: list[Node], api: httpx.Client, vm: dict[str, Any]
) -> None:
    node = cluster[0]
    xml = node.run(["virsh", "-c", "qemu:///system", "dumpxml", "--inactive", "patient"]).stdout
    node.run(["virsh", "-c", "qemu:///system", "destroy", "patient"])
    node.run(["virsh", "-c", "qemu:///system", "undefine", "patient"])
    try:
        assert examined(api) == [("domain_missing", node.name)]
    finally:
        node.run(["sh", "-c", "cat > /run/patient.xml"], input=xml)
        node.run(["virsh", "-c", "qemu:///system", "define", "/run/patient.xml"])
        node.run(["rm", "-f", "/run/patient.xml"])
    wait_until(lambda: examined(api) == [], "it is known again", 30)


def test_rules_that_were_meddled_with_are_found_and_what_is_named_mends_them(
    cluster: list[Node], api: httpx.Client, vm: dict[str, Any]
) -> None:
    node = cluster[0]
    port = "tap" + vm["interfaces"][0]["mac"].replace(":", "")
    node.run(["nft", "insert", "rule", "bridge", "vmpanel_guard", port, "accept"])
    node.run(["nft", "flush", "chain", "inet", "vmpanel_vmbr_nat0", "postrouting"])
    found = done(api, api.post("cluster/examine"))["result"]["findings"]
    assert [(each["code"], each["mend"]) for each in found] == [
        ("bridge_differs", "node.check"),
        ("guard_missing", "node.check"),
    ]
    done(
        api, api.post(f"nodes/{api.get('nodes', params={'name': node.name}).json()['results'][0]['id']}/check", json={})
    )
    assert examined(api) == []
