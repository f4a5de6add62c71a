"""What somebody does to domains with virsh is found, and repaired or adopted; strangers are listed. On a real host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.stack import done

VIRSH = ["virsh", "-c", "qemu:///system"]
STRANGER = """<domain type='qemu'><name>stranger</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/old.img'/>
<target dev='vda' bus='virtio'/></disk></devices></domain>"""


@pytest.fixture(scope="module")
def host(cluster: list[Node]) -> Node:
    """The node."""
    return cluster[0]


@pytest.fixture(scope="module")
def vm(host: Node, api: httpx.Client) -> Iterator[str]:
    """The path of a running VM."""
    answer = api.post("vms", json={"name": "drift", "image": "tiny", "flavor": "tiny", "node": host.name})
    done(api, answer)
    path = f"vms/{answer.json()['vm']}"
    yield path
    done(api, api.delete(path))
    assert remains(host) == NOTHING


def virsh(host: Node, *words: str) -> str:
    """What virsh says."""
    return host.run([*VIRSH, *words]).stdout


def check(host: Node, api: httpx.Client) -> str:
    """Have the node checked; answers its path."""
    path = f"nodes/{api.get('nodes', params={'name': host.name}).json()['results'][0]['id']}"
    task = done(api, api.post(f"{path}/check", json={}))
    assert task["result"]["reachable"], task
    return path


def drift(host: Node, api: httpx.Client, vm: str) -> dict[str, tuple[Any, Any]]:
    """What the VM differs in after a comparison: on the node, in the panel."""
    check(host, api)
    shown = api.get(f"{vm}/drift").json()
    return {each["field"]: (each["node"], each["stored"]) for each in shown["differences"]}


def edit(host: Node, *words: str) -> None:
    """Change the kept description as `virsh edit` does, with a sed expression."""
    text = virsh(host, "dumpxml", "--inactive", "--security-info", "drift")
    changed = host.run(["sed", *words], input=text).stdout
    assert changed != text
    define(host, changed)


def define(host: Node, text: str) -> None:
    """Define a domain from its description."""
    host.run(["sh", "-c", "cat > /run/domain.xml && virsh -c qemu:///system define /run/domain.xml"], input=text)


def test_a_new_vm_has_no_drift_running_or_off_or_with_other_settings(host: Node, api: httpx.Client, vm: str) -> None:
    assert drift(host, api, vm) == {}
    assert api.get(vm).json()["pending"] == []
    done(api, api.post(f"{vm}/force-off", json={}))
    assert drift(host, api, vm) == {}
    other = {
        "machine": "pc",
        "firmware": "uefi",
        "clock": "localtime",
        "cpu_mode": "custom",
        "cpu_model": "qemu64",
        "boot_order": ["network", "cdrom", "disk"],
        "max_vcpus": 2,
        "title": "<Title> & more",
        "description": "Line one\n  line two",
    }
    done(api, api.post(f"{vm}/configure", json=other))
    assert drift(host, api, vm) == {}
    done(api, api.post(f"{vm}/start", json={}))
    assert drift(host, api, vm) == {}
    assert api.get(vm).json()["pending"] == []
    usual = {"machine": "q35", "firmware": "bios", "clock": "utc", "cpu_mode": "", "boot_order": ["disk"]}
    done(api, api.post(f"{vm}/configure", json={**usual, "max_vcpus": 0, "title": "", "description": ""}))
    done(api, api.post(f"{vm}/force-off", json={}))
    done(api, api.post(f"{vm}/start", json={}))
    assert drift(host, api, vm) == {}


def test_limits_that_virsh_took_away_are_found(host: Node, api: httpx.Client, vm: str) -> None:
    limited = "read_bytes_sec 10485760, write_iops_sec 500"
    change = {"disk": "vda", "read_bytes_sec": 10485760, "write_iops_sec": 500}
    done(api, api.post(f"{vm}/change-disk", json=change))
    assert drift(host, api, vm) == {}
    assert api.get(vm).json()["pending"] == []
    without = ("blkdeviotune", "drift", "vda", "--read-bytes-sec", "0", "--write-iops-sec", "0")
    virsh(host, *without, "--live")
    assert drift(host, api, vm) == {}
    assert api.get(vm).json()["pending"] == [{"field": "disk vda limits", "now": None, "then": limited}]
    virsh(host, *without, "--config")
    assert drift(host, api, vm) == {"disk vda limits": (None, limited)}
    done(api, api.post(f"{vm}/repair", json={}))
    done(api, api.post(f"{vm}/change-disk", json={"disk": "vda", "read_bytes_sec": 0, "write_iops_sec": 0}))
    assert drift(host, api, vm) == {}
    assert api.get(vm).json()["pending"] == []


def test_what_virsh_changed_is_found_and_repaired(host: Node, api: httpx.Client, vm: str) -> None:
    virsh(host, "setvcpus", "drift", "2", "--config", "--maximum")
    virsh(host, "setvcpus", "drift", "2", "--config")
    virsh(host, "detach-disk", "drift", "vda", "--config")
    edit(host, "s/offset='utc'/offset='localtime'/")
    found = drift(host, api, vm)
    assert found.pop("disk vda")[0] is None
    assert found == {"vcpus": (2, 1), "max_vcpus": (2, 1), "clock": ("localtime", "utc")}
    assert [each["field"] for each in api.get(vm).json()["pending"]] == ["vcpus", "max_vcpus", "clock", "disk vda"]
    assert api.get(vm).json()["drifted"] is True

    done(api, api.post(f"{vm}/repair", json={}))
    assert api.get(vm).json()["status"] == "running"
    assert drift(host, api, vm) == {}
    assert api.get(vm).json()["pending"] == []
    described = virsh(host, "dumpxml", "--inactive", "--security-info", "drift")
    assert "vda" in described and "offset='utc'" in described and "passwdValidTo='1970-01-01T00:00:01'" in described
    done(api, api.post(f"{vm}/force-off", json={}))
    done(api, api.post(f"{vm}/start", json={}))


def test_what_virsh_changed_is_adopted(host: Node, api: httpx.Client, vm: str) -> None:
    virsh(host, "setvcpus", "drift", "2", "--config", "--maximum")
    virsh(host, "setvcpus", "drift", "2", "--config")
    virsh(host, "desc", "drift", "--config", "--title", "By hand")
    edit(host, "s/offset='utc'/offset='localtime'/")
    assert set(drift(host, api, vm)) == {"max_vcpus", "vcpus", "clock", "title"}
    task = done(api, api.post(f"{vm}/adopt", json={}))
    assert task["result"]["left"] == []
    shown = api.get(vm).json()
    assert (shown["clock"], shown["title"], shown["drifted"]) == ("localtime", "By hand", False)
    assert (shown["vcpus"], shown["max_vcpus"]) == (2, 0)
    assert drift(host, api, vm) == {}


def test_a_domain_that_was_undefined_is_made_again(host: Node, api: httpx.Client, vm: str) -> None:
    done(api, api.post(f"{vm}/force-off", json={}))
    virsh(host, "undefine", "drift")
    done(api, api.post(f"{vm}/repair", json={}))
    assert api.get(vm).json()["status"] == "shut off"
    done(api, api.post(f"{vm}/start", json={}))
    assert drift(host, api, vm) == {}


def test_a_domain_that_was_renamed_gets_its_name_back(host: Node, api: httpx.Client, vm: str) -> None:
    done(api, api.post(f"{vm}/force-off", json={}))
    virsh(host, "domrename", "drift", "mine")
    assert drift(host, api, vm) == {"name": ("mine", "drift")}
    done(api, api.post(f"{vm}/repair", json={}))
    assert drift(host, api, vm) == {}
    assert virsh(host, "list", "--all", "--name").split() == ["drift"]


def test_a_stranger_is_listed_until_it_is_gone(host: Node, api: httpx.Client, vm: str) -> None:
    define(host, STRANGER)
    try:
        node = check(host, api)
        (found,) = api.get(f"{node}/foreign").json()
    finally:
        virsh(host, "undefine", "stranger")
    assert (found["name"], found["status"], found["memory_mib"], found["vcpus"]) == ("stranger", "shut off", 64, 1)
    assert found["disks"] == ["/srv/old.img"]
    check(host, api)
    assert api.get(f"{node}/foreign").json() == []
