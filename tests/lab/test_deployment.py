"""The whole path on real hosts: nodes by ssh, VMs by the API, guests by ssh, events by vmwatch, and nothing left."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.lab.guests import NOTHING, make_key, remains, ssh
from tests.lab.hosts import Lab, LabError, Node
from tests.stack import Stack, done, task_of, wait_for_task, wait_until


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An ssh key pair for guests."""
    return make_key(str(tmp_path_factory.mktemp("key")))


def test_a_node_shows_what_it_is(cluster: list[Node], api: httpx.Client) -> None:
    for node in cluster:
        shown = api.get("nodes", params={"name": node.name}).json()["results"][0]
        facts = shown["facts"]
        assert shown["state"] == "ready"
        assert shown["host_uuid"] == node.host_uuid
        assert shown["fingerprint"].startswith("SHA256:")
        assert facts["cpu_count"] >= 1 and facts["memory_mib"] > 500
        assert facts["libvirt_version"] and facts["qemu_version"]
        assert facts["file_systems"] and shown["pools"][0]["free_bytes"] > 0


def test_passwords_of_nodes_stand_nowhere(cluster: list[Node], stack: Stack) -> None:
    dump = stack.manage("dumpdata", "tasks", "cluster")
    logs = "".join(path.read_text(encoding="utf-8", errors="replace") for path in stack.layout.log.glob("*.log"))
    for node in cluster:
        assert node.root_password not in dump
        assert node.root_password not in logs
    assert "tasks.tasksecret" not in dump


def test_the_same_host_is_refused_under_another_address(cluster: list[Node], lab: Lab, api: httpx.Client) -> None:
    node = cluster[0]
    node.run(["ip", "addr", "add", f"{lab.subnet[200]}/24", "dev", "eth0"])
    try:
        raw = {"name": "again", "address": str(lab.subnet[200]), "password": node.root_password}
        task = wait_for_task(api, task_of(api.post("nodes", json=raw)))
    finally:
        node.run(["ip", "addr", "del", f"{lab.subnet[200]}/24", "dev", "eth0"])
    assert task["status"] == "failed"
    assert task["error"]["code"] == "already_exists"
    assert api.get("nodes", params={"name": "again"}).json()["results"] == []
    # The host goes on as the node that it was.
    shown = api.get("nodes", params={"name": node.name}).json()["results"][0]
    done(api, api.post(f"nodes/{shown['id']}/check", json={}))


def test_a_wrong_password_is_told_and_leaves_nothing(cluster: list[Node], lab: Lab, api: httpx.Client) -> None:
    node = lab.add_node()
    raw = {"name": "wrong", "address": node.address, "password": "not-the-password"}
    task = wait_for_task(api, task_of(api.post("nodes", json=raw)))
    assert task["status"] == "failed"
    assert task["error"]["code"] == "node_refused"
    assert api.get("nodes", params={"name": "wrong"}).json()["results"] == []


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_vm_lives_and_dies(number: int, cluster: list[Node], api: httpx.Client, key: tuple[str, str]) -> None:
    node = cluster[number]
    raw = {"name": f"life{number}", "image": "tiny", "flavor": "tiny", "node": node.name, "ssh_keys": [key[1]]}
    answer = api.post("vms", json=raw)
    created = answer.json()
    task = done(api, answer)
    vm = f"vms/{created['vm']}"

    assert [step["status"] for step in task["steps"]] == ["done"] * 8
    assert api.get(vm).json()["status"] == "running"
    assert ssh(node, key[0], "root", created["address"], "hostname") == raw["name"]

    # What libvirt does without us, vmwatch tells within a second.
    node.run(["virsh", "-c", "qemu:///system", "destroy", raw["name"]])
    wait_until(lambda: api.get(vm).json()["status"] == "shut off", "the status follows virsh destroy", 1.0)
    history = api.get(f"{vm}/history").json()
    assert (history[0]["status"], history[0]["cause"], history[0]["node"]) == ("shut off", "outside", node.name)

    done(api, api.post(f"{vm}/start", json={}))
    wait_until(lambda: api.get(vm).json()["status"] == "running", "it runs", 2.0)
    done(api, api.post(f"{vm}/stop", json={"timeout_seconds": 60}))
    assert api.get(vm).json()["status"] == "shut off"
    done(api, api.post(f"{vm}/start", json={}))
    done(api, api.post(f"{vm}/restart", json={"timeout_seconds": 1}))
    done(api, api.post(f"{vm}/force-off", json={}))

    done(api, api.delete(vm))
    assert api.get(vm).status_code == 404
    assert remains(node) == NOTHING
    assert api.get("networks").json()["results"][0]["free_addresses"] == 245


