"""What the ledger of usage (panel/usage) is told of VMs: their shape as the rows have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from panel.usage import ledger
from panel.usage.ledger import Shape
from panel.vms import address_history
from panel.vms.models import Disk, InterfaceAddress, Vm

VMS_A_QUERY = 500


def note_shape(vm_id: int, order: str = "") -> None:
    """The ledger says what the VM's rows say: its owner, size, suspension, or that it is gone.

    `order` is how the task ended that was to make a VM which is gone now, if there never was one.

    Called in every transaction that changes one of them, when it has; where nothing has changed nothing
    is added. The doctor finds what was forgotten.
    """
    note_size(vm_id, order)
    address_history.note_terms(vm_id)


def note_size(vm_id: int, order: str = "") -> None:
    """note_shape() where neither an address, the VM's name nor its owner can have changed."""
    # Held before it is read: of two that change different rows of the VM, the second sees what the first did.
    list(Vm.objects.select_for_update().filter(pk=vm_id).values_list("pk"))
    found = shapes(Vm.objects.filter(pk=vm_id))
    if found:
        ledger.append(found[0])
    else:
        ledger.end(vm_id, order)


def differing() -> Iterator[int]:
    """The VMs of which the ledger says something else than their rows do; a query or two for 500 VMs."""
    last = 0
    while found := shapes(Vm.objects.filter(pk__gt=last).order_by("pk")[:VMS_A_QUERY]):
        noted = ledger.last_shapes([shape.vm_id for shape in found])
        yield from (shape.vm_id for shape in found if noted.get(shape.vm_id) != shape)
        last = found[-1].vm_id
    yield from ledger.without_end(Vm.objects.values("pk"))


def shapes(vms: QuerySet[Vm]) -> list[Shape]:
    """What the ledger should say of these VMs; one query."""
    disks = Disk.objects.filter(vm=OuterRef("pk")).order_by().values("vm").annotate(all=Sum("volume__size_gib"))
    held = InterfaceAddress.objects.filter(interface__vm=OuterRef("pk")).order_by().values("interface__vm")
    addresses = held.annotate(all=Count("pk"))
    sized = vms.annotate(
        disk_gib=Coalesce(Subquery(disks.values("all")), 0, output_field=IntegerField()),
        addresses=Coalesce(Subquery(addresses.values("all")), 0, output_field=IntegerField()),
    ).only("pk", "uuid", "name", "owner_id", "vcpus", "memory_mib", "suspended_at", "pending")
    return [
        Shape(
            vm_id=vm.pk,
            uuid=vm.uuid,
            name=vm.name,
            owner_id=vm.owner_id,
            vcpus=had(vm, "vcpus"),
            memory_mib=had(vm, "memory_mib"),
            disk_gib=vm.disk_gib,
            addresses=vm.addresses,
            suspended=vm.suspended,
        )
        for vm in sized
    ]


def had(vm: Vm, field: str) -> int:
    """How much the VM has of a setting: what waits for its next start is not had yet."""
    waiting = (each["now"] for each in vm.pending if each["field"] == field and isinstance(each["now"], int))
    wanted: int = getattr(vm, field)
    return next(waiting, wanted)


def waits(vm: Vm) -> bool:
    """Whether something that is paid for waits for the next start."""
    return any(each["field"] in ("vcpus", "memory_mib") for each in vm.pending)


_ENDING: list[Callable[[int], None]] = []


def on_ending(callback: Callable[[int], None]) -> None:
    """Have this called in each transaction that forgets a VM, with its id, while its rows are there still."""
    _ENDING.append(callback)


def tell_ending(vm_id: int) -> None:
    """A VM is about to be forgotten."""
    for each in _ENDING:
        each(vm_id)
