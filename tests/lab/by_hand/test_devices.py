"""What people do to a VM's devices with virsh stays, or is named; nothing that was written is lost. On a real host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.stack import done, task_of, wait_for_task

VIRSH = ("virsh", "-q", "-c", "qemu:///system")
VOLUMES = "/var/lib/vmpanel/pool/volumes"
OTHER = """<domain type='qemu'><name>other</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='qcow2'/><source file='{}'/><target dev='vda' bus='virtio'/></disk></devices></domain>"""


class Hands:
    """A running VM, and somebody with a shell on its node."""

    def __init__(self, api: httpx.Client, node: Node, vm_id: int) -> None:
        self.api, self.node, self.id, self.path = api, node, vm_id, f"vms/{vm_id}"

    def virsh(self, *words: str) -> str:
        """What virsh prints."""
        return self.node.run([*VIRSH, *words]).stdout

    def do(self, verb: str, **raw: Any) -> dict[str, Any]:
        """The operation, which ends well."""
        return dict(done(self.api, self.api.post(f"{self.path}/{verb}", json=raw))["result"] or {})

    def refused(self, verb: str, **raw: Any) -> dict[str, Any]:
        """The error of an operation that is refused, at once or when its turn comes."""
        answer = self.api.post(f"{self.path}/{verb}", json=raw)
        if answer.status_code == 202:
            task = wait_for_task(self.api, task_of(answer))
            assert task["status"] == "failed", task
            return dict(task["error"])
        assert answer.status_code == 409, answer.text
        return {"message": answer.json()["detail"], **answer.json()}

    def disks(self, *where: str) -> dict[str, str]:
        """The files of the domain's disks, by their names."""
        rows = [row.split(maxsplit=1) for row in self.virsh("domblklist", "hands", *where).splitlines()]
        return {name: path.strip() for name, path in rows if name.startswith("vd")}

    def files(self) -> list[str]:
        """The files of volumes."""
        return sorted(self.node.run(["ls", VOLUMES]).stdout.split())

    def check(self) -> None:
        """The node is compared with the panel."""
        node_id = self.api.get("nodes", params={"name": self.node.name}).json()["results"][0]["id"]
        done(self.api, self.api.post(f"nodes/{node_id}/check", json={}))


@pytest.fixture(scope="module")
def hands(cluster: list[Node], api: httpx.Client) -> Iterator[Hands]:
    """A VM for all of these; nothing of it is left when it is deleted, overlays neither."""
    node = cluster[0]
    answer = api.post("vms", json={"name": "hands", "image": "tiny", "flavor": "tiny", "node": node.name})
    done(api, answer)
    hands = Hands(api, node, answer.json()["vm"])
    yield hands
    done(api, api.delete(hands.path))
    assert remains(node) == NOTHING


def test_an_overlay_and_a_disk_and_pinning_outlast_what_devices_come_and_go(hands: Hands) -> None:
    base = hands.disks()["vda"]
    hands.virsh("snapshot-create-as", "hands", "before", "--disk-only", "--no-metadata", "--diskspec", "vda")
    hands.virsh("vcpupin", "hands", "0", "0", "--config")
    hands.node.run(["qemu-img", "create", "-q", "-f", "qcow2", "/srv/mine.qcow2", "16M"])
    hands.virsh("attach-disk", "hands", "/srv/mine.qcow2", "vdx", "--subdriver", "qcow2", "--config", "--live")
    overlay = hands.disks()["vda"]
    assert overlay != base and hands.disks("--inactive")["vda"] == overlay

    mac = hands.do("add-interface")["interface"]
    added = hands.do("add-disk", size_gib=1)["disk"]
    hands.do("configure", title="By hand")
    hands.do("change-disk", disk="vda", read_iops_sec=500)
    hands.do("remove-disk", disk=added)
    hands.do("remove-interface", interface=mac)
    for where in ((), ("--inactive",)):
        assert hands.disks(*where) == {"vda": overlay, "vdx": "/srv/mine.qcow2"}
    described = hands.virsh("dumpxml", "hands", "--inactive")
    assert "vcpupin" in described and "By hand" in described and mac not in described
    # What is on the node is what the next start has.
    done(hands.api, hands.api.post(f"{hands.path}/force-off", json={}))
    done(hands.api, hands.api.post(f"{hands.path}/start", json={}))
    assert hands.disks()["vda"] == overlay


@pytest.mark.parametrize("known", [False, True])
def test_what_would_lose_what_the_overlay_has_is_refused_with_the_ways_out(hands: Hands, known: bool) -> None:
    before = (hands.disks(), hands.disks("--inactive"), hands.files())
    if known:
        hands.check()
    asked: dict[str, dict[str, Any]] = {
        "change-disk": {"disk": "vda", "cache": "writeback"},
        "grow-disk": {"disk": "vda", "size_gib": 9},
        "clone": {"name": "copy"},
        "reinstall": {},
        "migrate": {},
        "repair": {},
    }
    for verb, raw in asked.items():
        error = hands.refused(verb, **raw)
        assert error["code"] == "drifted", error
        assert before[0]["vda"] in error["message"] and "virsh blockcommit hands vda" in error["message"]
    assert (hands.disks(), hands.disks("--inactive"), hands.files()) == before


def test_after_the_way_out_it_is_as_ever(hands: Hands) -> None:
    overlay = hands.disks()["vda"]
    hands.virsh("blockcommit", "hands", "vda", "--active", "--pivot", "--wait")
    hands.node.run(["rm", overlay])
    hands.virsh("detach-disk", "hands", "vdx", "--config", "--live")
    hands.check()
    hands.do("grow-disk", disk="vda", size_gib=2)
    assert hands.api.get(f"{hands.path}/drift").json()["differences"] == []


def test_a_disk_that_another_domain_uses_is_not_deleted(hands: Hands) -> None:
    added = hands.do("add-disk", size_gib=1)["disk"]
    file = hands.disks()[added]
    hands.node.run(["sh", "-c", "cat > /run/other.xml"], input=OTHER.format(file))
    hands.virsh("define", "/run/other.xml")
    try:
        error = hands.refused("remove-disk", disk=added)
        assert (error["code"], "“other”" in error["message"]) == ("wrong_state", True)
        task = wait_for_task(hands.api, task_of(hands.api.delete(hands.path)))
        assert task["status"] == "failed" and "“other”" in task["error"]["message"]
        # Nothing was touched for it.
        assert hands.disks()[added] == file and hands.api.get(hands.path).json()["status"] == "running"
    finally:
        hands.virsh("undefine", "other")
    hands.do("remove-disk", disk=added)
    assert file.rsplit("/", 1)[1] not in hands.files()


def test_what_a_domain_has_belongs_to_something(hands: Hands) -> None:
    base = hands.disks()["vda"]
    hands.virsh("snapshot-create-as", "hands", "again", "--disk-only", "--no-metadata", "--diskspec", "vda")
    task = done(hands.api, hands.api.post("cluster/examine", json={}))
    found = json.dumps(task["result"])
    assert "file_foreign" not in found
    # The deletion of the VM takes the overlay too: the fixture looks.
    assert hands.disks()["vda"] != base
