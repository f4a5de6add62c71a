"""Guests that are there already: their seeds, their systems, copies of their volumes, their names."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from nodeagent.protocol import BadMessage, Nothing, guest, host, identity, storage
from panel.cluster.client import Progress, Report
from panel.cluster.fake.hosts import Hosts
from panel.cluster.fake.state import STATES_ON, AgentRefusal, FakeVolume
from panel.cluster.fake.volumes import Volumes


class Guests(Hosts, Volumes):
    """What is changed in a guest that was installed before."""

    def _check_change(self, change: guest.GuestChange, login: str = "root") -> None:
        try:
            guest.check_change(change, login)
        except BadMessage as error:
            raise AgentRefusal("invalid_params", str(error), field=error.field) from error

    def _seed_change(self, request: guest.SeedChange, _report: Report | None) -> storage.VolumeState:
        path = self._seed(request.seed)
        self._check_change(request.change)
        if path not in self.seeds:
            raise AgentRefusal("invalid_params", "There is no such seed.", field="seed")
        instance_id, told = self.seeds[path]
        self.seeds[path] = (request.instance_id or instance_id, request.change.of(told))
        return self._volume_state(path)

    def _seed_restore(self, request: guest.SeedRestore, report: Report | None) -> storage.VolumeState:
        path = self._seed(request.seed)
        if path in self.seeds:
            return self._volume_state(path)
        created = identity.SeedCreate(request.seed, request.instance_id, request.guest)
        return self._seed_create(created, report)

    def _volume_reconfigure(self, request: guest.VolumeReconfigure, _report: Report | None) -> Nothing:
        self._check_format(request.volume, request.format)
        path = self._place(request.volume)
        self._check_change(request.change, request.login)
        if path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="volume")
        self._refuse_built_upon(path)
        return Nothing()

    def _guest_configure(self, request: guest.GuestConfigure, _report: Report | None) -> guest.Configured:
        self._check_change(request.change, request.login)
        domain = self._domain(request.uuid)
        return guest.Configured(answered=domain.state in STATES_ON and domain.has_agent)

    def _guest_addresses(self, request: guest.GuestAddresses, _report: Report | None) -> guest.Configured:
        self._check_change(guest.GuestChange(network=request.network))
        for each in request.gone:
            self._check_address(each)
        domain = self._domain(request.uuid)
        return guest.Configured(answered=domain.state in STATES_ON and domain.has_agent)

    def _check_address(self, gone: identity.GuestAddress) -> None:
        try:
            ipaddress.ip_interface(f"{gone.address}/{gone.prefix}")
        except ValueError as error:
            raise AgentRefusal("invalid_params", f"This is not an address: {error}.", field="gone") from error

    def _volume_clone(self, request: guest.VolumeClone, report: Report | None) -> storage.VolumeState:
        self._check_format(request.volume, request.format)
        path, from_path = self._place(request.volume), self._place(request.source)
        source = self.files.get(from_path)
        if path not in self.files:
            if source is None:
                raise AgentRefusal("invalid_params", "There is no such volume.", field="source")
            self._volume_state(from_path, request.format)
            for domain in self.domains.values():
                if domain.state in STATES_ON and request.source in [disk.volume for disk in domain.spec.disks]:
                    raise AgentRefusal("in_use", "A running guest holds the volume.")
            if report is not None:
                report(Progress(source.virtual_bytes, source.virtual_bytes))
            self.files[path] = FakeVolume(source.format, source.virtual_bytes)
        return self._volume_state(path)

    def _disks_copy(self, request: guest.DisksCopy, report: Report | None) -> guest.DisksCopied:
        self._check_copies(request.copies)
        if all(self._place(copy.volume) in self.files for copy in request.copies):
            return guest.DisksCopied(frozen=None)
        domain = self._domain(request.uuid)
        if not all(self._place(copy.source) in self.files for copy in request.copies):
            raise AgentRefusal("invalid_params", "There is no such volume.", field="copies")
        if domain.state not in STATES_ON:
            raise AgentRefusal("guest_stopped", "The VM does not run.", state=domain.state)
        if not self.copies_running:
            text = "This node's libvirt or QEMU cannot copy the disks of a VM that runs."
            raise AgentRefusal("unsupported", text)
        total = sum(self.files[self._place(copy.source)].virtual_bytes for copy in request.copies)
        if report is not None:
            report(Progress(total, total, f"{total >> 20} of {total >> 20} MiB"))
        for copy in request.copies:
            source = self.files[self._place(copy.source)]
            self.files[self._place(copy.volume)] = FakeVolume(source.format, source.virtual_bytes)
        return guest.DisksCopied(frozen=domain.has_agent and domain.state == "running")

    def _disks_copy_stop(self, request: guest.DisksCopyStop, _report: Report | None) -> Nothing:
        self._check_copies(request.copies)
        if not all(self._place(copy.volume) in self.files for copy in request.copies):
            for copy in request.copies:
                self.files.pop(self._place(copy.volume), None)
        return Nothing()

    def _check_copies(self, copies: list[guest.DiskCopy]) -> None:
        if not copies:
            raise AgentRefusal("invalid_params", "There is nothing to copy.", field="copies")
        for copy in copies:
            self._check_format(copy.volume, copy.format)
            self._place(copy.source)
            self._place(copy.volume)

    def _host_rename(self, request: guest.HostRename, _report: Report | None) -> host.HostState:
        domain = self._domain(request.uuid)
        if not request.name.isprintable():
            raise AgentRefusal("invalid_params", "A name has a character that XML cannot hold.", field="name")
        if domain.spec.name != request.name:
            if domain.state in STATES_ON:
                raise AgentRefusal("in_use", "The domain still runs.")
            if domain.snapshots:
                raise AgentRefusal("in_use", f"The domain has snapshots, which name it: {', '.join(domain.snapshots)}.")
            self._host_create(host.HostCreate(spec=replace(domain.spec, name=request.name)), None)
        return self._state(request.uuid)
