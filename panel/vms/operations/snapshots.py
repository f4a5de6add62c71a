"""vm.snapshot, vm.revert-snapshot, vm.delete-snapshot; those for what went wrong are in lost_snapshots.py.

The rows of Snapshot are the panel's; the node has each under its UUID, and a check compares. Taking one is undone as a
whole, deleting one goes forward only: one that fails says why, and can be asked for again.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from pydantic import Field

from nodeagent.protocol import host, snapshot
from panel.accounts.limits import limits_of
from panel.accounts.models import User
from panel.core.errors import AlreadyExists, InvalidValue, LimitExceeded, NodeError, NotFound, WrongState
from panel.core.wording import Text
from panel.storage.kinds import Can
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.tasks.requirements import demand
from panel.vms import drift, services
from panel.vms.audit import refuse_drift
from panel.vms.context import VmContext
from panel.vms.machine import Firmware
from panel.vms.models import ON, Snapshot, SnapshotState, Vm, VmStatus, Wanted
from panel.vms.requirements import NO_OVERLAYS, NOT_IN_RESCUE, NOT_MISSING, undrifted
from panel.vms.snapshot_audit import record
from panel.vms.snapshots import MAY_RUN, REVERTIBLE, report
from panel.vms.spec import domain_spec

MEMORY_SECONDS = 1800.0
"""How long QEMU may take to write a guest's memory into its disk, or to read it back."""


class TakeParams(Params):
    """What it is called, and whether the memory belongs to it."""

    name: str = Field(min_length=1, max_length=64)
    description: str = Field(default="", max_length=500)
    with_memory: bool | None = Field(
        default=None, description="Whether the guest's memory is kept too; none: if the VM runs."
    )


class SnapshotParams(Params):
    """Which one."""

    snapshot: int = Field(description="The snapshot's id.")


def record_snapshot(ctx: VmContext[TakeParams]) -> dict[str, Any]:
    """The snapshot stands in the database as being taken."""
    # One at a time: the limit and the name are looked at again while nobody else can add one.
    vm = Vm.objects.select_for_update().get(pk=ctx.vm.pk)
    refuse_snapshot(vm, ctx.params)
    parent = vm.snapshots.filter(current=True).first()
    made = Snapshot.objects.create(
        vm=vm, name=ctx.params.name, description=ctx.params.description, parent=parent, vm_status=vm.status
    )
    return {"result": {"snapshot": made.pk}}


def forget_taken(ctx: VmContext[TakeParams]) -> None:
    """The snapshot does not stand in the database."""
    _taken(ctx).delete()


def take_snapshot(ctx: VmContext[TakeParams]) -> dict[str, Any]:
    """The node has the snapshot."""
    refuse_drift(ctx.vm, ctx.agent, drift.own_disk)
    uuid = str(ctx.vm.uuid)
    with_memory = ctx.params.with_memory
    if with_memory is None:
        with_memory = ctx.agent.call(host.HostInfo(uuid=uuid)).state in ON
    name = str(_taken(ctx).get().uuid)
    request = snapshot.SnapshotCreate(uuid=uuid, name=name, with_memory=with_memory)
    made = ctx.agent.call(request, deadline=MEMORY_SECONDS)
    return {"vm_status": made.state, "with_memory": made.with_memory}


def remove_taken(ctx: VmContext[TakeParams]) -> None:
    """The node does not have the snapshot."""
    row = _taken(ctx).first()
    if row is not None:
        request = snapshot.SnapshotDelete(uuid=str(ctx.vm.uuid), name=str(row.uuid))
        ctx.agent.call(request, deadline=MEMORY_SECONDS)


def finish_snapshot(ctx: VmContext[TakeParams]) -> None:
    """The snapshot is ready, and the one that the VM goes on from."""
    taken = ctx.output(take_snapshot)
    with transaction.atomic():
        row = _taken(ctx).select_for_update().get()
        if row.state == SnapshotState.READY:
            return
        row.parent = ctx.vm.snapshots.filter(current=True).first()
        row.vm_status, row.with_memory = taken["vm_status"], taken["with_memory"]
        row.state = SnapshotState.READY
        row.save()
        make_current(row)


def look_at_domain(ctx: VmContext[SnapshotParams]) -> None:
    """The domain is as the panel described it: what somebody made of it by hand would be lost by going back."""
    refuse_drift(ctx.vm, ctx.agent, drift.every)


