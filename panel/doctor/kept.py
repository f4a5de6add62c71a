"""Whether a node has the snapshots that the database says, and no others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from panel.core.wording import Text
from panel.doctor.findings import Finding, finding
from panel.vms.models import SnapshotState, Vm


def snapshots(
    node: str, vms: Mapping[str, Vm], busy: Collection[str], seen: Mapping[str, Sequence[str]] | None
) -> Iterator[Finding]:
    """The snapshots of VMs (by UUID) that are not there, and those of nobody that are. `seen` None: nobody looked."""
    for uuid, vm in vms.items():
        if seen is None or uuid not in seen or uuid in busy:
            continue
        rows, about = {row.on_node: row for row in vm.snapshots.all()}, f"vm {vm.pk}"
        for name, row in rows.items():
            if name not in seen[uuid] and row.state in (SnapshotState.READY, SnapshotState.MISSING):
                text = Text("The snapshot “{snapshot}” of {vm} is not there.", {"snapshot": row.name, "vm": vm.name})
                yield finding("snapshot_missing", about, text, node, "vm.forget-snapshot")
        external = {each["name"] for each in vm.unmanaged_snapshots if each["external"]}
        for name in seen[uuid]:
            if name not in rows:
                data = {"snapshot": name, "vm": vm.name}
                text = Text("The panel did not take the snapshot “{snapshot}” of {vm}.", data)
                mend = "" if name in external else "vm.adopt-snapshot"
                yield finding("snapshot_unmanaged", about, text, node, mend)
