"""Devices of running domains."""

from __future__ import annotations

from dataclasses import replace

from nodeagent import storage as storages
from nodeagent.protocol import devices, host, storage
from panel.cluster.client import Report
from panel.cluster.fake.hosts import Hosts
from panel.cluster.fake.state import STATES_ON, AgentRefusal, FakeDomain
from panel.cluster.fake.volumes import Volumes


class Devices(Hosts, Volumes):
    """Disks, drives and interfaces that are plugged, unplugged and changed."""

    def _on(self, uuid: str) -> FakeDomain | None:
        domain = self._domain(uuid)
        return domain if domain.state in STATES_ON else None

    def _disk_attach(self, request: devices.DiskAttach, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now = domain.now
        if all(disk.volume != request.disk.volume for disk in now.disks):
            if request.disk.bus == "sata":
                return devices.DeviceState(True, False)
            domain.running = replace(now, disks=[*now.disks, request.disk])
        return devices.DeviceState(True, True)

    def _disk_detach(self, request: devices.DiskDetach, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now = domain.now
        if all(disk.volume != request.volume for disk in now.disks):
            for other in now.disks:
                if other.target == request.target:
                    node, stored = storages.place(other.volume), storages.place(request.volume)
                    difference = {"field": f"disk {other.target}", "node": node, "stored": stored}
                    text = f"Its description was changed by hand (disk {other.target})."
                    raise AgentRefusal("drifted", text, differences=[difference])
        if any(disk.volume == request.volume and disk.bus == "sata" for disk in now.disks):
            raise AgentRefusal("in_use", "A disk on sata cannot be unplugged while the guest runs.")
        domain.running = replace(now, disks=[disk for disk in now.disks if disk.volume != request.volume])
        return devices.DeviceState(True, True)

    def _disk_grow(self, request: devices.DiskGrow, report: Report | None) -> storage.VolumeState:
        self._place(request.volume)
        self._refuse_saved(self._domain(request.uuid))
        grow = storage.VolumeGrow(request.volume, request.size_bytes, request.format)
        return self._volume_grow(grow, report)

    def _disk_limit(self, request: devices.DiskLimit, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        wanted, same = request.disk, False
        for disk in domain.now.disks:
            same = same or (disk.volume, disk.bus, disk.cache) == (wanted.volume, wanted.bus, wanted.cache)
        return devices.DeviceState(True, same)

    def _cdrom_change(self, request: devices.CdromChange, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        if domain.now.iso is None or request.target != host.ISO_TARGET:
            return devices.DeviceState(True, False)
        domain.running = replace(domain.now, iso=request.iso)
        return devices.DeviceState(True, True)

    def _interface_attach(self, request: devices.InterfaceAttach, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now, wanted = domain.now, request.interface
        others = [each for each in now.interfaces if each.mac != wanted.mac]
        domain.running = replace(now, interfaces=[*others, wanted])
        return devices.DeviceState(True, True)

    def _interface_detach(self, request: devices.InterfaceDetach, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now = domain.now
        kept = [each for each in now.interfaces if each.mac != request.mac]
        domain.running = replace(now, interfaces=kept)
        return devices.DeviceState(True, True)

    def _interface_change(self, request: devices.InterfaceChange, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now, wanted = domain.now, request.interface
        if all(each.mac != wanted.mac for each in now.interfaces):
            return devices.DeviceState(True, False)
        changed = [wanted if each.mac == wanted.mac else each for each in now.interfaces]
        domain.running = replace(now, interfaces=changed)
        return devices.DeviceState(True, True)
