"""vm.repair and vm.adopt: end a difference between the panel's description of a VM and its node's."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from pydantic import Field, ValidationError

from nodeagent.protocol import audit, host
from nodeagent.protocol.settings import Difference
from panel.core.errors import CommandFailed, Drifted
from panel.core.wording import Text, joined
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import drift, saved, services
from panel.vms.audit import AUDIT_SECONDS, audit_vm
from panel.vms.context import VmContext
from panel.vms.elsewhere import refuse_moved
from panel.vms.limits import Resources, require_within_limits, sizes_of
from panel.vms.machine import FACT_OF, FACTS, SETTINGS, CpuMode, may_adopt, settings_of
from panel.vms.models import Vm, VmStatus
from panel.vms.operations.configure import hand_on
from panel.vms.operations.configure_guest import restore_seed
from panel.vms.requirements import NOT_ELSEWHERE, requirement
from panel.vms.settings import Settings
from panel.vms.spec import domain_spec, due, with_values
from panel.vms.usage import note_shape


class NoParams(Params):
    """Nothing to choose."""


class RepairParams(Params):
    """What may be lost."""

    discard_newer: bool = Field(
        default=False,
        description="Also where a disk goes on in another file on the node: what is in that file is given up.",
    )


def repair_domain(ctx: VmContext[RepairParams]) -> dict[str, Any]:
    """The node's libvirt has the domain as the rows say, and its seed; one that was gone is there again, off."""
    refuse_moved(ctx)
    request = audit.HostRepair(spec=domain_spec(ctx.vm), discard=ctx.params.discard_newer)
    try:
        try:
            answer = ctx.agent.call(request)
        except CommandFailed as error:
            if error.data.get("agent_code") != "memory_saved":
                raise
            # Not before: a repair that is refused for another reason leaves the memory alone.
            saved.discard(ctx)
            answer = ctx.agent.call(request)
    except Drifted as found:
        raise drift.error(ctx.vm, found.data["differences"]) from found
    restore_seed(ctx)
    ctx.read_state(host.HostInfo(uuid=str(ctx.vm.uuid)))
    return {"result": {"pending": services.record_pending(ctx.vm.pk, answer.pending)}}


def compare(ctx: VmContext[Any]) -> dict[str, Any]:
    """What still differs is known."""
    left = _audit(ctx)
    return {"result": {"left": [each.field for each in left]}}


def read_differences(ctx: VmContext[Any]) -> dict[str, Any]:
    """What the node has now is known, since what was shown may be old; and what it should have, for the way back."""
    return {"found": [[each.field, each.now] for each in _audit(ctx)], "before": settings_of(due(ctx.vm))}


def adopt_settings(ctx: VmContext[Any]) -> dict[str, Any]:
    """The rows say what the node has, as far as they can."""
    known = ctx.output(read_differences)
    # From what the rows said then: this may be a repetition.
    before = with_values(ctx.vm, known["before"])
    changes = adoptable(before, dict(known["found"]))
    with transaction.atomic():
        ctx.reserve("vm", ctx.vm.pk, **sizes_of(before))
        more = {name: changes[name] - getattr(ctx.vm, name) for name in ("memory_mib", "vcpus") if name in changes}
        require_within_limits(ctx.vm.owner, Resources(**more))
        rows = dict(changes)
        hand_on(ctx, rows)
        Vm.objects.filter(pk=ctx.vm.pk).update(**rows)
        note_shape(ctx.vm.pk)
    services.tell_changed(ctx.vm.pk)
    return {"result": {"changes": changes}}


def forsake_settings(ctx: VmContext[Any]) -> None:
    """The rows say what they said before."""
    before = dict(ctx.output(read_differences).get("before", {}))
    if before and ctx.find_vm() is not None:
        with transaction.atomic():
            hand_on(ctx, before)
            Vm.objects.filter(pk=ctx.task.object_id or 0).update(**before)
            note_shape(ctx.task.object_id or 0)


def adoptable(vm: Vm, node: dict[str, Any]) -> dict[str, Any]:
    """The settings that the VM takes over, from the facts in which the node differs; others are left out."""
    names = {fact: name for name in SETTINGS for fact in (FACT_OF.get(name, name),)}
    found = {names[fact]: value for fact, value in node.items() if fact in names}
    if found.get("cpu_mode") == ("host-passthrough" if vm.node.accel == "kvm" else "maximum"):
        found["cpu_mode"] = CpuMode.DEFAULT.value
    for most, now in (("max_memory_mib", "memory_mib"), ("max_vcpus", "vcpus")):
        if most in found or now in found:
            size = found.get(now, getattr(vm, now))
            # The node always has a maximum; ours of 0 is the size itself.
            reach = found.get(most, max(getattr(vm, most), getattr(vm, now)))
            found[most] = 0 if reach <= size else reach
    return {name: value for name, value in found.items() if value != getattr(vm, name) and _fits(name, value)}


def _fits(name: str, value: Any) -> bool:
    try:
        Settings.model_validate({name: value})
    except ValidationError:
        return False
    return True


def _audit(ctx: VmContext[Any]) -> list[Difference]:
    vm = ctx.find_vm()
    if vm is None:
        return []
    return audit_vm(vm, lambda request: ctx.agent.call(request, deadline=AUDIT_SECONDS))


def what_is_undone(ctx: VmContext[RepairParams]) -> Text:
    """What differs by the last comparison, for a plan, and what would be lost."""
    found = ctx.vm.drift
    told = drift.told(found)
    if not any(drift.other_file(each) for each in found):
        return told
    return joined([told, drift.ways(ctx.vm.name, found)], ". ")


class RepairVm(Operation[RepairParams]):
    """Define the VM's domain anew as the panel describes it; what runs becomes so at its next start.

    Whatever somebody made of its description by hand is undone, also what the panel does not compare, such as CPU
    pinning. Disks that go on in newer files on the node are kept from it, unless that is said to be lost.
    """

    name = "vm.repair"
    label = "Repair"
    requires = (NOT_ELSEWHERE,)
    offered = (
        requirement(
            "changed by hand", lambda vm: bool(vm.drift) or vm.status == VmStatus.MISSING, "as the panel described it"
        ),
    )
    rare = True
    permission = "vms.configure"
    params = RepairParams
    context = VmContext
    on_failure = "stop"
    dangerous = True
    warning = "What was changed by hand on the node is undone."
    locks = (exclusive("vm"), shared("node"))
    # Forward only: what the node had was wrong, and the panel keeps no copy of it.
    steps = (
        Step(
            repair_domain,
            "Define the domain anew",
            describe=lambda ctx: saved.and_discard(ctx, what_is_undone(ctx)),
        ),
        Step(compare, "Compare"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Repair VM {vm}", {"vm": ctx.task.object_name})


class AdoptVm(Operation[NoParams]):
    """Take over the settings that the VM's domain has on its node; its disks and interfaces stay as they are here."""

    name = "vm.adopt"
    label = "Adopt"
    offered = (requirement("changed in a setting", lambda vm: may_adopt(vm.drift), "as the panel described it"),)
    rare = True
    permission = "vms.configure"
    params = NoParams
    context = VmContext
    locks = (exclusive("vm"), shared("node"))
    steps = (
        # No undo: reading changes nothing.
        Step(read_differences, "Read what the node has"),
        Step(
            adopt_settings,
            "Take it over",
            undo=forsake_settings,
            describe=lambda ctx: drift.told(each for each in ctx.vm.drift if each["field"] in FACTS),
        ),
        Step(compare, "Compare"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Adopt the settings of VM {vm}", {"vm": ctx.task.object_name})