def test_deleting_a_vm_whose_parts_are_gone_is_fine(cluster: list[Node], api: httpx.Client) -> None:
    node = cluster[0]
    answer = api.post("vms", json={"name": "torn", "image": "tiny", "flavor": "tiny", "node": node.name})
    done(api, answer)
    node.run(["virsh", "-c", "qemu:///system", "destroy", "torn"])
    node.run(["virsh", "-c", "qemu:///system", "undefine", "torn"])
    node.run(["sh", "-c", "rm -f /var/lib/vmpanel/pool/volumes/* /var/lib/vmpanel/pool/seeds/*"])
    vm = f"vms/{answer.json()['vm']}"
    wait_until(lambda: api.get(vm).json()["status"] == "missing", "it is missing", 5.0)

    done(api, api.delete(vm))
    assert remains(node) == NOTHING


def test_a_debian_guest_gets_its_name_key_disk_and_shuts_down(
    cluster: list[Node], api: httpx.Client, key: tuple[str, str]
) -> None:
    node = cluster[1]
    raw = {"name": "deb", "image": "debian-12", "memory_mib": 1024, "vcpus": 2, "disk_gib": 5, "node": node.name}
    login = api.get("images", params={"name": "debian-12"}).json()["results"][0]["login"]
    answer = api.post("vms", json={**raw, "ssh_keys": [key[1]], "password": "correct horse"})
    created = answer.json()
    done(api, answer, 400)

    def inside(*command: str) -> str:
        return ssh(node, key[0], login, created["address"], *command)

    def login_works() -> bool:
        # sshd may answer a moment before cloud-init has made the account.
        try:
            return inside("true") == ""
        except LabError:
            return False

    wait_until(login_works, "one can sign in", 60)
    inside("cloud-init", "status", "--wait")
    assert inside("hostname") == "deb"
    sectors = json.loads(inside("lsblk", "-J", "-b", "-o", "NAME,SIZE,MOUNTPOINT"))
    root = sectors["blockdevices"][-1]["children"][0]
    assert int(root["size"]) > 4.5 * 1024**3
    task = done(api, api.post(f"vms/{created['vm']}/stop", json={"timeout_seconds": 90}))
    assert task["result"] == {"forced": False}
    done(api, api.delete(f"vms/{created['vm']}"))
    assert remains(node) == NOTHING


def test_a_node_with_vms_is_not_removed_and_an_empty_one_leaves_its_host_clean(
    lab: Lab, cluster: list[Node], api: httpx.Client
) -> None:
    node = lab.add_node()
    raw = {"name": node.name, "address": node.address, "password": node.root_password, "virtualization": "qemu"}
    keys_before = node.run(["cat", "/root/.ssh/authorized_keys"]).stdout
    added = api.post("nodes", json=raw)
    done(api, added)
    vm = api.post("vms", json={"name": "guest", "image": "tiny", "flavor": "tiny", "node": node.name})
    done(api, vm)
    path = f"nodes/{added.json()['node']}"

    refused = api.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")

    done(api, api.delete(f"vms/{vm.json()['vm']}"))
    done(api, api.delete(path))
    assert api.get(path).status_code == 404
    assert node.run(["cat", "/root/.ssh/authorized_keys"]).stdout == keys_before
    for gone in ("/usr/lib/vmpanel", "/etc/vmpanel", "/var/lib/vmpanel", "/run/vmpanel"):
        assert node.run(["ls", gone], check=False).returncode != 0, node.run(["find", gone]).stdout
    assert "vmbr" not in node.run(["ip", "link"]).stdout
    assert "vmpanel" not in node.run(["nft", "list", "tables"]).stdout
    assert node.pids("libvirtd") == []