def revert_domain(ctx: VmContext[SnapshotParams]) -> dict[str, Any]:
    """The domain is as it was in the snapshot."""
    row = find_snapshot(ctx.vm, ctx.params.snapshot)
    if row.with_memory:
        demand(ctx.look_again(), *MAY_RUN)
    _look_for(ctx, row)
    request = snapshot.SnapshotRevert(uuid=str(ctx.vm.uuid), name=row.on_node)
    return {"state": ctx.read_state(request, deadline=MEMORY_SECONDS).state}


def define_anew(ctx: VmContext[SnapshotParams]) -> None:
    """The domain's description is the panel's again: libvirt went back to that of the snapshot."""
    ctx.agent.call(host.HostCreate(spec=domain_spec(ctx.vm)))


def record_revert(ctx: VmContext[SnapshotParams]) -> None:
    """The VM goes on from the snapshot, and is wanted to be as it is now."""
    state = ctx.output(revert_domain)["state"]
    services.want(ctx.vm, Wanted.RUNNING if state in ON else Wanted.SHUT_OFF)
    with transaction.atomic():
        make_current(find_snapshot(ctx.vm, ctx.params.snapshot))


def _look_for(ctx: VmContext[SnapshotParams], row: Snapshot) -> None:
    """Raise WrongState, and note it, where the node does not have the snapshot any more."""
    seen = ctx.agent.call(snapshot.SnapshotsRead(uuid=str(ctx.vm.uuid))).snapshots
    if row.on_node not in {each.name for each in seen}:
        record(ctx.vm.pk, seen, held=True)
        text = Text(
            "The snapshot “{snapshot}” is not on the VM's node any more. Delete or forget it.", {"snapshot": row.name}
        )
        raise WrongState(text, object="snapshot", id=row.pk, state="missing on its node", field="snapshot")


def delete_from_node(ctx: VmContext[SnapshotParams]) -> None:
    """The node does not have the snapshot; where that failed its row says why, and it can be asked for again."""
    row = find_snapshot(ctx.vm, ctx.params.snapshot)
    Snapshot.objects.filter(pk=row.pk).update(state=SnapshotState.DELETING, reason="")
    request = snapshot.SnapshotDelete(uuid=str(ctx.vm.uuid), name=row.on_node)
    try:
        ctx.agent.call(request, deadline=MEMORY_SECONDS)
    except NodeError as error:
        Snapshot.objects.filter(pk=row.pk).update(state=SnapshotState.FAILED, reason=error.message[:500])
        report(ctx.vm)
        raise


def forget_snapshot(ctx: VmContext[SnapshotParams]) -> None:
    """The snapshot does not stand in the database; those after it follow the one before, as on the node."""
    with transaction.atomic():
        row = ctx.vm.snapshots.select_for_update().filter(pk=ctx.params.snapshot).first()
        if row is None:
            return
        row.children.update(parent=row.parent)
        if row.current and row.parent is not None:
            make_current(row.parent)
        row.delete()
        report(ctx.vm)


def _taken(ctx: VmContext[TakeParams]) -> Any:
    made = ctx.output(record_snapshot).get("result", {}).get("snapshot")
    return Snapshot.objects.filter(pk=made)


def make_current(row: Snapshot) -> None:
    """The VM goes on from this one and no other."""
    Snapshot.objects.filter(vm=row.vm_id).exclude(pk=row.pk).update(current=False)
    Snapshot.objects.filter(pk=row.pk).update(current=True)


def find_snapshot(vm: Vm, snapshot_id: int) -> Snapshot:
    """The VM's snapshot; raises NotFound."""
    row = vm.snapshots.filter(pk=snapshot_id).first()
    if row is None:
        raise NotFound(object="snapshot", id=snapshot_id, field="snapshot")
    return row


