"""vm.forget-snapshot, vm.adopt-snapshot: rows and libvirt's snapshots that have lost each other."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from pydantic import Field

from nodeagent.protocol import snapshot
from panel.accounts.models import User
from panel.core.errors import CommandFailed, InvalidValue, NotFound, WrongState
from panel.core.wording import Text
from panel.tasks.operation import Params, Step
from panel.vms.context import VmContext
from panel.vms.models import Snapshot, SnapshotState, Vm
from panel.vms.operations.snapshots import (
    SnapshotOperation,
    SnapshotParams,
    find_snapshot,
    forget_snapshot,
    make_current,
    refuse_one_more,
)
from panel.vms.snapshot_audit import record
from panel.vms.snapshot_words import AN_OVERLAY

ADOPTABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
"""Names that the agent takes (nodeagent/commands/snapshots.py)."""


class ForgetParams(SnapshotParams):
    """Which one, and whether it is forgotten although the node has it."""

    anyway: bool = Field(default=False, description="Also where the node still has it, or cannot be asked.")


class AdoptParams(Params):
    """Which of those that were taken by hand."""

    name: str = Field(min_length=1, max_length=64, description="What libvirt calls it.")


def look_for_it(ctx: VmContext[ForgetParams]) -> None:
    """The node does not have the snapshot, or it is forgotten all the same."""
    if ctx.params.anyway:
        return
    row = find_snapshot(ctx.vm, ctx.params.snapshot)
    try:
        seen = ctx.agent.call(snapshot.SnapshotsRead(uuid=str(ctx.vm.uuid))).snapshots
    except CommandFailed as error:
        if error.data.get("agent_code") != "no_such_domain":
            raise
        seen = []
    if row.on_node in {each.name for each in seen}:
        text = Text(
            "The VM's node still has the snapshot “{snapshot}”: delete it. With “anyway” it is forgotten, "
            "and stays there as one that the panel did not take.",
            {"snapshot": row.name},
        )
        raise WrongState(text, object="snapshot", id=row.pk, state="on its node", field="anyway")


class ForgetSnapshot(SnapshotOperation):
    """Forget a snapshot that the node does not have any more; nothing on the node is touched."""

    name = "vm.forget-snapshot"
    label = "Forget snapshot"
    params = ForgetParams
    placed = True
    dangerous = True
    warning = "The VM cannot go back to it."
    on_failure = "stop"
    cancellable = "queued"
    # No undo: looking changes nothing, and the row goes as a whole.
    steps = (
        Step(look_for_it, "Look whether the node has it"),
        Step(forget_snapshot, "Forget the snapshot"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse an unknown one."""
        find_snapshot(ctx.vm, ctx.params.snapshot)


def read_snapshot(ctx: VmContext[AdoptParams]) -> dict[str, Any]:
    """What the node says of the snapshot is in the task."""
    seen = ctx.agent.call(snapshot.SnapshotsRead(uuid=str(ctx.vm.uuid))).snapshots
    found = next((each for each in seen if each.name == ctx.params.name), None)
    if found is None:
        record(ctx.vm.pk, seen, held=True)
        raise NotFound(object="snapshot", id=ctx.params.name, field="name")
    _refuse_external(ctx.vm, found.name, external=found.external)
    return {
        "vm_status": found.state,
        "with_memory": found.with_memory,
        "created_at": found.created_at,
        "parent": found.parent or "",
        "current": found.current,
    }


def record_adopted(ctx: VmContext[AdoptParams]) -> dict[str, Any]:
    """The snapshot is one of the panel's; the VM's others stay as they are."""
    found, name = ctx.output(read_snapshot), ctx.params.name
    with transaction.atomic():
        vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
        # For the database “Before” is “before” too, and libvirt has both.
        row = next((each for each in vm.snapshots.all() if each.named_by_hand == name), None)
        if row is None:
            refuse_one_more(vm, name)
            known = {each.on_node: each for each in vm.snapshots.all()}
            row = Snapshot.objects.create(
                vm=vm,
                name=name,
                named_by_hand=name,
                state=SnapshotState.READY,
                parent=known.get(found["parent"]),
                vm_status=found["vm_status"],
                with_memory=found["with_memory"],
            )
            Snapshot.objects.filter(pk=row.pk).update(created_at=datetime.fromtimestamp(found["created_at"], UTC))
        if found["current"]:
            make_current(row)
    record(vm.pk, ctx.agent.call(snapshot.SnapshotsRead(uuid=str(vm.uuid))).snapshots, held=True)
    return {"result": {"snapshot": row.pk}}


def _refuse_external(vm: Vm, name: str, *, external: bool) -> None:
    if external:
        text = Text(
            "“{snapshot}” is an external snapshot, which cannot be adopted: {ways}.",
            {"snapshot": name, "ways": Text(AN_OVERLAY)},
        )
        raise WrongState(text, object="vm", id=vm.pk, state="with an overlay", field="name")


class AdoptSnapshot(SnapshotOperation):
    """Make an internal snapshot that was taken on the node by hand one of the panel's, under its name there."""

    name = "vm.adopt-snapshot"
    label = "Adopt snapshot"
    params = AdoptParams
    placed = True
    cancellable = "queued"
    # No undo: reading changes nothing, and what is recorded last is right.
    steps = (
        Step(read_snapshot, "Read the snapshot"),
        Step(record_adopted, "Take it over"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse external ones, names that the agent cannot take, and more than the limit."""
        name = ctx.params.name
        for each in ctx.vm.unmanaged_snapshots:
            if each["name"] == name:
                _refuse_external(ctx.vm, name, external=each["external"])
        if not ADOPTABLE.match(name):
            text = "Only a name of letters, digits, “_”, “.” and “-” can be adopted: rename it (virsh snapshot-edit)."
            raise InvalidValue(text, field="name")
        refuse_one_more(ctx.vm, name)
