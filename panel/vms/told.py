"""VMs as REST tells them, read with few and small queries.

What most VMs share (node, owner, image, network, …) is read once a page and by its name alone; what hangs on each VM in
one query for all of them. As everywhere, another's VM is as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

from django.db import connection
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.db.models.query import ModelIterable

from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.core import permissions
from panel.core.errors import NotFound
from panel.core.rows import Prepared
from panel.images.models import Image, Iso
from panel.network.models import Network
from panel.storage.models import Pool
from panel.vms.models import AuxiliaryDisk, Disk, Interface, Purpose, Vm

SHARED: dict[str, tuple[type[Model], str]] = {
    "node": (Node, "name"),
    "owner": (User, "name"),
    "pool": (Pool, "name"),
    "cluster": (Cluster, "check_vm_status"),
    "image": (Image, "name"),
    "iso": (Iso, "name"),
    "network": (Network, "name"),
}
"""What VMs and their interfaces refer to, and which of its columns is told."""
NOT_TOLD = ("counters__reading", "seed", "observed_clock", "observed_boot")


class ToldVms(QuerySet[Vm]):
    """VMs, each with what it refers to and what hangs on it, once they are read."""

    def _fetch_all(self) -> None:
        read = self._result_cache is None
        super()._fetch_all()
        if read and self._iterable_class is ModelIterable and self._result_cache:
            _complete(self._result_cache)


def told_vms(viewer: User) -> QuerySet[Vm]:
    """The VMs that the viewer may see, as REST tells them; raises AccessDenied (a scoped token)."""
    permissions.require(viewer, "vms.view")
    vms = _every_vm().all()
    return vms if viewer.sees_all else vms.filter(owner=viewer)


def told_vm(viewer: User, vm_id: int) -> Vm:
    """One VM, as REST tells it; raises NotFound, also for another's."""
    permissions.require(viewer, "vms.view")
    vm = BY_ID.first(vm_id)
    if vm is None or not (viewer.sees_all or vm.owner_id == viewer.pk):
        raise NotFound(object="vm", id=vm_id)
    _complete([vm])
    return vm


@cache
def _every_vm() -> QuerySet[Vm]:
    return (
        ToldVms(Vm)
        .select_related("installation", "counters")
        .defer(*NOT_TOLD)
        .annotate(rescued=Exists(AuxiliaryDisk.objects.filter(vm=OuterRef("pk"), purpose=Purpose.RESCUE)))
    )


BY_ID = Prepared(lambda vm_id: _every_vm().filter(pk=vm_id), -1)


DISKS = Prepared(lambda vms: Disk.objects.filter(vm__in=vms).select_related("volume"), [-1])
INTERFACES = Prepared(lambda vms: Interface.objects.filter(vm__in=vms).with_ips().with_groups().with_forwards(), [-1])


def _complete(vms: Sequence[Vm]) -> None:
    ids = [vm.pk for vm in vms]
    disks, interfaces = DISKS.rows(ids), INTERFACES.rows(ids)
    _refer(vms, interfaces)
    _hang(vms, "_told_disks", disks)
    _hang(vms, "_told_interfaces", interfaces)


def _refer(vms: Sequence[Vm], interfaces: Sequence[Interface]) -> None:
    """Have the VMs and interfaces what they refer to, with nothing but what is told of it; all of it by one query."""
    whose: dict[str, Sequence[Any]] = {name: interfaces if name == "network" else vms for name in SHARED}
    asked = {name: list(map(attrgetter(f"{name}_id"), whose[name])) for name in SHARED}
    wanted = {name: sorted(set(ids) - {None}) for name, ids in asked.items()}
    wanted = {name: ids for name, ids in wanted.items() if ids}
    found: dict[str, dict[int, Model]] = {name: {} for name in SHARED}
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(map(_part, wanted)), list(wanted.values()))
        for name, pk, told in cursor.fetchall():
            model, column = SHARED[name]
            value = told == "1" if column == "check_vm_status" else told
            found[name][pk] = model.from_db(connection.alias, ["id", column], [pk, value])
    for name in SHARED:
        for each, other in zip(whose[name], map(found[name].get, asked[name]), strict=True):
            each._state.fields_cache[name] = other


@cache
def _part(name: str) -> str:
    """The part of the query that reads one kind; all its words are the models' own."""
    model, column = SHARED[name]
    quoted = connection.ops.quote_name
    table = quoted(model._meta.db_table)
    return f"SELECT '{name}', id, CAST({quoted(column)} AS CHAR) FROM {table} WHERE id IN %s"


def _hang(vms: Sequence[Vm], name: str, rows: Iterable[Any]) -> None:
    by_vm: dict[int, list[Any]] = {vm.pk: [] for vm in vms}
    for row in rows:
        by_vm[row.vm_id].append(row)
    for vm in vms:
        setattr(vm, name, by_vm[vm.pk])