def refuse_snapshot(vm: Vm, asked: TakeParams) -> None:
    """Raise what keeps the VM from having this snapshot: its disks, the limit, the name."""
    for disk in vm.disks.select_related("volume__pool"):
        if Can.SNAPSHOTS not in disk.volume.can:
            able = disk.volume.pool.of_kind.can_in("qcow2")
            unable = (
                Text(
                    "The disk “{disk}” is {format}; snapshots need disks that are all qcow2.",
                    {"disk": disk.target, "format": disk.volume.format},
                )
                if Can.SNAPSHOTS in able
                else Text("The storage of the disk “{disk}” can take no snapshots.", {"disk": disk.target})
            )
            raise WrongState(unable, object="disk", id=disk.pk, state=disk.volume.format, field="id")
    refuse_one_more(vm, asked.name)
    if vm.status in ON and vm.firmware == Firmware.UEFI:
        raise WrongState(snapshot.RUNNING_UEFI, object="vm", id=vm.pk, state=vm.status, field="id")
    if asked.with_memory is False and vm.status in ON:
        text = "A running VM's snapshot has its memory. Shut the VM down first for one without."
        raise InvalidValue(text, field="with_memory")
    if asked.with_memory and vm.status == VmStatus.SHUT_OFF:
        raise InvalidValue("A VM that is off has no memory to keep.", field="with_memory")


def refuse_one_more(vm: Vm, name: str) -> None:
    """Raise LimitExceeded, or AlreadyExists, for one more snapshot of this name."""
    theirs = limits_of(vm.owner).snapshots
    allowed = min(settings.CONFIG.snapshots_per_vm, settings.CONFIG.snapshots_per_vm if theirs is None else theirs)
    used = vm.snapshots.count()
    if used >= allowed:
        raise LimitExceeded(limit="snapshots", used=used, allowed=allowed)
    if vm.snapshots.filter(name=name).exists():
        raise AlreadyExists("The VM has a snapshot of this name already.", field="name", object="snapshot")


class SnapshotOperation(Operation[Any]):
    """What all have in common."""

    permission = "vms.snapshot"
    context = VmContext
    locks = (exclusive("vm"), shared("node"), shared("pool"))

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("{action} of VM {vm}", {"action": Text(self.label), "vm": ctx.task.object_name})


class TakeSnapshot(SnapshotOperation):
    """Take a snapshot of the VM's disks, and of its memory while it runs."""

    name = "vm.snapshot"
    label = "Snapshot"
    requires = (NOT_IN_RESCUE, NO_OVERLAYS, NOT_MISSING, undrifted(drift.own_disk))
    params = TakeParams
    asks = True
    steps = (
        Step(record_snapshot, "Note the snapshot", undo=forget_taken, inline=True),
        Step(take_snapshot, "Take the snapshot", undo=remove_taken, weight=10),
        # No undo: the row goes as a whole.
        Step(finish_snapshot, "Note that it is ready"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Take snapshot “{snapshot}” of VM {vm}", {"snapshot": ctx.params.name, "vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse disks that cannot have one, a name in use, and more than the limit."""
        refuse_snapshot(ctx.vm, ctx.params)


class RevertSnapshot(SnapshotOperation):
    """Go back to a snapshot: disks, and the running guest where its memory was kept. What happened since is lost."""

    name = "vm.revert-snapshot"
    label = "Revert to snapshot"
    requires = (*REVERTIBLE, undrifted(drift.every))
    params = SnapshotParams
    placed = True
    dangerous = True
    on_failure = "stop"
    cancellable = "queued"
    # No undo: what was before is lost with the second step.
    steps = (
        Step(look_at_domain, "Look at the domain"),
        Step(revert_domain, "Go back to the snapshot", weight=10),
        Step(record_revert, "Note what the VM goes on from"),
        Step(define_anew, "Define the domain anew"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse one that is not ready, and what would start a VM that must not run."""
        row = find_snapshot(ctx.vm, ctx.params.snapshot)
        if row.state != SnapshotState.READY:
            raise WrongState(object="snapshot", id=row.pk, state=row.get_state_display().lower(), field="snapshot")
        if row.with_memory:
            demand(ctx.vm, *MAY_RUN)


class DeleteSnapshot(SnapshotOperation):
    """Delete a snapshot; those that were taken after it stay."""

    name = "vm.delete-snapshot"
    label = "Delete snapshot"
    params = SnapshotParams
    placed = True
    dangerous = True
    on_failure = "stop"
    cancellable = "queued"
    # No undo: what is deleted cannot come back.
    steps = (
        Step(delete_from_node, "Delete the snapshot from the disks", weight=5),
        Step(forget_snapshot, "Forget the snapshot"),
    )

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse an unknown one."""
        find_snapshot(ctx.vm, ctx.params.snapshot)
