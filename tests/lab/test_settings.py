"""Settings of VMs on a real host: what changes while it runs, what at the next start, what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.stack import done, task_of, wait_for_task

VIRSH = ["virsh", "-c", "qemu:///system"]
NVRAM = "/var/lib/libvirt/qemu/nvram"


@pytest.fixture(scope="module")
def host(cluster: list[Node]) -> Iterator[Node]:
    """A node whose kernel lets libvirt weigh and limit, as one with systemd does."""
    node = cluster[0]
    for name in ("cpu", "blkio"):
        node.run(["mkdir", "-p", f"/run/cgroup/{name}"])
        node.run(["mount", "-t", "cgroup", "-o", name, name, f"/run/cgroup/{name}"])
    yield node
    for name in ("cpu", "blkio"):
        node.run(["umount", f"/run/cgroup/{name}"])


@pytest.fixture(scope="module")
def vm(host: Node, api: httpx.Client) -> Iterator[str]:
    """The path of a running VM with one CPU."""
    raw = {"name": "settings", "image": "tiny", "memory_mib": 128, "vcpus": 1, "disk_gib": 1, "node": host.name}
    answer = api.post("vms", json=raw)
    done(api, answer)
    path = f"vms/{answer.json()['vm']}"
    yield path
    done(api, api.delete(path))
    assert remains(host) == NOTHING
    assert host.run(["ls", NVRAM]).stdout == ""


def configure(api: httpx.Client, vm: str, **values: Any) -> dict[str, Any]:
    """Change settings; answers the task, which ended well."""
    return done(api, api.post(f"{vm}/configure", json=values))


def pending(api: httpx.Client, vm: str) -> list[str]:
    """The fields that wait for the next start, as the VM shows them."""
    return [each["field"] for each in api.get(vm).json()["pending"]]


def virsh(host: Node, *words: str) -> str:
    """What virsh says."""
    return host.run([*VIRSH, *words]).stdout


def restart(api: httpx.Client, vm: str) -> None:
    """Off and on again."""
    done(api, api.post(f"{vm}/force-off", json={}))
    done(api, api.post(f"{vm}/start", json={}))


def test_sizes_wait_for_the_next_start_and_change_at_once_afterwards(host: Node, api: httpx.Client, vm: str) -> None:
    configure(api, vm, max_vcpus=2, max_memory_mib=192)
    assert pending(api, vm) == ["max_memory_mib", "max_vcpus"]
    restart(api, vm)
    assert pending(api, vm) == []

    configure(api, vm, vcpus=2, memory_mib=192)
    assert pending(api, vm) == []
    assert re.search(r"current +live +2$", virsh(host, "vcpucount", "settings"), re.MULTILINE)
    assert re.search(r"current +config +2$", virsh(host, "vcpucount", "settings"), re.MULTILINE)


def test_weights_and_limits_change_at_once_and_stay(host: Node, api: httpx.Client, vm: str) -> None:
    task = configure(api, vm, cpu_weight=512, cpu_limit_percent=60, io_weight=300, title="The shop", description="Ours")
    assert pending(api, vm) == [], task
    for where in ("--live", "--config"):
        said = virsh(host, "schedinfo", "settings", where)
        assert re.search(r"cpu_shares +: 512$", said, re.MULTILINE)
        assert re.search(r"global_quota +: 60000$", said, re.MULTILINE)
        assert re.search(r"weight +: 300$", virsh(host, "blkiotune", "settings", where), re.MULTILINE)
        assert virsh(host, "desc", "settings", "--title", where).strip() == "The shop"
    assert "/cpu.cfs_quota_us" in host.run(["find", "/run/cgroup/cpu/machine", "-name", "cpu.cfs_quota_us"]).stdout

    configure(api, vm, cpu_weight=0, cpu_limit_percent=0)
    assert pending(api, vm) == []
    assert re.search(r"global_quota +: -1$", virsh(host, "schedinfo", "settings", "--live"), re.MULTILINE)
    configure(api, vm, io_weight=0)
    restart(api, vm)
    assert pending(api, vm) == []


def test_the_machine_is_built_anew_and_back(host: Node, api: httpx.Client, vm: str) -> None:
    configure(
        api, vm, machine="pc", clock="localtime", cpu_mode="custom", cpu_model="qemu64", boot_order=["cdrom", "disk"]
    )
    assert pending(api, vm) == ["cpu_mode", "cpu_model", "boot", "machine", "clock"]
    restart(api, vm)
    assert pending(api, vm) == []
    running = virsh(host, "dumpxml", "settings")
    assert "pc-i440fx" in running and "offset='localtime'" in running and "qemu64" in running
    configure(api, vm, machine="q35", clock="utc", cpu_mode="", boot_order=["disk"])
    restart(api, vm)
    assert "pc-q35" in virsh(host, "dumpxml", "settings")
    assert api.get(vm).json()["status"] == "running"


def test_uefi_starts_and_remembers_until_the_vm_is_deleted(host: Node, api: httpx.Client, vm: str) -> None:
    uuid = api.get(vm).json()["uuid"]
    memory = f"{NVRAM}/{uuid}_VARS.fd"
    configure(api, vm, firmware="uefi")
    assert pending(api, vm) == ["firmware"]
    restart(api, vm)
    assert pending(api, vm) == []
    assert "OVMF" in virsh(host, "dumpxml", "settings")
    host.run(["test", "-s", memory])
    configure(api, vm, firmware="bios")
    restart(api, vm)
    assert "OVMF" not in virsh(host, "dumpxml", "settings")
    # Whoever comes back to UEFI finds what it remembered.
    host.run(["test", "-s", memory])


def test_what_the_node_cannot_do_is_refused_and_everything_is_as_before(host: Node, api: httpx.Client, vm: str) -> None:
    before, described = api.get(vm).json(), virsh(host, "dumpxml", "settings", "--inactive")
    answer = api.post(f"{vm}/configure", json={"vcpus": 1, "cpu_mode": "custom", "cpu_model": "nonsense"})
    task = wait_for_task(api, task_of(answer))
    assert (task["status"], task["error"]["agent_code"]) == ("failed", "invalid_params")
    after = api.get(vm).json()
    assert {name: after[name] for name in ("vcpus", "cpu_mode", "pending")} == {
        name: before[name] for name in ("vcpus", "cpu_mode", "pending")
    }
    assert virsh(host, "dumpxml", "settings", "--inactive") == described


def test_limits_are_refused_where_nothing_can_honour_them(cluster: list[Node], api: httpx.Client) -> None:
    answer = api.post("vms", json={"name": "nolimit", "image": "tiny", "flavor": "tiny", "node": cluster[1].name})
    done(api, answer)
    path = f"vms/{answer.json()['vm']}"
    task = wait_for_task(api, task_of(api.post(f"{path}/configure", json={"cpu_weight": 100})))
    assert (task["status"], task["error"]["agent_code"]) == ("failed", "invalid_params")
    assert api.get(path).json()["cpu_weight"] == 0
    restart(api, path)
    done(api, api.delete(path))
