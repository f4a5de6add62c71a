"""vm.configure: sizes, weights, CPU, boot order, machine type, firmware, clock, title, the first interface's speed.

The rows are the truth. They change with the request; the node's description follows at the task's turn (spec.due),
and what runs as far as QEMU can. The rest is `pending` until the next start. An interface is changed at the task's
turn, as vm.change-interface does it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db import transaction
from pydantic import Field

from nodeagent.protocol import audit
from panel.accounts.models import User
from panel.cluster.models import Cluster
from panel.cluster.placement import Candidate, Need, StorageSpace, lacks
from panel.core import permissions
from panel.core.errors import CapacityError, CommandFailed, Drifted, InvalidValue
from panel.core.wording import Text, joined
from panel.tasks import reservations
from panel.tasks.locks import exclusive, shared
from panel.tasks.models import Status, TaskStep
from panel.tasks.operation import Operation, Step
from panel.tasks.requirements import demand
from panel.vms import drift, services
from panel.vms.context import VmContext
from panel.vms.description import difference
from panel.vms.limits import Resources, refuse_over_limits, require_within_limits, sizes_of
from panel.vms.machine import FACT_OF, LARGEST_KIBPS, SPEEDS, settings_of
from panel.vms.models import ON, Interface, Vm
from panel.vms.operations.interfaces import become, is_there, note_change
from panel.vms.placing import promise_of
from panel.vms.requirements import NOT_ELSEWHERE, NOT_IN_RESCUE, NOT_MISSING, undrifted
from panel.vms.selectors import promised_mib
from panel.vms.settings import OF_THE_HOST, Settings, check_settings, emulates
from panel.vms.spec import domain_spec, due, rows_spec, with_values
from panel.vms.usage import had, note_size

NO_DISK, NO_STORAGE = 0, StorageSpace(0, 0)


class ConfigureVmParams(Settings):
    """What is to change; what is not named stays. 0 takes a limit away."""

    inbound_kibps: int | None = Field(
        default=None, ge=0, le=LARGEST_KIBPS, description="KiB a second that its first interface may receive."
    )
    outbound_kibps: int | None = Field(
        default=None, ge=0, le=LARGEST_KIBPS, description="The same for what it may send."
    )


class ConfigureVmContext(VmContext[ConfigureVmParams]):
    """The VM as it is and as it shall be."""

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The settings that are asked for, with their values."""
        return self.params.asked()

    @cached_property
    def changes(self) -> dict[str, Any]:
        """Those of them that change."""
        now = settings_of(self.vm)
        return {name: value for name, value in self.asked.items() if now[name] != value}

    @cached_property
    def speeds(self) -> dict[str, int]:
        """The limits of the first interface that are asked for."""
        return self.params.model_dump(include=set(SPEEDS), exclude_none=True)

    @property
    def interface(self) -> Interface:
        """The first interface; raises InvalidValue where there is none, of the field that asks for one."""
        found = self.vm.interfaces.order_by("position").first()
        if found is None:
            raise InvalidValue("The VM has no network interface.", field=next(iter(self.speeds)))
        return found

    @property
    def wanted(self) -> Vm:
        """The VM with the changes, not saved."""
        return with_values(self.vm, self.changes)

    def describe(self) -> Text:
        """The changes as one line."""
        now, changes = settings_of(self.vm), dict(self.changes)
        for name, value in self.speeds.items():
            now[name] = getattr(self.interface, name)
            changes |= {name: value} if now[name] != value else {}
        told = [f"{name}: {now[name] or '–'} → {value or '–'}" for name, value in changes.items()]
        return joined(told) if told else Text("nothing")

    @property
    def growth(self) -> Resources:
        """What the VM takes more of its owner's limits."""
        vm, wanted = self.vm, self.wanted
        return Resources(memory_mib=wanted.memory_mib - vm.memory_mib, vcpus=wanted.vcpus - vm.vcpus)

    def refuse_no_capacity(self) -> None:
        """Raise CapacityError where the VM grows beyond what its node has left."""
        vm, wanted = self.vm, self.wanted
        memory, cpus = promise_of(wanted), max(wanted.vcpus, wanted.max_vcpus)
        growth = {}
        if memory > promise_of(vm):
            growth["memory_mib"] = Need(memory, NO_DISK, 0)
        if cpus > max(vm.vcpus, vm.max_vcpus):
            growth["vcpus"] = Need(0, NO_DISK, cpus)
        if not growth:
            return
        name, candidate = vm.node.name, Candidate(vm.node, promised_mib(vm.node, but=vm), NO_STORAGE)
        for field, need in growth.items():
            if reason := lacks(candidate, need):
                text = Text("The VM's node has no room for this: {node}: {reason}.", {"node": name, "reason": reason})
                raise CapacityError(text, field=field, candidates={name: reason.english})


