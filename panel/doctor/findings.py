"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from panel.core.wording import Text, for_row


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is not as it should be: `code` names its kind, `object` what it is about ("vm 3").

    `text` says it in English, which two looks are compared by, `said` for its reader. `mend` is the operation that can
    put it right; empty where only a person can.
    """

    code: str
    object: str
    text: str
    node: str = ""
    mend: str = ""
    said: Text = field(default=Text(""), compare=False)

    def as_json(self) -> dict[str, Any]:
        """For a task's result: the sentence with what it is made of (Redaction.result)."""
        text, said = for_row(self.said)
        told = {"code": self.code, "object": self.object, "text": text, "node": self.node, "mend": self.mend}
        return told if said is None else {**told, "text_said": said}


def finding(code: str, about: str, said: Text, node: str = "", mend: str = "") -> Finding:
    """A finding of what is said."""
    return Finding(code, about, said.english, node, mend, said)


CODES = {
    "task_stuck": "a task could not undo what it did and waits for a person",
    "task_abandoned": "a task has no worker although its time has come",
    "memory_saved": "libvirt keeps the memory of a VM that is off",
    "lock_left": "a lock of a task that has ended",
    "secret_left": "a secret of a task that has ended",
    "address_left": "an address that no interface has",
    "volume_left": "a volume that no VM uses",
    "volume_elsewhere": "a VM's disk is on another node than the VM",
    "vm_half_made": "a VM that was never finished, and no task is at it",
    "usage_differs": "a VM that the ledger of usage has otherwise than it is",
    "node_silent": "a node that could not be examined",
    "domain_missing": "a VM without its domain",
    "domain_undefined": "a VM that runs without being defined",
    "domain_differs": "a VM that is described otherwise on its node, by the last comparison",
    "domain_foreign": "a domain that no VM has",
    "moved": "a VM that ran last on another node than its own",
    "domain_elsewhere": "a domain on another node than its VM",
    "domain_name": "a domain that bears another name than its VM",
    "domain_state": "a VM whose status is not its domain's state",
    "snapshot_missing": "a snapshot that is not on its VM's node",
    "snapshot_unmanaged": "a snapshot on a node that the panel did not take",
    "snapshot_left": "a snapshot whose deletion failed",
    "runs_twice": "a VM that runs on two nodes",
    "file_missing": "a volume or seed that is not on its node",
    "file_foreign": "a file in a pool that belongs to nothing, and that no domain has",
    "volume_size": "a volume of another size than its record says",
    "storage_unread": "a storage on a node whose files could not be looked at",
    "nvram_foreign": "what UEFI remembers of a VM that is not there",
    "bridge_missing": "a network without its bridge",
    "bridge_differs": "a bridge that is not as its network says",
    "bridge_foreign": "a bridge or its rules that belong to no network",
    "guard_missing": "a VM's port that is not filtered as it should be",
    "security_differs": "a VM's port that has other rules than its security groups say",
    "guard_foreign": "an anti-spoofing filter of a port that no VM has",
}
"""Every kind of finding, for people."""
