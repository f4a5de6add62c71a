"""Devices of a running domain: plug, unplug, change. The description for its next start is host_create's."""

from __future__ import annotations

import time
from typing import Any, Callable, List, Optional, Type, TypeVar

from nodeagent import libvirtd
from nodeagent import storage as storages
from nodeagent.commands import builtin, handles
from nodeagent.commands.hosts import find, refuse_saved
from nodeagent.errors import InUse, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import devices, storage
from nodeagent.protocol.settings import Difference
from nodeagent.xml import edit
from nodeagent.xml.builder import Element
from nodeagent.xml.describe import disk_values, interface_values
from nodeagent.xml.domain import DISK_LIMITS, Disk, Domain, Interface
from nodeagent.xml.facts import place_of

HOTPLUG_BUSES = ("virtio", "scsi")
ASK_AGAIN_SECONDS = 5.0
POLL_SECONDS = 0.25

E = TypeVar("E", bound=Element)
OFF = devices.DeviceState(running=False, live=False)
LIVE = devices.DeviceState(running=True, live=True)
LATER = devices.DeviceState(running=True, live=False)


@handles(devices.DiskAttach)
def disk_attach(request: devices.DiskAttach, job: Job) -> devices.DeviceState:
    """Plug the disk in."""
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive():
            return OFF
        if _disk_with(domain, request.disk.volume) is not None:
            return LIVE
        if request.disk.bus not in HOTPLUG_BUSES:
            return LATER
        _attach(domain, _filled(Disk, disk_values(request.disk)))
        return LIVE


@handles(devices.DiskDetach)
def disk_detach(request: devices.DiskDetach, job: Job) -> devices.DeviceState:
    """Unplug the disk."""

    def look(domain: Any) -> Optional[Disk]:
        found = _disk_with(domain, request.volume)
        if found is None and request.target:
            _refuse_other_file(domain, request)
        if found is not None and found.target_bus not in HOTPLUG_BUSES:
            raise InUse(f"A disk on {found.target_bus} cannot be unplugged while the guest runs.")
        return found

    return _detach(request.uuid, look, request.timeout_seconds, job)


