"""What of a VM is gone for good by an operation, as pages name it before."""

from __future__ import annotations

from panel.core.wording import Text
from panel.vms.models import Disk, Vm


def of_vm(vm: Vm) -> list[Text]:
    """All that it has: disks, snapshots, addresses."""
    found = [of_disk(each) for each in vm.told_disks]
    if names := [each.name for each in vm.snapshots.all()]:
        found.append(Text("Snapshots: {names}", {"names": ", ".join(names)}))
    if addresses := [ip for each in vm.told_interfaces for ip in each.ips]:
        found.append(Text("Addresses, which may be another's a moment later: {names}", {"names": ", ".join(addresses)}))
    return found


def of_disk(disk: Disk) -> Text:
    """One disk with all that is on it."""
    return Text("Disk {target} with {size_gib} GiB", {"target": disk.target, "size_gib": disk.volume.size_gib})
