"""`vm`, `vmmini`, `vm.sysinfo`, `novnc`: reading VMs."""

from __future__ import annotations

from collections.abc import Mapping

from panel.accounts.models import User
from panel.core import permissions
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Cell, Form, Translated
from panel.mgrapi.functions.lists import listed
from panel.monitoring.models import VmCounters
from panel.tasks.models import ENDED, Task
from panel.vms.elsewhere import ACTIVE
from panel.vms.models import Vm, VmStatus
from panel.vms.selectors import get_vm, list_vms

MIB_PER_GIB = 1024
STATUS_WORDS = {VmStatus.SHUT_OFF: "stopped", VmStatus.SAVED: "stopped"}
"""Where VMmanager's word is another than libvirt's."""
STATES = {VmStatus.SHUT_OFF: "down", VmStatus.SAVED: "down"}
"""The word of a form's `state`."""
SYSTEM_WORK = ("vm.create", "vm.clone", "vm.reinstall")
"""Operations that a VM's system is not ready during."""
FILTERS = {
    "id": "pk",
    "name": "name__icontains",
    "ip": "interfaces__held__address__ip",
    "user": "owner__name",
    "hostnode": "node__name",
}


def status_of(vm: Vm) -> Translated:
    """The status, in VMmanager's word and in words for people."""
    return Translated(STATUS_WORDS.get(VmStatus(vm.status), vm.status), vm.get_status_display())


def size_mib(vm: Vm) -> int:
    """How large its disks are together."""
    return sum(disk.volume.size_gib for disk in vm.disks.all()) * MIB_PER_GIB


def first_ip(vm: Vm) -> str:
    """The address of its first interface; empty for none."""
    return next((ip for interface in vm.interfaces.all() for ip in interface.ips), "")


def vm_row(vm: Vm, viewer: User) -> Mapping[str, Cell]:
    """A VM in the list, with its node for who sees nodes. Clients wait for `installos` and `installing` to be gone."""
    return {
        "id": vm.pk,
        "name": vm.name,
        "ip": first_ip(vm),
        "domain": vm.name,
        "user": vm.owner.name,
        "hostnode": vm.node.name if permissions.allows(viewer, "cluster.view") else None,
        "vmstatus": status_of(vm),
        "mem": vm.memory_mib,
        "vcpu": vm.vcpus,
        "vdsize": size_mib(vm),
        "osname": vm.image.name if vm.image else "",
        "installos": not vm.installed,
        "installing": not vm.installed or vm.installing,
        "blocked": vm.suspended,
    }


def vm(viewer: User, call: Call) -> Answer:
    """The VMs that the viewer sees."""
    return listed(call, list_vms(viewer), lambda each: vm_row(each, viewer), _filters(viewer))


def vmmini(viewer: User, call: Call) -> Answer:
    """The same with little of each."""
    return listed(
        call,
        list_vms(viewer),
        lambda vm: {"id": vm.pk, "name": vm.name, "ip": first_ip(vm), "vmstatus": status_of(vm)},
        _filters(viewer),
    )


def _filters(viewer: User) -> Mapping[str, str]:
    sees_nodes = permissions.allows(viewer, "cluster.view")
    return {name: lookup for name, lookup in FILTERS.items() if name != "hostnode" or sees_nodes}


def form_state(vm: Vm) -> Mapping[str, Cell]:
    """What forms say besides: whether its system is ready, and whether it runs.

    VNC has no address of its own here: `vm.novnc` is the way to the console, so those fields are there and empty.
    """
    work = Task.objects.filter(object_type="vm", object_id=vm.pk, operation__in=SYSTEM_WORK).exclude(status__in=ENDED)
    ready = vm.installed and not vm.installing and not work.exists()
    state = STATES.get(VmStatus(vm.status), vm.status)
    return {"osinstalled": "on" if ready else "off", "state": state, "vnchost": "", "vncport": "", "vncpassword": ""}


def _interface_names(vm: Vm) -> str:
    """What its interfaces are called on its node, as vmwatch saw them last; empty for a VM that is off."""
    counters = VmCounters.objects.filter(vm=vm).first()
    names = counters.reading.get("interfaces") if counters is not None and vm.status in ACTIVE else None
    return ", ".join(sorted(names or {}))


def sysinfo(viewer: User, call: Call) -> Answer:
    """What is known of one VM, with what its interfaces are called on its node while it runs."""
    vm = get_vm(viewer, call.id())
    row = vm_row(vm, viewer)
    return Form(
        {
            **row,
            "interfaces": _interface_names(vm) or None,
            "uuid": str(vm.uuid),
            "observed_at": vm.observed_at.isoformat(timespec="seconds") if vm.observed_at else None,
            "created_at": vm.created_at.isoformat(timespec="seconds"),
            "machine": vm.machine,
            "firmware": vm.firmware,
        }
    )


def novnc(viewer: User, call: Call) -> Answer:
    """Where the VM's console is. The page asks whoever opens it to be signed in; a browser is sent there at once."""
    permissions.require(viewer, "vms.console")
    vm = get_vm(viewer, call.id())
    address = f"/vms/{vm.pk}/console"
    return Form({"id": vm.pk, "elid": vm.pk, "url": call.request.build_absolute_uri(address)})


FUNCTIONS = {"vm": vm, "vmmini": vmmini, "vm.sysinfo": sysinfo, "vm.novnc": novnc, "novnc": novnc}
