"""Which node takes a VM, and what is said of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from panel.cluster.models import Cluster, Node, NodeState
from panel.cluster.placement import Candidate, Need, StorageSpace, choose, explain, lacks
from panel.core.errors import CapacityError
from panel.core.wording import Text, read_in

GIB = 1024**3
NEED = Need(memory_mib=1024, disk_bytes=GIB, vcpus=2)
LARGE = replace(NEED, promised_bytes=2 * GIB)


def space(**changes: Any) -> StorageSpace:
    """A storage of 200 GiB of which half is free."""
    return replace(StorageSpace(200 * GIB, 100 * GIB), **changes)


def candidate(name: str = "one", pk: int = 1, **changes: Any) -> Candidate:
    """A node of 8 GiB and 4 CPUs with half its memory promised."""
    policies = {each: changes.pop(each) for each in ("memory_percent", "cpu_percent") if each in changes}
    cluster = Cluster(
        memory_overselling_percent=policies.get("memory_percent", 100),
        cpu_overselling_percent=policies.get("cpu_percent"),
    )
    of_node = {each: changes.pop(each) for each in ("state", "maintenance", "max_vms") if each in changes}
    facts = {"memory_mib": 8192, "cpu_count": 4, **changes.pop("facts", {})}
    node = Node(pk=pk, name=name, cluster=cluster, facts=facts, **{"state": NodeState.READY, **of_node})
    values: dict[str, Any] = {"promised_mib": 4096, "storage": space(), "promised_vcpus": 4, "vm_count": 4}
    return Candidate(node, **{**values, **changes})


def said(candidate: Candidate, need: Need) -> str:
    """What the candidate lacks, in English; empty when it can take the VM."""
    reason = lacks(candidate, need)
    return reason.english if reason else ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"state": NodeState.UNREACHABLE}, "the node is unreachable"),
        ({"maintenance": True}, "the node is in maintenance"),
        ({"problems": [Text("It burns.")]}, "the node has an open problem: It burns."),
        ({"unfit": Text("it is pink")}, "it is pink"),
        ({"facts": {"libvirt": "off"}}, "libvirt does not run on the node"),
        # An answer that is missing says nothing.
        ({"facts": {"libvirt": "answers", "libvirt_version": None, "qemu_version": None}}, ""),
        ({"facts": {"libvirt": "silent"}}, ""),
        ({"facts": {"libvirt_version": None}}, ""),
        ({"max_vms": 4}, "it has 4 VMs, 4 are allowed"),
        ({"max_vms": 5}, ""),
        ({"promised_mib": 7500}, "692 MiB of memory free, 1024 MiB needed"),
        ({"promised_mib": 7500, "memory_percent": 200}, ""),
        ({"memory_percent": 50}, "0 MiB of memory free, 1024 MiB needed"),
        ({"cpu_percent": 100}, "0 CPUs may still be promised, 2 needed"),
        ({"cpu_percent": 150}, ""),
        ({"storage": None}, "the storage is not on this node"),
        ({"storage": space(free_bytes=5 << 20)}, "5 MiB of storage free, 1024 MiB needed"),
        ({"storage": space(fault="not mounted")}, "the storage is not mounted"),
    ],
)
def test_what_a_node_lacks_is_said(changes: dict[str, Any], reason: str) -> None:
    assert said(candidate(**changes), NEED) == reason


@pytest.mark.parametrize(
    ("changes", "percent", "reason"),
    [
        ({"promised_bytes": 198 * GIB}, 100, ""),
        ({"promised_bytes": 199 * GIB}, 100, "1 GiB of storage may still be promised to disks, 2 GiB needed"),
        ({"promised_bytes": 900 * GIB}, 100, "0 GiB of storage may still be promised to disks, 2 GiB needed"),
        ({"promised_bytes": 298 * GIB}, 150, ""),
        ({"promised_bytes": 299 * GIB}, 150, "1 GiB of storage may still be promised to disks, 2 GiB needed"),
        ({"free_bytes": GIB}, 100, "1024 MiB of storage free, 2048 MiB needed"),
        ({"free_bytes": GIB}, 150, ""),
        ({"free_bytes": GIB >> 1}, 150, "512 MiB of storage free, 1024 MiB needed"),
    ],
)
def test_disks_are_promised_what_the_overselling_allows_and_what_is_written_at_once_is_free(
    changes: dict[str, Any], percent: int, reason: str
) -> None:
    found = said(candidate(storage=space(**changes, percent=percent)), LARGE)
    assert found.partition(" (")[0] == reason


def test_more_cpus_than_the_node_has_are_never_promised_to_one_vm() -> None:
    assert said(candidate(cpu_percent=500), Need(64, 0, 5)) == "4 CPUs, 5 needed"


def test_most_free_memory_wins_and_everything_is_explained() -> None:
    nodes = [candidate("one"), candidate("two", 2, promised_mib=1024), candidate("three", 3, maintenance=True)]
    choice = choose(nodes, NEED)
    assert choice.node.name == "two"
    told = explain(json.loads(json.dumps(choice.told)))
    assert told.english == "one: 4.1 points; two: 7.1 points; three: the node is in maintenance"
    with read_in("ru"):
        assert told.shown(nodes=True) == "one: баллов — 4.1; two: баллов — 7.1; three: узел на обслуживании"
    assert told.shown(nodes=False).count("a node") == 3
    # A task of the release before has the reason in English.
    assert explain([{"node": "three", "reason": "it is pink"}]).english == "three: it is pink"


def test_cpus_decide_between_equal_memory_and_the_older_node_between_equals() -> None:
    assert choose([candidate("one"), candidate("two", 2, promised_vcpus=1)], NEED).node.name == "two"
    assert choose([candidate("two", 2), candidate("one", 1)], NEED).node.name == "one"


def test_no_node_at_all_names_each_with_its_reason() -> None:
    with pytest.raises(CapacityError, match="one: the node is in maintenance") as caught:
        choose([candidate(maintenance=True)], NEED)
    assert caught.value.data["candidates"] == {"one": "the node is in maintenance"}
