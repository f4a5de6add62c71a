"""What is true of every VM of the world (life.py) at any time, and when all are deleted."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

from django.db import transaction

from nodeagent.protocol import audit, host, snapshot, storage
from panel.doctor.findings import Finding
from panel.doctor.services import look
from panel.monitoring.services import take_messages
from panel.network.models import Address
from panel.notices.models import Problem
from panel.storage.models import Volume
from panel.tasks.models import ENDED, Status, Task, TaskLock, TaskSecret
from panel.vms.models import Interface, Snapshot, StatusChange, Vm, VmStatus
from panel.vms.spec import domain_spec
from tests.db.vms.life import Place, World
from tests.refs import directory

ON = (VmStatus.RUNNING, VmStatus.PAUSED)
SAYS_WHERE = {"moved", "domain_elsewhere"}


def assert_right(
    world: World,
    *,
    open_tasks: set[int],
    left: Mapping[int, set[str]],
    drifted: set[int],
    overlaid: Collection[int],
    lost: Collection[int],
    litter: Mapping[str, set[str]],
) -> None:
    """What is always so, after full reports that are taken back again.

    `open_tasks` have not been begun yet. `left` are, by VM, the kinds of findings that the doctor may have: somebody
    went behind the panel's back, or an operation that only goes forward failed and nobody asked again; `drifted`
    are VMs whose description may differ, `overlaid` those of which a disk may. Of those that `lost` a file the doctor
    says it. `litter` is what else it may speak of.
    """
    _assert_tasks(open_tasks)
    # What a task is to change the doctor leaves out.
    busy = set(Task.objects.filter(pk__in=open_tasks).values_list("object_id", flat=True))
    with transaction.atomic():
        take_messages(world.glance().messages)
        found = look()
        domains = {place.node.pk: place.domains() for place in world.places}
        _assert_status(domains)
        _assert_told_where(domains, found, busy)
        transaction.set_rollback(True)
    world.sequence -= 1
    about = {f"vm {pk}": codes for pk, codes in left.items()}
    # No worker is free for them, and on a busy machine that can take longer than the doctor allows.
    about.update({f"task {pk}": {"task_abandoned"} for pk in open_tasks})
    about.update(litter)
    # A memory that somebody saved is told; that it is there when it is told is _assert_status()'s matter.
    told = [each for each in found if each.code != "memory_saved"]
    unexpected = [each for each in told if each.code not in about.get(each.object, set())]
    assert not unexpected, unexpected
    missing = {each.object for each in found if each.code == "file_missing"}
    assert {f"vm {pk}" for pk in set(lost) - busy} <= missing
    _assert_addresses()
    _assert_history()
    for place in world.places:
        _assert_filtered(place, drifted)
        _assert_described(place, drifted, overlaid, open_tasks)


def _assert_tasks(open_tasks: set[int]) -> None:
    assert set(Task.objects.exclude(status__in=ENDED).values_list("pk", flat=True)) == open_tasks
    assert not Task.objects.filter(status=Status.STUCK).exists()
    assert set(TaskLock.objects.values_list("task_id", flat=True)) <= open_tasks
    assert set(TaskSecret.objects.values_list("task_id", flat=True)) <= open_tasks


def _assert_status(domains: Mapping[int, Mapping[str, host.HostState]]) -> None:
    for vm in Vm.objects.filter(installed=True):
        there = domains[vm.node_id].get(str(vm.uuid))
        assert vm.status == (there.state if there else "missing"), f"{vm}: {vm.status}"


def _assert_told_where(
    domains: Mapping[int, Mapping[str, host.HostState]], found: set[Finding], busy: Collection[int | None]
) -> None:
    """A VM is active on one node at most; of one that is on another than its own the doctor says where."""
    for vm in Vm.objects.filter(installed=True):
        having = {pk: there[str(vm.uuid)] for pk, there in domains.items() if str(vm.uuid) in there}
        assert len([pk for pk, state in having.items() if state.state in ON]) < 2, f"{vm} is active on both nodes"
        if having and vm.node_id not in having and vm.pk not in busy:
            codes = {each.code for each in found if each.object == f"vm {vm.pk}"}
            assert codes & SAYS_WHERE, f"{vm} is elsewhere, and the doctor says {codes}"


def _assert_addresses() -> None:
    interfaces = list(Interface.objects.select_related("vm").with_ips())
    ips = [ip for each in interfaces for ip in each.ips]
    assert len(ips) == len(set(ips)) == Address.objects.count()
    assert len({each.mac for each in interfaces}) == len(interfaces)


def _assert_filtered(place: Place, excused: set[int]) -> None:
    wanted: dict[str, set[str]] = {}
    for vm in Vm.objects.filter(installed=True, node=place.node).exclude(pk__in=excused):
        ports = vm.interfaces.filter(attached=True, guarded=True)
        if macs := set(ports.values_list("mac", flat=True)):
            wanted[str(vm.uuid)] = macs
    ours = {str(uuid) for uuid in Vm.objects.filter(pk__in=excused).values_list("uuid", flat=True)}
    assert {uuid: macs for uuid, macs in place.guarded().items() if uuid not in ours} == wanted


def _assert_history() -> None:
    for vm in Vm.objects.all():
        rows = list(reversed(StatusChange.objects.filter(vm=vm)))
        for before, after in itertools.pairwise(rows):
            assert after.repeated == (after.status == before.status), f"{vm}: {before} then {after}"
        if rows:
            assert rows[-1].status == vm.status, f"{vm} is {vm.status}, its history ends with {rows[-1]}"


def _assert_described(place: Place, excused: set[int], overlaid: Collection[int], open_tasks: set[int]) -> None:
    # A suspension holds from when it is asked for; libvirt is told of it at the task's turn.
    told_later = Task.objects.filter(pk__in=open_tasks, operation__in=("vm.suspend", "vm.unsuspend"))
    excused = excused | set(told_later.values_list("object_id", flat=True))
    vms = Vm.objects.filter(installed=True, node=place.node).exclude(pk__in=excused)
    specs = {str(vm.uuid): domain_spec(vm) for vm in vms.select_related("node", "pool", "image")}
    upon = {str(vm.uuid) for vm in vms if vm.pk in overlaid}
    for each in place.call(audit.HostsAudit(specs=list(specs.values()))).differing:
        found = [drift for drift in each.drift if not (each.uuid in upon and drift.field.startswith("disk "))]
        assert not found, each
    for vm in vms:
        rows = Snapshot.objects.filter(vm=vm)
        # One that is yet to be taken stands in the rows already.
        if not rows or Task.objects.filter(pk__in=open_tasks, operation="vm.snapshot", object_id=vm.pk).exists():
            continue
        told = place.call(snapshot.SnapshotsRead(uuid=str(vm.uuid))).snapshots
        assert {(each.name, each.parent, each.current) for each in told} == {
            (str(row.uuid), str(row.parent.uuid) if row.parent else None, row.current) for row in rows
        }


def assert_nothing_left(world: World) -> None:
    """After every VM was deleted nothing of any is anywhere."""
    for place in world.places:
        assert place.domains() == {}
        assert place.guarded() == {}
        assert "chain tap" not in place.agent.run_in_namespace("nft", "list", "ruleset")
        files = place.call(storage.PoolList(directory(str(world.pool)))).files
        assert (files["volumes"], files["seeds"]) == ([], [])
    counts: dict[str, Any] = {model.__name__: model.objects.count() for model in (Vm, Volume, Address, TaskLock)}
    assert not any(counts.values()), counts
    assert not Problem.objects.filter(open_key__isnull=False).exists()
