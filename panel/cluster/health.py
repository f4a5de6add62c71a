"""What the facts of a node tell about its health: pure rules over figures, nothing is read or written.

node.check asks here for the clock, the disk and the operating system; what else is on a node, its parts tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodeagent.protocol.node import ANSWERS
from panel.cluster.parts import Complaint
from panel.core.wording import Text
from panel.notices.models import Severity

CLOCK_WARNING_SECONDS = 5.0
CLOCK_ERROR_SECONDS = 60.0
"""Half of the difference at which messages of vmwatch are refused (vmwatch.wire.CLOCK_WINDOW_SECONDS)."""
SLOW_LIBVIRT_SECONDS = 10.0
LOW_ROOT_BYTES = 5 * 1024**3
LOW_ROOT_SHARE = 0.10
"""Both must be undercut: a tenth of a large disk is plenty, and some systems live on less than 5 GiB."""

SLOW = (
    "It is slow: its libvirt took {seconds:.0f} s to say what its QEMU can. VMs start there, only later than elsewhere."
)
SILENT = "It is slow: its libvirt has not said yet what its QEMU can. VMs start there, only later than elsewhere."
UNLIKE = "It runs {system}, and “{other_node}” runs {other}: all nodes of a cluster should have the same system."


def clock_difference(asked_at: float, answered_at: float, node_time: float) -> float:
    """How many seconds the node's clock is ahead of ours (below 0: behind), as far as that is certain.

    The node looked at its clock somewhere between question and answer, all by seconds since 1970: the
    middle is the best guess, wrong by half of the round trip at most. That much is not held against it.
    """
    guess = node_time - (asked_at + answered_at) / 2
    doubt = max(0.0, answered_at - asked_at) / 2
    return max(0.0, guess - doubt) or min(0.0, guess + doubt)


def clock_complaints(difference: float) -> list[Complaint]:
    """What is to be said of a clock that differs from ours by so many seconds."""
    seconds = abs(difference)
    if seconds < CLOCK_WARNING_SECONDS:
        return []
    text = "Its clock is {seconds:.0f} s behind the panel's: have both follow a time server."
    if difference > 0:
        text = "Its clock is {seconds:.0f} s ahead of the panel's: have both follow a time server."
    return [
        Complaint(
            Text(text, {"seconds": seconds}), Severity.ERROR if seconds >= CLOCK_ERROR_SECONDS else Severity.WARNING
        )
    ]


def disk_complaints(facts: Mapping[str, Any]) -> list[Complaint]:
    """What is to be said of the free space in the node's root file system."""
    for each in facts.get("file_systems", []):
        low = each["free_bytes"] < min(LOW_ROOT_BYTES, LOW_ROOT_SHARE * each["size_bytes"])
        if each["path"] == "/" and low:
            sizes = {"free": each["free_bytes"] >> 20, "size": each["size_bytes"] >> 20}
            return [Complaint(Text("Its root file system has only {free} MiB of {size} MiB free.", sizes))]
    return []


def libvirt_complaints(facts: Mapping[str, Any]) -> list[Complaint]:
    """What is to be said of a libvirt that answers, and is slow to say what its QEMU can, or lacks KVM."""
    if facts.get("kvm"):
        return [Complaint(str(facts["kvm"]))]
    if facts.get("libvirt") != ANSWERS:
        return []
    seconds = facts.get("libvirt_seconds")
    if seconds is not None and seconds < SLOW_LIBVIRT_SECONDS:
        return []
    return [Complaint(Text(SILENT) if seconds is None else Text(SLOW, {"seconds": seconds}))]


def system_complaints(facts: Mapping[str, Any], first: Mapping[str, Any], first_name: str) -> list[Complaint]:
    """A hint where the node runs another system or major version than the cluster's first node.

    The reference wants all nodes of a cluster to have the same operating system.
    """
    if not facts.get("os_id") or not first.get("os_id") or _system(facts) == _system(first):
        return []
    data = {"system": facts.get("os_name"), "other_node": first_name, "other": first.get("os_name")}
    return [Complaint(Text(UNLIKE, data), Severity.INFO)]


def _system(facts: Mapping[str, Any]) -> tuple[str, str]:
    return facts["os_id"], str(facts.get("os_version", "")).partition(".")[0]