def write_settings(ctx: ConfigureVmContext) -> dict[str, Any]:
    """The rows say what is wanted; what they said before is kept for the way back."""
    # One promise of resources at a time in a cluster, as with vm.create.
    Cluster.objects.select_for_update().get(pk=ctx.vm.cluster_id)
    ctx.refuse_no_capacity()
    require_within_limits(ctx.vm.owner, ctx.growth)
    ctx.reserve("vm", ctx.vm.pk, **sizes_of(ctx.vm))
    before = settings_of(ctx.vm)
    changes = ctx.changes
    Vm.objects.filter(pk=ctx.vm.pk).update(**changes, pending=_not_had_yet(ctx.vm, changes))
    note_size(ctx.vm.pk)
    transaction.on_commit(lambda: services.tell_changed(ctx.vm.pk))
    # Of all that is asked for: what equals an earlier wish is this one's too if that one is taken back (hand_on).
    asked = {"before": {name: before[name] for name in ctx.asked}, "result": {"changes": changes}}
    return asked | _note_speeds(ctx)


def _note_speeds(ctx: ConfigureVmContext) -> dict[str, Any]:
    if not ctx.speeds:
        return {}
    interface = ctx.interface
    before = note_change(ctx, interface, ctx.speeds)
    return {"interface": interface.pk, "speeds": {"mac": interface.mac, "before": before, "after": ctx.speeds}}


def _noted_speeds(ctx: ConfigureVmContext) -> dict[str, Any] | None:
    """What become() is to know of the interface; None where its speed was not asked for."""
    noted = ctx.output(write_settings)
    return {"interface": noted["interface"], **noted["speeds"]} if "speeds" in noted else None


def _not_had_yet(vm: Vm, changes: dict[str, Any]) -> list[dict[str, Any]]:
    """`pending` of a VM that runs, until the node says what it has already: nobody pays for what may still wait."""
    if vm.status not in ON:
        return list(vm.pending)
    sizes = [name for name in ("vcpus", "memory_mib") if name in changes]
    waiting = [{"field": name, "now": had(vm, name), "then": changes[name]} for name in sizes]
    return [each for each in vm.pending if each["field"] not in sizes] + [w for w in waiting if w["now"] != w["then"]]


def restore_settings(ctx: ConfigureVmContext) -> None:
    """The rows say what they said before, but for what a change that waits behind this one has written since."""
    before = dict(ctx.output(write_settings).get("before", {}))
    if before and ctx.find_vm() is not None:
        with transaction.atomic():
            hand_on(ctx, before)
            Vm.objects.filter(pk=ctx.vm.pk).update(**before)
            vm = Vm.objects.get(pk=ctx.vm.pk)
            # What waited for the next start was what is taken back.
            pending = [each for each in vm.pending if each["now"] != getattr(vm, each["field"], None)]
            Vm.objects.filter(pk=vm.pk).update(pending=pending)
            note_size(vm.pk)
        services.tell_changed(ctx.vm.pk)


