"""Comparing VMs with what their node's libvirt has of them, and keeping what differs.

One command for all domains of a node; it answers differences only. VMs that a task holds are left out: they are
on their way from one description to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone

from nodeagent.protocol import audit, host, to_dict
from nodeagent.protocol.host import DomainSpec
from nodeagent.protocol.settings import Difference
from panel.cluster.models import Node
from panel.cluster.nodes import Agent
from panel.core.wording import Text
from panel.notices.models import Severity
from panel.notices.services import close_problems, open_problem
from panel.tasks import locks
from panel.vms import drift, missing, services
from panel.vms.models import ON, UnmanagedDomain, Vm
from panel.vms.snapshot_audit import record, record_all
from panel.vms.spec import domain_spec, rows_spec
from panel.vms.usage import note_size

AUDIT_SECONDS = 120.0
Ask = Callable[[audit.HostsAudit], audit.Audit]

UNDEFINED = "VM “{vm}” runs, but libvirt on its node does not define it any more: it is gone when it stops. Repair it."
DIFFERS = "VM “{vm}” is described otherwise on its node than in the panel ({fields}). {ways}"


def audit_node(node: Node, ask: Ask) -> None:
    """What the VMs of the node differ in, and which domains there are strangers, is known anew."""
    vms = list(Vm.objects.filter(node=node).select_related("node", "pool", "image"))
    held = locks.holders("vm", [vm.pk for vm in vms])
    specs = {vm.pk: rows_spec(vm) for vm in vms if vm.pk not in held}
    answer = ask(audit.HostsAudit(specs=list(specs.values())))
    _record(specs, answer)
    uuids = {spec.uuid: pk for pk, spec in specs.items()}
    record_all([pk for uuid, pk in uuids.items() if uuid not in set(answer.absent)], uuids, answer.kept)
    _record_unmanaged(node, answer.foreign)


def audit_vm(vm: Vm, ask: Ask) -> list[Difference]:
    """The same of one VM, for the task that holds it; answers its drift."""
    spec = domain_spec(vm)
    answer = ask(audit.HostsAudit(specs=[spec], others=False))
    found = {each.uuid: each for each in answer.differing}.get(spec.uuid)
    if spec.uuid not in answer.absent:
        _record_one(vm.pk, spec, found, held=True)
        if answer.kept is not None:
            record(vm.pk, [each for kept in answer.kept for each in kept.snapshots], held=True)
    return list(found.drift) if found else []


def refuse_drift(vm: Vm, agent: Agent, counts: drift.Counts) -> None:
    """Raise Drifted where the node, which is asked now, has the VM otherwise in what counts; for its task's turn.

    Raises WrongState where it has no domain of it: another node may, with newer disks.
    """
    if not agent.call(host.HostInfo(uuid=str(vm.uuid))).exists:
        raise services.gone(vm)
    seen = audit_vm(vm, lambda request: agent.call(request, deadline=AUDIT_SECONDS))
    found = [{"field": each.field, "node": each.now, "stored": each.then} for each in seen]
    if against := [each for each in found if counts(each)]:
        raise drift.error(vm, against)


def _record(specs: dict[int, DomainSpec], answer: audit.Audit) -> None:
    differing, absent = {each.uuid: each for each in answer.differing}, set(answer.absent)
    seen = {pk: spec for pk, spec in specs.items() if spec.uuid not in absent}
    for vm in Vm.objects.filter(uuid__in=absent, pk__in=specs, installed=True).select_related("node"):
        if not locks.holders("vm", [vm.pk]):
            missing.report(vm)
    noted = set(Vm.objects.filter(pk__in=seen).exclude(drift=[], pending=[]).values_list("pk", flat=True))
    quiet = [pk for pk, spec in seen.items() if spec.uuid not in differing and pk not in noted]
    Vm.objects.filter(pk__in=quiet).update(drift_seen_at=timezone.now())
    for pk, spec in seen.items():
        if pk not in quiet:
            _record_one(pk, spec, differing.get(spec.uuid))


def _record_one(pk: int, spec: DomainSpec, found: audit.Differing | None, *, held: bool = False) -> None:
    """Keep what differs of one VM, unless it became another while the node was asked."""
    with transaction.atomic():
        vm = Vm.objects.select_for_update().filter(pk=pk).first()
        if vm is None or domain_spec(vm) != spec or (not held and locks.holders("vm", [pk])):
            return
        differs = [
            {"field": each.field, "node": each.now, "stored": each.then} for each in (found.drift if found else [])
        ]
        waits = found.pending if found and vm.status in ON else []
        pending = [{"field": each.field, "now": each.now, "then": each.then} for each in waits]
        changed = (vm.drift, vm.pending) != (differs, pending)
        Vm.objects.filter(pk=pk).update(drift=differs, pending=pending, drift_seen_at=timezone.now())
        if vm.pending != pending:
            note_size(pk)
        _report(vm, differs)
        if changed:
            transaction.on_commit(lambda: services.tell_changed(pk))


def _report(vm: Vm, differs: list[dict[str, Any]]) -> None:
    """Have the problems open, or closed, that the VM's differences are."""
    undefined = [each for each in differs if each["field"] == "persistent"]
    others = [each for each in differs if each["field"] != "persistent"]
    if undefined:
        text = Text(UNDEFINED, {"vm": vm.name})
        open_problem(f"vm:{vm.pk}:undefined", text, object_type="vm", object_id=vm.pk)
    if others:
        fields = ", ".join(each["field"] for each in others)
        text = Text(DIFFERS, {"vm": vm.name, "fields": fields, "ways": drift.ways(vm.name, others)})
        open_problem(f"vm:{vm.pk}:drift", text, severity=Severity.WARNING, object_type="vm", object_id=vm.pk)
    close_problems([f"vm:{vm.pk}:{name}" for name, of in (("undefined", undefined), ("drift", others)) if not of])


def _record_unmanaged(node: Node, found: Iterable[audit.UnmanagedDomain]) -> None:
    now = timezone.now()
    strangers = {each.uuid: each for each in found}
    known = {str(uuid) for uuid in Vm.objects.filter(uuid__in=strangers).values_list("uuid", flat=True)}
    with transaction.atomic():
        UnmanagedDomain.objects.filter(node=node).exclude(uuid__in=set(strangers) - known).delete()
        for uuid, each in strangers.items():
            if uuid not in known:
                values = {
                    "name": each.name[:255],
                    "status": each.state[:16],
                    "memory_mib": each.memory_mib,
                    "vcpus": each.vcpus,
                    "disks": each.disks,
                    "macs": each.macs,
                    "details": to_dict(each.details) if each.details else {},
                    "seen_at": now,
                }
                UnmanagedDomain.objects.update_or_create(node=node, uuid=uuid, defaults=values)
