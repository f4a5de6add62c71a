"""A host on which QEMU is a user of its own and root's umask is strict, as on Debian: VMs start and move there too.

Nothing like udev ran on it: its /dev/kvm is as the kernel makes it, and of no use to QEMU's user.
It has an RSA host key alone, no sftp, start files and an sshrc that print, and a user of sudo's whose password adds it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest

from tests.lab.guests import NOTHING, add_node, make_key, remains, ssh
from tests.lab.hosts import Lab, Node
from tests.lab.surroundings import Host
from tests.stack import done, wait_until

PASSWORD = " open sesame "
"""Blanks at its ends count."""
QEMU = "libvirt-qemu"
OPEN = ["setpriv", f"--reuid={QEMU}", "--regid=kvm", "--clear-groups", "sh", "-c", ": <> /dev/kvm"]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An ssh key pair for guests."""
    return make_key(str(tmp_path_factory.mktemp("key")))


@pytest.fixture(scope="module")
def debian(lab: Lab, cluster: list[Node], api: httpx.Client) -> Iterator[Node]:
    """The host, one more of the panel's nodes while the tests of this file run."""
    node = lab.add_node(as_debian=True, kvm="kernel")
    host = Host(node)
    fingerprint = host.have_host_keys("rsa")[0]
    host.use(bashrc="printf 'Welcome to this '", sshrc="echo host", sshd="Subsystem sftp /bin/false")
    way = {"host_key": fingerprint}
    if shutil.which("sudo") is not None:
        host.have_sudoer("ops", PASSWORD, "ALL=(ALL) NOPASSWD: ALL")
        way |= {"ssh_user": "ops", "password": PASSWORD}
    path = add_node(api, node, **way)
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


def has_device(node: Node) -> bool:
    """Whether it has a /dev/kvm; machines without KVM have nothing to see there."""
    return node.run(["test", "-c", "/dev/kvm"], check=False).returncode == 0


def test_preparation_gives_the_device_what_udev_gives_it(debian: Node, api: httpx.Client) -> None:
    path = f"nodes/{api.get('nodes', params={'name': debian.name}).json()['results'][0]['id']}"
    facts = api.get(path).json()["facts"]
    assert (facts["libvirt"], facts["kvm"]) == ("answers", "")
    if not has_device(debian):
        pytest.skip("this machine has no /dev/kvm")
    assert debian.run(["stat", "-c", "%U:%G %a", "/dev/kvm"]).stdout == "root:kvm 660\n"
    # As after a restart of such a host: its next check has it again.
    debian.run(["chown", "root:root", "/dev/kvm"])
    debian.run(["chmod", "600", "/dev/kvm"])
    assert debian.run(OPEN, check=False).returncode
    assert done(api, api.post(f"{path}/check", json={}))["result"]["complaints"] == []
    assert debian.run(OPEN, check=False).returncode == 0


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
