"""Whether a node has the snapshots that the database says, and no others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from panel.doctor.findings import Finding
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
                text = f"The snapshot “{row.name}” of {vm} is not there."
                yield Finding("snapshot_missing", about, text, node, "vm.forget-snapshot")
        external = {each["name"] for each in vm.unmanaged_snapshots if each["external"]}
        for name in seen[uuid]:
            if name not in rows:
                text = f"The panel did not take the snapshot “{name}” of {vm}."
                mend = "" if name in external else "vm.adopt-snapshot"
                yield Finding("snapshot_unmanaged", about, text, node, mend)
