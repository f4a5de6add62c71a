"""Reading VMs: the only door to one. Another's VM is as absent."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core import kinds, permissions
from panel.core.errors import InvalidValue, NotFound
from panel.network.models import Address, AddressTerm
from panel.tasks import reservations
from panel.vms.models import AuxiliaryDisk, Disk, Interface, Purpose, StatusChange, Vm

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
MOST_BY_ADDRESS = 1000
OF_ONE = ("image", "iso", "installation", "counters", "node", "owner", "pool", "cluster")


def list_vms(viewer: User) -> QuerySet[Vm]:
    """The VMs that the viewer may see, with all that a list shows of them; raises AccessDenied (a scoped token)."""
    permissions.require(viewer, "vms.view")
    # Of what every VM has, in queries of its own: MariaDB would begin a join with the few nodes or owners, and
    # sort all VMs for each page. `counters` is the monitoring app's row, from which lists know warnings.
    vms = (
        Vm.objects.select_related("image", "iso", "installation", "counters")
        .defer("counters__reading")
        .annotate(rescued=Exists(AuxiliaryDisk.objects.filter(vm=OuterRef("pk"), purpose=Purpose.RESCUE)))
        .prefetch_related(
            "node",
            "owner",
            "pool",
            "cluster",
            Prefetch("disks", Disk.objects.select_related("volume")),
            Prefetch("interfaces", Interface.objects.select_related("network").with_ips()),
        )
    )
    return vms if viewer.sees_all else vms.filter(owner=viewer)


def fitting(vms: QuerySet[Vm], text: str) -> QuerySet[Vm]:
    """Those that fit what somebody types: a part of name, title or owner's name, a UUID, an address' beginning."""
    named = Q(name__icontains=text) | Q(title__icontains=text) | Q(owner__name__icontains=text)
    if UUID.match(text):
        named |= Q(uuid=text)
    return vms.filter(named | _by_address(text))


def with_address(vms: QuerySet[Vm], beginning: str) -> QuerySet[Vm]:
    """Those that have an address with this beginning."""
    return vms.filter(_by_address(beginning))


def _by_address(beginning: str) -> Q:
    # Read first: in one query with others MariaDB would look through the addresses of all VMs.
    held = Address.objects.filter(ip__startswith=beginning, held__isnull=False)
    return Q(pk__in=list(held.values_list("held__interface__vm", flat=True)[:MOST_BY_ADDRESS]))


def search(viewer: User, text: str) -> list[kinds.Found]:
    """The first that fit, with their states."""
    if not permissions.allows(viewer, "vms.view"):
        return []
    vms = Vm.objects.all() if viewer.sees_all else Vm.objects.filter(owner=viewer)
    found = fitting(vms, text).order_by("name").values_list("pk", "name", "status")
    return list(found[: kinds.MOST_FOUND])


def find_vm(viewer: User, vm_id: int) -> Vm | None:
    """One VM, None when absent or another's."""
    # One row is no reason for queries of their own.
    return list_vms(viewer).select_related(*OF_ONE).filter(pk=vm_id).first()


def find_bare_vm(viewer: User, vm_id: int) -> Vm | None:
    """As find_vm(), with its owner and nothing else of what a list shows: one query."""
    return find_bare_vms(viewer, [vm_id]).first()


def find_bare_vms(viewer: User, vm_ids: Sequence[int]) -> QuerySet[Vm]:
    """Those of the VMs that the viewer may see, likewise."""
    permissions.require(viewer, "vms.view")
    vms = Vm.objects.select_related("owner").filter(pk__in=vm_ids)
    return vms if viewer.sees_all else vms.filter(owner=viewer)


def get_vm(viewer: User, vm_id: int) -> Vm:
    """One VM; raises NotFound, also for another's."""
    vm = find_vm(viewer, vm_id)
    if vm is None:
        raise NotFound(object="vm", id=vm_id)
    return vm


def list_interfaces(viewer: User) -> QuerySet[Interface]:
    """The interfaces of the VMs that the viewer may see, each with its addresses, network and VM."""
    permissions.require(viewer, "vms.view")
    interfaces = (
        Interface.objects.select_related("network", "vm").prefetch_related("network__subnets").with_ips().order_by("pk")
    )
    return interfaces if viewer.sees_all else interfaces.filter(vm__owner=viewer)


def history(vm: Vm, limit: int = 50, before: int | None = None) -> list[StatusChange]:
    """The newest changes of the VM's status, or those before the change with this id, the newest first.

    Raises InvalidValue where there is no such change (any more).
    """
    rows = vm.status_changes.filter(repeated=False).select_related("node")
    if before is not None:
        newer = vm.status_changes.filter(pk=before).first()
        if newer is None:
            raise InvalidValue("“before” must be the id of a change of this VM's status.", field="before")
        same = Q(at=newer.at, epoch=newer.epoch)
        earlier = Q(at__lt=newer.at) | Q(at=newer.at, epoch__lt=newer.epoch) | (same & Q(sequence__lt=newer.sequence))
        earlier |= same & Q(sequence=newer.sequence, pk__lt=newer.pk)
        # The first condition says no more, but is what the index is read by.
        rows = rows.filter(earlier, at__lte=newer.at)
    return list(rows[:limit])


def promised_mib(node: Node, *, but: Vm | None = None) -> int:
    """How much memory the VMs of the node are promised together, running or not, and what they may go back to."""
    vms = Vm.objects.filter(node=node) if but is None else Vm.objects.filter(node=node).exclude(pk=but.pk)
    reserved = reservations.largest("vm", "promised_mib")
    # One that may grow while it runs has all of that at the moment of its start.
    rows = vms.values_list("pk", "memory_mib", "max_memory_mib")
    return sum(max(memory, most, reserved.get(pk, 0)) for pk, memory, most in rows)


def list_addresses(viewer: User) -> QuerySet[Address]:
    """The addresses in use that the viewer may see, with the VM that has each (`held`).

    Those of one's own VMs, and those that are reserved for them.
    """
    permissions.require(viewer, "vms.view")
    addresses = Address.objects.select_related("network", "owner", "held__interface__vm__owner")
    if viewer.sees_all:
        return addresses
    return addresses.filter(Q(held__interface__vm__owner=viewer) | Q(held=None, owner=viewer))


def list_address_terms(viewer: User) -> QuerySet[AddressTerm]:
    """Who had which address when: whose VMs they were then."""
    permissions.require(viewer, "vms.view")
    found = AddressTerm.objects.all()
    return found if viewer.sees_all else found.filter(owner_id=viewer.pk)
