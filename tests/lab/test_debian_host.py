"""A host on which QEMU is a user of its own and root's umask is strict, as on Debian: VMs start and move there too."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.lab.guests import NOTHING, make_key, remains, ssh
from tests.lab.hosts import Lab, Node
from tests.stack import done, wait_until

QEMU = "libvirt-qemu"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An ssh key pair for guests."""
    return make_key(str(tmp_path_factory.mktemp("key")))


@pytest.fixture(scope="module")
def debian(lab: Lab, cluster: list[Node], api: httpx.Client) -> Iterator[Node]:
    """The host, one more of the panel's nodes while the tests of this file run."""
    node = lab.add_node(as_debian=True)
    raw = {"name": node.name, "address": node.address, "password": node.root_password, "virtualization": "qemu"}
    answer = api.post("nodes", json=raw)
    done(api, answer)
    path = f"nodes/{api.get('nodes', params={'name': node.name}).json()['results'][0]['id']}"
    yield node
    done(api, api.delete(path))


@pytest.fixture
def vm(debian: Node, cluster: list[Node], api: httpx.Client, key: tuple[str, str]) -> Iterator[str]:
    """The path of a VM that runs there; nothing of it remains."""
    raw = {"name": "lowly", "image": "tiny", "flavor": "tiny", "node": debian.name, "ssh_keys": [key[1]]}
    answer = api.post("vms", json=raw)
    done(api, answer)
    path = f"vms/{answer.json()['vm']}"
    yield path
    done(api, api.delete(path))
    for node in (debian, cluster[0]):
        assert remains(node) == NOTHING


def owners(node: Node) -> set[str]:
    """As whom the node's QEMUs run."""
    shown = node.run(["ps", "-e", "-o", "user:20=,comm="]).stdout.splitlines()
    return {line.split()[0] for line in shown if line.split()[1].startswith("qemu-system")}


def test_a_vm_runs_as_nobody_who_could_harm_the_host(
    debian: Node, api: httpx.Client, vm: str, key: tuple[str, str]
) -> None:
    assert "0077" in debian.run(["sh", "-c", "grep Umask /proc/$(cat /run/sshd.pid)/status"]).stdout
    assert owners(debian) == {QEMU}
    done(api, api.post(f"{vm}/add-disk", json={"size_gib": 1}))
    address = api.get(vm).json()["interfaces"][0]["address"]

    def disks() -> bool:
        return "vdb" in ssh(debian, key[0], "root", address, "ls /sys/block")

    wait_until(disks, "the guest sees its new disk", 60)
    snapshot = done(api, api.post(f"{vm}/snapshot", json={"name": "first"}))["result"]["snapshot"]
    done(api, api.post(f"{vm}/revert-snapshot", json={"snapshot": snapshot}))
    done(api, api.post(f"{vm}/restart", json={"timeout_seconds": 5}))
    assert (api.get(vm).json()["status"], owners(debian)) == ("running", {QEMU})


@pytest.mark.nightly
def test_it_moves_between_hosts_whose_qemus_are_different_users(
    debian: Node, cluster: list[Node], api: httpx.Client, vm: str
) -> None:
    for node, user in ((cluster[0], "root"), (debian, QEMU)):
        done(api, api.post(f"{vm}/migrate", json={"node": node.name}))
        assert (api.get(vm).json()["node"], api.get(vm).json()["status"]) == (node.name, "running")
        assert owners(node) == {user}
    done(api, api.post(f"{vm}/force-off", json={}))
    done(api, api.post(f"{vm}/configure", json={"firmware": "uefi"}))
    for node in (cluster[0], debian):
        done(api, api.post(f"{vm}/migrate", json={"node": node.name}))
        done(api, api.post(f"{vm}/start", json={}))
        assert api.get(vm).json()["status"] == "running"
        done(api, api.post(f"{vm}/force-off", json={}))
