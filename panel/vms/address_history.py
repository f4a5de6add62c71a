"""Who had which address when: for letters about abuse, and for bills. What is kept outlives the VM and its owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils import timezone

from panel.network.models import AddressTerm
from panel.vms.models import InterfaceAddress

SHAPE = ("ip", "network", "vm_id", "vm_uuid", "vm_name", "mac", "owner_id", "owner_name")
HELD = {
    "ip": "address__ip",
    "network": "address__network__name",
    "vm_id": "interface__vm_id",
    "vm_uuid": "interface__vm__uuid",
    "vm_name": "interface__vm__name",
    "mac": "interface__mac",
    "owner_id": "interface__vm__owner_id",
    "owner_name": "interface__vm__owner__name",
}


_tell: list[Callable[[int], object]] = []


def tell_of_changes_by(function: Callable[[int], object]) -> None:
    """Have this called with the VM's id, in the same transaction, when a VM gets or loses an address, or is renamed."""
    _tell.append(function)


def note_terms(vm_id: int) -> None:
    """What is kept says what the VM's rows say. Called in every transaction that changes its addresses, MACs or owner.

    A term ends with any change of it, of the VM's name and owner too, and another begins.
    """
    held = InterfaceAddress.objects.filter(interface__vm_id=vm_id).values_list(*HELD.values())
    wanted = {tuple(row) for row in held}
    ended = []
    for term in AddressTerm.objects.filter(vm_id=vm_id, until=None):
        shape = tuple(getattr(term, name) for name in SHAPE)
        if shape in wanted:
            wanted.remove(shape)
        else:
            ended.append(term.pk)
    now = timezone.now()
    if ended:
        AddressTerm.objects.filter(pk__in=ended).update(until=now)
    AddressTerm.objects.bulk_create([AddressTerm(**_named(row), since=now) for row in sorted(wanted, key=str)])
    if ended or wanted:
        for tell in _tell:
            tell(vm_id)


def _named(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(SHAPE, row, strict=True))
