"""Snapshots and what people do to them with virsh: what is shown and refused, and that nothing is blocked for ever."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.db.images.test_isos import MIB, iso_file
from tests.lab.guests import make_key
from tests.lab.hosts import Node
from tests.lab.test_power import Guest, flat
from tests.stack import Stack, done, task_of, wait_for_task, wait_until

NAME = "byhand"


@pytest.fixture(scope="module")
def vm(cluster: list[Node], api: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """The VM, for all tests of this file."""
    private, public = make_key(str(tmp_path_factory.mktemp("key")))
    raw = {"name": NAME, "image": "tiny", "flavor": "tiny", "node": cluster[0].name, "ssh_keys": [public]}
    answer = api.post("vms", json=raw)
    done(api, answer)
    yield Guest(cluster[0], api, private, answer.json())
    done(api, api.delete(f"vms/{answer.json()['vm']}?queue=1"))


@pytest.fixture(scope="module")
def iso(stack: Stack) -> str:
    """An ISO image that can be mounted."""
    file = stack.layout.images / "byhand.iso"
    file.write_bytes(iso_file(MIB))
    stack.manage("iso_register", str(file), "--title", "By hand")
    return "byhand"


def checked(vm: Guest) -> dict[str, str]:
    """The VM's snapshots and their states, by the panel after a check of the node."""
    [node] = [each["id"] for each in vm.api.get("nodes").json()["results"] if each["name"] == vm.node.name]
    done(vm.api, vm.api.post(f"nodes/{node}/check", json={}))
    return {each["name"]: each["state"] for each in flat(vm.api.get(f"{vm.path}/snapshots").json())}


def told(vm: Guest) -> str:
    """The open problems of the VM."""
    number = int(vm.path.partition("/")[2])
    found = vm.api.get("problems").json()["results"]
    return " ".join(each["text"] for each in found if (each["object_type"], each["object_id"]) == ("vm", number))


def test_a_snapshot_is_deleted_whatever_was_mounted_after_it(vm: Guest, iso: str) -> None:
    made = vm.do("snapshot", name="before")["result"]["snapshot"]
    vm.do("mount-iso", iso=iso)
    vm.do("delete-snapshot", snapshot=made)
    assert vm.virsh("snapshot-list", NAME, "--name") == ""
    vm.do("eject-iso")


def test_what_virsh_took_is_told_adopted_and_deleted_and_what_it_deleted_is_missing(vm: Guest) -> None:
    vm.virsh("snapshot-create-as", NAME, "by_hand")
    assert checked(vm) == {}
    assert "“by_hand” (internal" in told(vm)
    refused = vm.ask("add-disk", size_gib=1).json()
    assert refused["code"] == "wrong_state" and "by_hand" in refused["detail"]
    made = vm.do("adopt-snapshot", name="by_hand")["result"]["snapshot"]
    assert checked(vm) == {"by_hand": "ready"} and told(vm) == ""

    vm.virsh("snapshot-delete", NAME, "by_hand")
    assert checked(vm) == {"by_hand": "missing"}
    assert "“by_hand” is not on its node any more" in told(vm)
    vm.do("forget-snapshot", snapshot=made)
    assert told(vm) == ""


def test_an_overlay_is_told_and_nothing_goes_below_it(vm: Guest) -> None:
    vm.virsh("snapshot-create-as", NAME, "overlay", "--disk-only")
    checked(vm)
    assert "“overlay” (external" in told(vm) and "blockcommit" in told(vm)
    assert "blockcommit" in vm.ask("snapshot", name="more").json()["detail"]
    assert "blockcommit" in vm.ask("adopt-snapshot", name="overlay").json()["detail"]
    # The way out that the sentence names is one.
    vm.virsh("blockcommit", NAME, "vda", "--active", "--pivot", "--delete", "--wait")
    vm.virsh("snapshot-delete", NAME, "overlay", "--metadata")
    checked(vm)
    assert told(vm) == ""


PULL = "<domainbackup mode='pull'><server transport='unix' socket='/run/byhand.sock'/></domainbackup>"


def test_while_somebody_makes_a_backup_a_snapshot_is_refused_in_words_and_the_way_out_is_one(vm: Guest) -> None:
    vm.node.run(["tee", "/run/byhand.xml"], input=PULL)
    vm.virsh("backup-begin", NAME, "/run/byhand.xml")
    plan = f"{vm.path}/snapshot?plan=1"
    answer = vm.ask("snapshot", name="meanwhile")
    if answer.status_code == 202:
        task = wait_for_task(vm.api, task_of(answer))
        assert (task["status"], task["error"]["code"]) == ("failed", "wrong_state")
        assert f"virsh domjobabort {NAME}" in task["error"]["message"]
        # The next full report tells of it, and it is refused at the call.
        wait_until(lambda: vm.api.post(plan, json={"name": "meanwhile"}).status_code == 409, "it is known", 20)
        answer = vm.ask("snapshot", name="meanwhile")
    assert answer.status_code == 409 and f"virsh domjobabort {NAME}" in answer.text
    vm.virsh("domjobabort", NAME)
    # libvirt tells of its end at once.
    wait_until(lambda: vm.api.post(plan, json={"name": "meanwhile"}).status_code == 200, "its end is known", 5)
    made = vm.do("snapshot", name="afterwards")["result"]["snapshot"]
    vm.do("delete-snapshot", snapshot=made)
