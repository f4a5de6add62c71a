"""Moves between nodes."""

from __future__ import annotations

from nodeagent import storage as storages
from nodeagent.protocol import Nothing, host, migration, storage
from panel.cluster.client import Progress, Report
from panel.cluster.fake.hosts import Hosts
from panel.cluster.fake.state import STATES_ON, AgentRefusal, FakeDomain
from panel.cluster.fake.volumes import Volumes

accepting: dict[int, Migration] = {}
"""Which node awaits a VM, by the move's ticket."""


class Migration(Hosts, Volumes):
    """Both ends of a move."""

    def _migration_describe(self, request: migration.MigrationDescribe, _report: Report | None) -> migration.Subject:
        domain = self._domain(request.uuid)
        spec = domain.spec
        return migration.Subject(
            spec.uuid,
            spec.name,
            domain.state,
            spec.virt,
            spec.machine,
            "",
            0,
            len(domain.snapshots),
            [storages.place(each) for each in spec.cdroms],
            self._cached(domain),
            self.nvram.get(spec.uuid, 0),
            list(domain.snapshots),
        )

    def _cached(self, domain: FakeDomain) -> list[str]:
        return [disk.target for disk in domain.now.disks if disk.cache not in ("none", "directsync")]

    def _migration_check(self, request: migration.MigrationCheck, _report: Report | None) -> migration.Reasons:
        reasons = list(self.lacks)
        for uuid, domain in self.domains.items():
            if uuid == request.subject.uuid:
                reasons.append("a domain with this UUID is there already")
            elif domain.spec.name == request.subject.name:
                reasons.append(f"another domain is called “{request.subject.name}” there")
        reasons += [f"the bridge “{name}” is missing" for name in request.bridges if name not in self.bridges]
        reasons += [f"the file {path} is not there" for path in request.files if path not in self.files]
        if request.memory_mib > self.memory_mib:
            reasons.append(f"{self.memory_mib} MiB of memory free, {request.memory_mib} MiB needed")
        if request.pool.name not in self.pools:
            reasons.append("the storage is not on this node")
        return migration.Reasons(reasons)

    def _migration_offer(self, request: migration.MigrationOffer, _report: Report | None) -> migration.Offer:
        self.tickets.add(request.ticket)
        return migration.Offer(f"ssh-ed25519 AAAA vmpanel-migration-{request.ticket}")

    def _migration_accept(self, request: migration.MigrationAccept, _report: Report | None) -> migration.Tunnel:
        if request.public_key.split()[2:] != [f"vmpanel-migration-{request.ticket}"]:
            raise AgentRefusal("invalid_params", "This is not the key of this ticket.", field="public_key")
        self.tickets.add(request.ticket)
        accepting[request.ticket] = self
        return migration.Tunnel("/run/libvirt/libvirt-sock")

    def _migration_close(self, request: migration.MigrationClose, _report: Report | None) -> Nothing:
        self.tickets.discard(request.ticket)
        self.volumes_received.pop(request.ticket, None)
        if accepting.get(request.ticket) is self:
            del accepting[request.ticket]
        return Nothing()

    def _other_end(self, ticket: int) -> Migration:
        if ticket not in self.tickets:
            raise AgentRefusal("invalid_params", "This node has no key for this ticket.", field="ticket")
        if ticket not in accepting:
            raise AgentRefusal("command_failed", "The target cannot be reached by ssh: Permission denied")
        return accepting[ticket]

    def _migration_run(self, request: migration.MigrationRun, report: Report | None) -> migration.Moved:
        domain = self._domain(request.uuid)
        if {disk.target for disk in domain.now.disks} - {*request.disks, *request.shared}:
            raise AgentRefusal("invalid_params", "The panel does not know a disk of the domain.", field="disks")
        if set(self._cached(domain)) & set(request.shared):
            raise AgentRefusal("invalid_params", "A disk cannot be shared while its host caches it.", field="shared")
        other = self._other_end(request.ticket)
        if domain.state not in STATES_ON:
            text = "Requested operation is not valid: domain is not running"
            raise AgentRefusal("libvirt", text, libvirt_code=55, connection_lost=False)
        for disk in domain.spec.disks:
            if storages.place(disk.volume) not in other.files:
                raise AgentRefusal("libvirt", f"no volume {disk.volume.name}", libvirt_code=1, connection_lost=False)
        if report is not None:
            report(Progress(1, 1, "1 of 1 MiB, 1 MiB/s, a downtime of 1 ms is expected"))
        other.domains[request.uuid] = FakeDomain(domain.spec, "running" if request.resume else "paused")
        last, domain.state = domain.counters(self.boot), "shut off"
        return migration.Moved(seconds=1.0, downtime_ms=1, moved_bytes=1024**2, counters=last)

    def _migration_stop(self, request: migration.MigrationStop, _report: Report | None) -> host.HostState:
        return self._state(request.uuid)

    def _volume_open(self, request: migration.VolumeOpen, _report: Report | None) -> Nothing:
        path = self._place(request.volume)
        if path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="volume")
        self.volumes_received[request.ticket] = path
        return Nothing()

    def _volume_send(self, request: migration.VolumeSend, report: Report | None) -> Nothing:
        path = self._place(request.volume)
        if path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="volume")
        other = self._other_end(request.ticket)
        if path in self.seeds:
            other.seeds[path] = self.seeds[path]
        if report is not None:
            report(Progress(1, 1, "1 of 1 MiB sent"))
        return Nothing()

    def _volume_close(self, request: migration.VolumeClose, _report: Report | None) -> storage.VolumeState:
        self._check_format(request.volume, request.format)
        self.volumes_received.pop(request.ticket, None)
        path = self._place(request.volume)
        return self._volume_state(path, request.format)

    def _nvram_open(self, request: migration.NvramOpen, _report: Report | None) -> Nothing:
        if not 0 < request.size_bytes <= migration.NVRAM_MOST_BYTES:
            raise AgentRefusal("invalid_params", "A UEFI does not remember so much.", field="size_bytes")
        self._find(request.uuid)
        self.receiving[request.uuid] = request.size_bytes
        return Nothing()

    def _nvram_send(self, request: migration.NvramSend, _report: Report | None) -> Nothing:
        self._find(request.uuid)
        if request.uuid not in self.nvram:
            raise AgentRefusal("invalid_params", "There is nothing that its UEFI remembers.", field="uuid")
        self._other_end(request.ticket)
        return Nothing()

    def _nvram_close(self, request: migration.NvramClose, _report: Report | None) -> Nothing:
        self._find(request.uuid)
        if request.uuid in self.receiving:
            self.nvram[request.uuid] = self.receiving.pop(request.uuid)
        elif request.uuid not in self.nvram:
            raise AgentRefusal("invalid_params", "Nothing was being received.", field="uuid")
        return Nothing()
