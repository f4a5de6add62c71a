"""How much of its limits an account uses, and the refusal of more.

An account is asked for room where rows come to be its own, in the transaction that writes them and with its
row held: two that ask at once cannot both have the last place. What an open task may yet give it counts too
(tasks/reservations.py): a disk that is to grow, a VM that is made smaller and may become as large again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from django.db.models import Count, QuerySet, Sum

from panel.accounts.limits import limits_of
from panel.accounts.models import Limits, User
from panel.core.errors import LimitExceeded
from panel.storage.models import Volume
from panel.tasks import reservations
from panel.tasks.models import Status
from panel.vms.models import Disk, InterfaceAddress, Vm

OVER = (Status.DONE, Status.FAILED, Status.CANCELLED)
"""A stuck task may still be tried again."""
COUNTED = ("vms", "memory_mib", "vcpus", "disk_gib", "addresses")
"""Those that an account's VMs have together; `snapshots` is of each VM, and images/isos.py counts ISO images."""


@dataclass(frozen=True)
class Resources:
    """So much of each, used or asked for."""

    vms: int = 0
    memory_mib: int = 0
    vcpus: int = 0
    disk_gib: int = 0
    addresses: int = 0

    @classmethod
    def of(cls, vm: Vm) -> Resources:
        """What a VM takes."""
        return cls(
            1, vm.memory_mib, vm.vcpus, disk_gib_of(vm), InterfaceAddress.objects.filter(interface__vm=vm).count()
        )

    @classmethod
    def at_most(cls, vm: Vm) -> Resources:
        """What a VM takes, with what open tasks may bring it to."""
        now = cls.of(vm)
        coming = _coming(Vm.objects.filter(pk=vm.pk))
        return replace(now, **{name: getattr(now, name) + more for name, more in coming.items()})


def disk_gib_of(vm: Vm) -> int:
    """All disks of the VM together."""
    return vm.disks.aggregate(all=Sum("volume__size_gib"))["all"] or 0


def used_by(user: User) -> Resources:
    """What the user's VMs take, with what open tasks may bring them to; five queries."""
    vms = Vm.objects.filter(owner=user).aggregate(count=Count("pk"), memory=Sum("memory_mib"), cpus=Sum("vcpus"))
    coming = _coming(Vm.objects.filter(owner=user))
    return Resources(
        vms=vms["count"],
        memory_mib=(vms["memory"] or 0) + coming["memory_mib"],
        vcpus=(vms["cpus"] or 0) + coming["vcpus"],
        disk_gib=(Disk.objects.filter(vm__owner=user).aggregate(all=Sum("volume__size_gib"))["all"] or 0)
        + coming["disk_gib"],
        addresses=InterfaceAddress.objects.filter(interface__vm__owner=user).count(),
    )


def refuse_over_limits(owner: User, needed: Resources) -> None:
    """Raise LimitExceeded where so much more would pass a limit of the owner's; reads only, for check()."""
    _refuse(limits_of(owner), owner, needed)


def require_within_limits(owner: User, needed: Resources) -> None:
    """The same with the owner's row held until the transaction ends; before rows are written that take the room."""
    limits = limits_of(owner)
    if any(getattr(limits, name) is not None for name in COUNTED):
        User.objects.select_for_update().only("pk").get(pk=owner.pk)
        limits = limits_of(owner)
    _refuse(limits, owner, needed)


def _refuse(limits: Limits, owner: User, needed: Resources) -> None:
    asked = {name: getattr(needed, name) for name in COUNTED if getattr(needed, name) > 0}
    if all(getattr(limits, name) is None for name in asked):
        return
    used = used_by(owner)
    for name, more in asked.items():
        allowed, now = getattr(limits, name), getattr(used, name)
        if allowed is not None and now + more > allowed:
            raise LimitExceeded(limit=name, used=now, allowed=allowed, asked=more, field=name)


def sizes_of(vm: Vm) -> dict[str, int]:
    """What a task reserves that makes the VM another size: it may be as large as this again if the task fails."""
    return {"memory_mib": vm.memory_mib, "vcpus": vm.vcpus, "promised_mib": max(vm.memory_mib, vm.max_memory_mib)}


def _coming(of: QuerySet[Vm]) -> Counter[str]:
    """What open tasks may bring these VMs to beyond their rows."""
    found: Counter[str] = Counter()
    found["disk_gib"] = sum(more for _, more in growing(Disk.objects.filter(vm__in=of)))
    for name in ("memory_mib", "vcpus"):
        most = reservations.largest("vm", name)
        for pk, now in of.filter(pk__in=most).values_list("pk", name) if most else ():
            found[name] += max(0, most[pk] - now)
    return found


def growing(of: QuerySet[Disk] | None = None) -> list[tuple[Volume, int]]:
    """The volumes that open tasks may make larger, and by how many GiB at most; of these disks, or of all."""
    most = reservations.largest("disk", "size_gib")
    if not most:
        return []
    disks = (Disk.objects.all() if of is None else of).filter(pk__in=most).select_related("volume")
    found = [(disk.volume, most[disk.pk] - disk.volume.size_gib) for disk in disks]
    return [(volume, more) for volume, more in found if more > 0]


def shrinking() -> list[tuple[int, int]]:
    """Nodes that may have to give a VM more memory again than its row says, each with so many MiB."""
    most = reservations.largest("vm", "promised_mib")
    vms = Vm.objects.filter(pk__in=most) if most else []
    found = [(vm.node_id, most[vm.pk] - sizes_of(vm)["promised_mib"]) for vm in vms]
    return [(node_id, more) for node_id, more in found if more > 0]