def hand_on(ctx: VmContext[Any], values: dict[str, Any]) -> None:
    """Where a vm.configure that waits behind this task wrote a setting, the value is what that one would go back to.

    Such values are taken out of `values`: the row keeps what is asked for. Within a transaction.
    """
    waiting = TaskStep.objects.select_related("task").filter(
        task__operation=ConfigureVm.name, task__object_id=ctx.vm.pk, task__status=Status.QUEUED
    )
    for row in (
        waiting.filter(name=write_settings.__name__, task_id__gt=ctx.task.pk).select_related("task").order_by("task_id")
    ):
        theirs = row.output["before"]
        theirs |= {name: values.pop(name) for name in values.keys() & theirs.keys()}
        row.save(update_fields=["output"])
        reservations.hand_on(ctx.task, row.task)


def configure_domain(ctx: ConfigureVmContext) -> dict[str, Any]:
    """The node's description says it too, and what runs as far as it can."""
    vm, speeds = ctx.vm, _noted_speeds(ctx)
    if speeds is not None:
        demand(vm, NOT_IN_RESCUE.again)
    before = with_values(due(vm), ctx.output(write_settings)["before"])
    try:
        answer = ctx.agent.call(audit.HostConfigure(spec=domain_spec(vm), before=rows_spec(before)))
    except Drifted as found:
        raise drift.error(vm, found.data["differences"]) from found
    for remark in answer.remarks:
        ctx.log(Text("Not while it runs: {remark}", {"remark": remark}), "warning")
    pending = services.record_pending(vm.pk, answer.pending)
    limited = {} if speeds is None else become(ctx, speeds, "after")["result"]
    return {"result": {"pending": pending, **limited}}


def restore_domain(ctx: ConfigureVmContext) -> None:
    """The node's description, and what runs, are as before."""
    vm = ctx.find_vm()
    if vm is None:
        return
    speeds = _noted_speeds(ctx)
    if speeds is not None and is_there(speeds):
        become(ctx, speeds, "before")
    before = with_values(due(vm), ctx.output(write_settings).get("before", {}))
    try:
        answer = ctx.agent.call(audit.HostConfigure(spec=rows_spec(before), before=domain_spec(vm)))
    except Drifted as found:
        # Of somebody else's hand since, or why it was refused: not ours to overwrite.
        drift.give_way(ctx, found)
        return
    except CommandFailed as error:
        if error.data.get("agent_code") == "no_such_domain":
            return
        raise
    services.record_pending(vm.pk, answer.pending)


class ConfigureVm(Operation[ConfigureVmParams]):
    """Change a VM's settings: while it runs where QEMU can, else at its next start.

    Named values change, all others stay. `pending` of the VM tells what waits for the next start.
    """

    name = "vm.configure"
    label = "Configure"
    requires = (NOT_ELSEWHERE, NOT_MISSING)
    permission = "vms.configure"
    params = ConfigureVmParams
    context = ConfigureVmContext
    placed = True
    locks = (exclusive("vm"), shared("node"))
    steps = (
        Step(
            write_settings,
            "Note what is wanted",
            undo=restore_settings,
            inline=True,
            describe=lambda ctx: ctx.describe(),
        ),
        Step(
            configure_domain,
            "Change the machine",
            undo=restore_domain,
            describe=lambda ctx: Text("the domain's description, and what runs where QEMU can"),
            difference=lambda ctx: difference(ctx.vm, ctx.wanted),
        ),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Configure VM {vm}", {"vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse what contradicts itself, the image or the node, before anything is touched."""
        wanted, changes = ctx.wanted, ctx.changes
        demand(ctx.vm, undrifted(drift.named(*(FACT_OF.get(name, name) for name in changes))))
        if ctx.speeds:
            permissions.require(viewer, "cluster.manage")
            demand(ctx.vm, NOT_IN_RESCUE)
            _ = ctx.interface
        check_settings(wanted, changes)
        if "cpu_mode" in changes and wanted.cpu_mode in OF_THE_HOST and wanted.node.accel != "kvm":
            raise emulates()
        ctx.refuse_no_capacity()
        refuse_over_limits(ctx.vm.owner, ctx.growth)
