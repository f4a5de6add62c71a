"""Nodes whose libvirt takes long to say what its QEMU can: they are added, are shown as slow, and take VMs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from panel.standalone.options import TOP
from tests.lab.guests import add_node
from tests.lab.hosts import SYSTEM_PYTHON, Lab, Node
from tests.stack import done

SECONDS = 20
OWN = "/run/own-libvirt"

pytestmark = pytest.mark.nightly


@pytest.fixture
def stubborn(lab: Lab, cluster: list[Node]) -> Iterator[Node]:
    """QEMU's user may not open its /dev/kvm, and nobody can change that: libvirt looks at QEMU at each question."""
    node = lab.add_node(as_debian=True, kvm="fixed")
    yield node
    node.stop()


@pytest.fixture
def held_up(lab: Lab, cluster: list[Node]) -> Iterator[Node]:
    """Each slow question to its libvirtd is answered after so many seconds."""
    node = lab.add_node()
    node.run(["mkdir", OWN])
    node.run(["tee", "-a", "/etc/libvirt/libvirtd.conf"], input=f'unix_sock_dir = "{OWN}"\n')
    door = [SYSTEM_PYTHON, str(TOP / "tests/slow_libvirt.py"), "/run/libvirt/libvirt-sock", f"{OWN}/libvirt-sock"]
    with subprocess.Popen(node.argv([*door, str(SECONDS)])):
        yield node
        node.stop()


def run_vm(api: httpx.Client, node: Node) -> None:
    """A VM is made there, runs, and goes again."""
    answer = api.post("vms", json={"name": f"on-{node.name}", "image": "tiny", "flavor": "tiny", "node": node.name})
    done(api, answer)
    vm = f"vms/{answer.json()['vm']}"
    assert api.get(vm).json()["status"] == "running"
    done(api, api.delete(vm))


def test_a_device_that_cannot_be_changed_is_told_and_the_node_takes_vms(stubborn: Node, api: httpx.Client) -> None:
    if stubborn.run(["test", "-c", "/dev/kvm"], check=False).returncode:
        pytest.skip("this machine has no /dev/kvm")
    path = add_node(api, stubborn)
    try:
        [complaint] = done(api, api.post(f"{path}/check", json={}))["result"]["complaints"]
        assert "QEMU's user “libvirt-qemu” may not open /dev/kvm (root:root, mode 0600)" in complaint
        assert complaint.endswith("It cannot be changed: Read-only file system.")
        run_vm(api, stubborn)
    finally:
        done(api, api.delete(path))


def test_a_libvirtd_that_takes_a_minute_over_its_facts_is_waited_for_once(held_up: Node, api: httpx.Client) -> None:
    path = add_node(api, held_up)
    try:
        node = api.get(path).json()
        assert (node["state"], node["facts"]["libvirt"]) == ("ready", "answers")
        assert node["facts"]["qemu_version"] and node["facts"]["libvirt_seconds"] >= 3 * SECONDS
        [complaint] = done(api, api.post(f"{path}/check", json={}))["result"]["complaints"]
        assert "It is slow: its libvirt took" in complaint
        run_vm(api, held_up)
    finally:
        done(api, api.delete(path))
