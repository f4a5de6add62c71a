"""A node whose host key, address or authorized keys changed, and one that is gone for good: each has a way out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from panel.cluster.keys import fingerprint
from tests.lab.hosts import Lab, Node
from tests.stack import Stack, done, task_of, wait_for_task

KEY = "/etc/ssh/lab_host_ed25519"
CONF = "/etc/libvirt/libvirtd.conf"
MARK = "/var/lib/vmpanel/node.json"
RELOAD = "kill -HUP $(cat /run/sshd.pid)"


@pytest.fixture(scope="module")
def host(lab: Lab, cluster: list[Node]) -> Node:
    """A host that is a node of the panel while the tests of this file run, beside its others."""
    return lab.add_node()


@pytest.fixture(scope="module")
def path(host: Node, api: httpx.Client) -> Iterator[str]:
    """The node's place in the API; none is left."""
    yield add(api, host)
    left = api.get("nodes", params={"name": host.name}).json()["results"]
    for each in left:
        done(api, api.post(f"nodes/{each['id']}/forget", json={"forget_vms": True}))


def add(api: httpx.Client, host: Node) -> str:
    """Make a node of the host; answers its place in the API."""
    raw = {"name": host.name, "address": host.address, "password": host.root_password, "virtualization": "qemu"}
    answer = api.post("nodes", json=raw)
    done(api, answer)
    return f"nodes/{answer.json()['node']}"


def sh(node: Node, script: str) -> None:
    """Run a constant of this file in the node."""
    node.run(["sh", "-c", script])


def answers(node: Node) -> None:
    """Wait until its sshd does."""
    node.wait_for(["sh", "-c", "ssh-keyscan -T 1 127.0.0.1 2>/dev/null | grep -q ssh-"])


def reconnect(api: httpx.Client, path: str, **raw: Any) -> dict[str, Any]:
    """Reconnect the node; answers the task at its end."""
    return wait_for_task(api, task_of(api.post(f"{path}/reconnect", json=raw)), 60)


def test_another_host_key_is_shown_confirmed_and_recorded(host: Node, path: str, api: httpx.Client) -> None:
    pinned = api.get(path).json()["fingerprint"]
    sh(host, f"rm {KEY} {KEY}.pub; ssh-keygen -q -t ed25519 -N '' -f {KEY}; {RELOAD}")
    answers(host)
    now = fingerprint(host.host_key)

    found = done(api, api.post(f"{path}/check", json={}))["result"]
    assert now in str(found) or found["reachable"], "a connection from before may stand"
    refused = reconnect(api, path)
    assert (refused["status"], refused["error"]["code"]) == ("failed", "node_refused"), refused["error"]
    assert refused["error"]["fingerprint"] == now
    assert f"The host shows the key {now}, and {pinned} is expected." in refused["error"]["message"]
    assert api.get(path).json()["fingerprint"] == pinned

    assert reconnect(api, path, host_key=now)["status"] == "done"
    assert (api.get(path).json()["fingerprint"], api.get(path).json()["state"]) == (now, "ready")
    (entry, *_) = api.get("journal", params={"action": "node.reconnect"}).json()["results"]
    assert (entry["before"]["host_key"], entry["after"]["host_key"]) == (pinned, now)


def test_the_panel_s_key_is_let_in_anew_by_a_password_that_is_used_once(
    host: Node, path: str, api: httpx.Client, stack: Stack
) -> None:
    sh(host, "sed -i '/ vmpanel$/d' /root/.ssh/authorized_keys")
    stack.end("worker")
    stack.run("worker")
    assert reconnect(api, path)["error"]["code"] == "node_refused"
    assert reconnect(api, path, password=host.root_password)["status"] == "done"
    assert "vmpanel" in host.run(["cat", "/root/.ssh/authorized_keys"]).stdout
    assert "tasks.tasksecret" not in stack.manage("dumpdata", "tasks")
    done(api, api.post(f"{path}/check", json={}))


def test_another_address_is_taken_where_the_same_host_is(
    host: Node, path: str, lab: Lab, cluster: list[Node], api: httpx.Client
) -> None:
    other = str(lab.subnet[201])
    host.run(["ip", "addr", "add", f"{other}/24", "dev", "eth0"])
    try:
        assert reconnect(api, path, address=other)["status"] == "done"
        assert api.get(path).json()["address"] == other
        assert reconnect(api, path, address=host.address)["status"] == "done"
    finally:
        host.run(["ip", "addr", "del", f"{other}/24", "dev", "eth0"])
    taken = api.post(f"{path}/reconnect", json={"address": cluster[0].address})
    assert (taken.status_code, taken.json()["field"]) == (409, "address")


def test_a_host_that_is_not_this_node_is_refused_unless_it_was_said(host: Node, path: str, api: httpx.Client) -> None:
    sh(host, f"mv {MARK} {MARK}.kept")
    host.run(["sed", "-i.kept", f's/^host_uuid.*/host_uuid = "{uuid.uuid4()}"/', CONF])
    try:
        refused = reconnect(api, path)
        assert (refused["status"], refused["error"]["code"]) == ("failed", "host_unsuitable"), refused["error"]
        assert f"Nothing on the host says that it is “{host.name}”" in refused["error"]["message"]
        assert host.run(["ls", MARK], check=False).returncode
        assert reconnect(api, path, other_host=True)["status"] == "done"
        assert host.run(["cat", MARK]).stdout.count(f'"name": "{host.name}"') == 1
    finally:
        sh(host, f"rm -f {MARK}.kept; mv {CONF}.kept {CONF}")


def test_a_dead_node_is_not_removing_for_ever_and_is_forgotten(host: Node, path: str, api: httpx.Client) -> None:
    host.cut()
    try:
        task = wait_for_task(api, task_of(api.delete(f"{path}?queue=1")), 120)
        assert task["status"] == "failed", task
        assert "Nothing was removed. Reconnect the node" in task["error"]["message"]
        assert api.get(path).json()["state"] == "unreachable"
        forgotten = done(api, api.post(f"{path}/forget", json={}))
    finally:
        host.heal()
    assert any("authorized_keys" in each for each in forgotten["result"]["left"])
    assert api.get(path).status_code == 404

    # It comes back: what was left on it is in nobody's way, and goes with the node that it is now.
    done(api, api.delete(add(api, host)))
    for gone in ("/usr/lib/vmpanel", "/etc/vmpanel", "/var/lib/vmpanel", "/run/vmpanel"):
        assert host.run(["ls", gone], check=False).returncode != 0, host.run(["find", gone]).stdout
    assert " vmpanel" not in host.run(["cat", "/root/.ssh/authorized_keys"]).stdout