@handles(devices.DiskGrow)
def disk_grow(request: devices.DiskGrow, job: Job) -> storage.VolumeState:
    """Grow the volume, by its guest's QEMU where there is one."""
    storages.driver(request.volume.pool)
    libvirt = libvirtd.bindings()
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        refuse_saved(domain)
        disk = _disk_with(domain, request.volume) if domain.isActive() else None
        if disk is not None:
            # Capacity, allocation, physical: QEMU's own view.
            if domain.blockInfo(disk.target_dev)[0] < request.size_bytes:
                domain.blockResize(disk.target_dev, request.size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            state: storage.VolumeState = builtin("volume_info")(storage.VolumeInfo(request.volume, request.format), job)
            return state
    grow = storage.VolumeGrow(request.volume, request.size_bytes, request.format)
    grown: storage.VolumeState = builtin("volume_grow")(grow, job)
    return grown


@handles(devices.DiskLimit)
def disk_limit(request: devices.DiskLimit, job: Job) -> devices.DeviceState:
    """Set the limits of the running domain's disk."""
    libvirt = libvirtd.bindings()
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive():
            return OFF
        # One that goes on in a file of somebody else's is the same disk to its guest.
        disk = _disk_with(domain, request.disk.volume) or _disk_called(domain, request.disk.target)
        if disk is None:
            return LATER
        limits = {name: getattr(request.disk, name) for name in DISK_LIMITS}
        domain.setBlockIoTune(disk.target_dev, limits, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        same = (disk.target_bus, disk.cache) == (request.disk.bus, request.disk.cache)
        return LIVE if same else LATER


@handles(devices.CdromChange)
def cdrom_change(request: devices.CdromChange, job: Job) -> devices.DeviceState:
    """Change what lies in the drive, even when the guest has locked its door."""
    libvirt = libvirtd.bindings()
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive():
            return OFF
        drives = [each for each in _live(domain).disks if each.device == "cdrom" and each.target_dev == request.target]
        if not drives:
            return LATER
        if place_of(drives[0]) != storages.place(request.iso):
            drives[0].source = storages.source(request.iso) if request.iso else None
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE
            domain.updateDeviceFlags(drives[0].to_xml(), flags)
        return LIVE


@handles(devices.InterfaceAttach)
def interface_attach(request: devices.InterfaceAttach, job: Job) -> devices.DeviceState:
    """Plug the interface in."""
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive():
            return OFF
        if _interface_with(domain, request.interface.mac) is None:
            _attach(domain, _filled(Interface, interface_values(request.interface)))
        return LIVE


@handles(devices.InterfaceDetach)
def interface_detach(request: devices.InterfaceDetach, job: Job) -> devices.DeviceState:
    """Unplug the interface."""
    return _detach(request.uuid, lambda domain: _interface_with(domain, request.mac), request.timeout_seconds, job)


@handles(devices.InterfaceChange)
def interface_change(request: devices.InterfaceChange, job: Job) -> devices.DeviceState:
    """Change the running domain's interface."""
    libvirt = libvirtd.bindings()
    wanted = request.interface
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive():
            return OFF
        found = _interface_with(domain, wanted.mac)
        if found is None:
            return LATER
        if found.bridge != wanted.bridge:
            found.bridge = wanted.bridge
            domain.updateDeviceFlags(found.to_xml(), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        limits = {"inbound.average": wanted.inbound_kibps, "outbound.average": wanted.outbound_kibps}
        domain.setInterfaceParameters(wanted.mac, limits, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        return LIVE


def _live(domain: Any) -> Domain:
    return Domain.parse(domain.XMLDesc(0))


def _disk_with(domain: Any, volume: storage.VolumeRef) -> Optional[Disk]:
    return next((each for each in _live(domain).disks if storages.is_at(each.source, volume)), None)


def _disk_called(domain: Any, target: str) -> Optional[Disk]:
    return next((each for each in _live(domain).disks if each.target_dev == target), None)


def _refuse_other_file(domain: Any, request: devices.DiskDetach) -> None:
    """Raise Drifted where the guest has another file under the disk's name, as after a snapshot made by hand."""
    other = _disk_called(domain, request.target)
    if other is not None and other.device != "cdrom":
        raise edit.drifted([Difference(f"disk {request.target}", place_of(other), storages.place(request.volume))])


def _interface_with(domain: Any, mac: str) -> Optional[Interface]:
    return next((each for each in _live(domain).interfaces if (each.mac or "").lower() == mac.lower()), None)


def _filled(cls: Type[E], values: Any) -> E:
    element = cls()
    element.set(**values)
    return element


def _attach(domain: Any, element: Element) -> None:
    if libvirtd.is_test_driver():
        raise InvalidParams("libvirt's test driver plugs nothing.", field="uuid")
    domain.attachDeviceFlags(element.to_xml(), libvirtd.bindings().VIR_DOMAIN_AFFECT_LIVE)


def _detach(
    uuid: str, look: Callable[[Any], Optional[Element]], timeout_seconds: float, job: Job
) -> devices.DeviceState:
    """Unplug what `look` finds; the guest has a say in it, so it is asked again until it has let go."""
    libvirt = libvirtd.bindings()
    asked: List[float] = []
    began = time.monotonic()
    with libvirtd.translated() as conn:
        domain = find(conn, uuid)
        while domain.isActive():
            element = look(domain)
            if element is None:
                return LIVE
            waited = time.monotonic() - began
            if waited >= timeout_seconds:
                raise InUse("The guest did not let go of the device. Shut the VM down first, or try again later.")
            if not asked or waited - asked[-1] >= ASK_AGAIN_SECONDS:
                asked.append(waited)
                try:
                    domain.detachDeviceFlags(element.to_xml(), libvirt.VIR_DOMAIN_AFFECT_LIVE)
                except libvirt.libvirtError:
                    # Asked before and still at it, or gone in this moment; what counts is what is there after.
                    if len(asked) == 1 and look(domain) is not None:
                        raise
            job.progress(waited, timeout_seconds, "waiting for the guest to let go")
            job.wait(POLL_SECONDS)
        return OFF
