"""Moving a domain: what a target must know, whether it can take it, the migration tunnel between, the move itself."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from nodeagent import counters, libvirt_facts, libvirtd, paths, tunnel
from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.commands.bridges import bridge_names
from nodeagent.commands.hosts import absent, find, state_of
from nodeagent.commands.machine import available_mib
from nodeagent.errors import InvalidParams, NoSuchDomain
from nodeagent.job import Job
from nodeagent.protocol import Nothing, host, migration
from nodeagent.protocol.storage import PoolRef
from nodeagent.xml.domain import Disk, Domain
from nodeagent.xml.facts import place_of

POLL_SECONDS = 0.2
ANSWER_SECONDS = 30.0
"""How long the target's libvirt may take to let us in, or to have the guest go on there."""
MIB = 1024**2
UNCACHED = ("none", "directsync")
"""The cache modes in which a guest's writes are in the file when it has been told that they are written."""


@handles(migration.MigrationDescribe)
def migration_describe(request: migration.MigrationDescribe, job: Job) -> migration.Subject:
    """Read what a target must know."""
    facts = libvirt_facts.ask(job)
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        state = state_of(domain)
        described = Domain.parse(state.xml)
        return migration.Subject(
            uuid=state.uuid,
            name=state.name,
            state=state.state,
            virt=described.type or "",
            machine=described.machine or "",
            cpu=facts.cpu,
            qemu_version=facts.qemu_version,
            snapshots=domain.snapshotNum(),
            files=[place_of(disk) for disk in described.disks if disk.device == "cdrom" and disk.source],
            cached=_cached(described),
            nvram_bytes=_size(paths.nvram_file(state.uuid)),
            snapshot_names=domain.snapshotListNames(),
        )


def _written(described: Domain) -> List[Disk]:
    return [disk for disk in described.disks if not disk.read_only and disk.device != "cdrom"]


def _cached(described: Domain) -> List[str]:
    return [disk.target_dev or "" for disk in _written(described) if disk.cache not in UNCACHED]


def _refuse_unsafe(described: Domain, request: migration.MigrationRun) -> None:
    """Raise InvalidParams for a disk that would be another one there, or lack what was written last."""
    targets = [disk.target_dev for disk in _written(described)]
    if strangers := [name for name in targets if name not in (*request.disks, *request.shared)]:
        raise InvalidParams(f"The panel does not know the disk {strangers[0]} of the domain.", field="disks")
    if cached := [name for name in _cached(described) if name in request.shared]:
        raise InvalidParams(f"The disk {cached[0]} cannot be shared while its host caches it.", field="shared")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


@handles(migration.MigrationCheck)
def migration_check(request: migration.MigrationCheck, job: Job) -> migration.Reasons:
    """Look whether this node can take the domain."""
    subject = request.subject
    reasons = []
    with libvirtd.translated() as conn:
        reasons += _taken(conn, subject)
        if not libvirtd.is_test_driver():
            reasons += _cannot_run(conn, subject, job)
    there = bridge_names(job)
    reasons += [f"the bridge “{name}” is missing" for name in request.bridges if name not in there]
    reasons += [f"the file {path} is not there" for path in request.files if not Path(path).exists()]
    if request.memory_mib > (free := available_mib()):
        reasons.append(f"{free} MiB of memory free, {request.memory_mib} MiB needed")
    reasons += _space(request.pool, request.room_bytes)
    return migration.Reasons(reasons)


def _space(pool: PoolRef, needed: int) -> List[str]:
    free = storages.driver(pool).free_bytes()
    if free is None:
        return ["the storage is not on this node"]
    return [f"{free // MIB} MiB of storage free, {needed // MIB} MiB needed"] if free < needed else []


def _taken(conn: Any, subject: migration.Subject) -> List[str]:
    for domain in conn.listAllDomains():
        if domain.UUIDString() == subject.uuid:
            return ["a domain with this UUID is there already"]
        if domain.name() == subject.name:
            return [f"another domain is called “{subject.name}” there"]
    return []


def _cannot_run(conn: Any, subject: migration.Subject, job: Job) -> List[str]:
    libvirt = libvirtd.bindings()
    reasons = []
    if libvirt_facts.ask(job).qemu_version < subject.qemu_version:
        reasons.append("its QEMU is older")
    try:
        conn.getDomainCapabilities(None, "x86_64", subject.machine, subject.virt)
    except libvirt.libvirtError:
        if not conn.isAlive():
            # It said nothing of the machine.
            raise
        reasons.append(f"it cannot run “{subject.virt}” machines of type “{subject.machine}”")
    # An emulated CPU is the same everywhere; a passed through one is not.
    if subject.virt == "kvm" and subject.cpu and conn.compareCPU(subject.cpu) == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
        reasons.append("its CPU lacks features that the guest may use")
    return reasons


@handles(migration.MigrationOffer)
def migration_offer(request: migration.MigrationOffer, job: Job) -> migration.Offer:
    """Have a key pair."""
    return migration.Offer(public_key=tunnel.make_key(request.ticket, job))


@handles(migration.MigrationAccept)
def migration_accept(request: migration.MigrationAccept, job: Job) -> migration.Tunnel:
    """Let the source in."""
    tunnel.let_in(request.ticket, request.public_key, request.valid_seconds, job)
    return migration.Tunnel(libvirt_socket=tunnel.libvirt_socket())


@handles(migration.MigrationClose)
def migration_close(request: migration.MigrationClose, job: Job) -> Nothing:
    """Remove what this node has for the ticket."""
    tunnel.close(request.ticket)
    return Nothing()


@handles(migration.MigrationRun)
def migration_run(request: migration.MigrationRun, job: Job) -> migration.Moved:
    """Move the running domain.

    It arrives paused and is resumed by us once libvirt has ended it here: were libvirt to resume it, a
    connection lost in that moment would leave it running on both nodes.

    A libvirt of the target that hangs holds up nothing: libvirt's keepalive (libvirtd.conf) ends the move, what we
    ask of it ourselves has a limit, and its good-bye is said when the tunnel is closed, so that nobody waits for it.
    """
    libvirt = libvirtd.bindings()
    control = tunnel.key_folder(request.ticket) / "libvirt.sock"
    with libvirtd.translated() as conn, contextlib.ExitStack() as behind_the_tunnel:
        domain = find(conn, request.uuid)
        _refuse_unsafe(Domain.parse(domain.XMLDesc(0)), request)
        memory, disks = tunnel.qemu_sockets(request.ticket, domain.name())
        forwards = {control: request.target.libvirt_socket, memory: str(memory), disks: str(disks)}
        with tunnel.open_through(request.ticket, request.target, forwards, job):
            uri = f"qemu+unix:///system?socket={control}"
            there = libvirtd.answer_within(ANSWER_SECONDS, lambda: libvirt.open(uri), job)
            behind_the_tunnel.callback(_close, there)
            parameters: Dict[str, Any] = {
                libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{memory}",
                libvirt.VIR_MIGRATE_PARAM_DISKS_URI: f"unix://{disks}",
            }
            if request.bandwidth_mib:
                parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = int(request.bandwidth_mib)
            began = time.monotonic()
            move = _Move(domain, uri, parameters, request)
            move.carry_out(job)
            off_at = time.monotonic()
            if request.resume:
                uuid = domain.UUIDString()
                libvirtd.answer_within(ANSWER_SECONDS, lambda: there.lookupByUUIDString(uuid).resume(), job)
            lag = time.monotonic() - off_at
        stats = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        downtime = int(stats.get(libvirt.VIR_DOMAIN_JOB_DOWNTIME, 0)) + int(lag * 1000)
        moved = int(stats.get(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED, 0))
        seconds = off_at - began + lag
        return migration.Moved(seconds, downtime_ms=downtime, moved_bytes=moved, counters=move.counters)


def _close(conn: Any) -> None:
    """Drop a connection that may be broken."""
    with contextlib.suppress(libvirtd.bindings().libvirtError):
        conn.close()


class _Move:
    """libvirt's call, which blocks, in a thread of its own: this one reports and aborts."""

    def __init__(self, domain: Any, uri: str, parameters: Dict[str, Any], request: migration.MigrationRun) -> None:
        libvirt = libvirtd.bindings()
        self.domain, self.uri, self.parameters = domain, uri, parameters
        self.flags = (
            libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_PEER2PEER
            | libvirt.VIR_MIGRATE_PERSIST_DEST
            | libvirt.VIR_MIGRATE_PAUSED
            | libvirt.VIR_MIGRATE_AUTO_CONVERGE
            | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
        )
        if request.disks:
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(request.disks)
            self.flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
        if request.shared:
            # libvirt knows some shared file systems and no others. Whoever asks has seen that both nodes have these
            # files; what libvirt would look at besides, their cache modes, was looked at by us.
            self.flags |= libvirt.VIR_MIGRATE_UNSAFE
        self.over = threading.Event()
        self.error: Optional[Exception] = None
        self.counters: Optional[host.LastCounters] = None
        """What it had counted before its move; vmwatch-node looks at it once more as it stands still at the end."""
        self._last = (time.monotonic(), 0)

    def carry_out(self, job: Job) -> None:
        """Return when the domain is off here and paused there; raises libvirtError, Cancelled, DeadlinePassed."""
        # Not during the move: whoever read them then was seen to wait until the domain had moved, or for a minute, and
        # with it the reports of progress and a cancellation.
        self.counters = counters.read(self.domain, job)
        threading.Thread(target=self._call, daemon=True).start()
        try:
            while not self.over.wait(POLL_SECONDS):
                self._report(job)
        except BaseException:
            while not self.over.wait(POLL_SECONDS):
                abort(self.domain)
            raise
        if self.error is not None:
            raise self.error

    def _call(self) -> None:
        try:
            self.domain.migrateToURI3(self.uri, self.parameters, self.flags)
        except Exception as error:
            self.error = error
        finally:
            self.over.set()

    def _report(self, job: Job) -> None:
        libvirt = libvirtd.bindings()
        try:
            stats = self.domain.jobStats()
        except libvirt.libvirtError:
            # Between the job's end and the call's.
            stats = {}
        done = int(stats.get(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED, 0))
        total = int(stats.get(libvirt.VIR_DOMAIN_JOB_DATA_TOTAL, 0))
        text = ""
        if total:
            now, (then, before) = time.monotonic(), self._last
            speed = max(0.0, done - before) / (now - then)
            self._last = (now, done)
            text = f"{done // MIB} of {total // MIB} MiB, {speed / MIB:.0f} MiB/s"
            expected = stats.get(libvirt.VIR_DOMAIN_JOB_DOWNTIME)
            if expected is not None:
                text += f", a downtime of {expected} ms is expected"
        job.progress(done, total, text)


@handles(migration.MigrationStop)
def migration_stop(request: migration.MigrationStop, job: Job) -> host.HostState:
    """Have no migration of the domain under way."""
    try:
        with libvirtd.translated() as conn:
            domain = find(conn, request.uuid)
            while _has_job(domain):
                abort(domain)
                job.wait(POLL_SECONDS)
            return state_of(domain)
    except NoSuchDomain:
        return absent(request.uuid)


def _has_job(domain: Any) -> bool:
    libvirt = libvirtd.bindings()
    try:
        return bool(domain.isActive()) and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID):
            return False
        raise


def abort(domain: Any) -> None:
    """Ask libvirt to end the domain's job; that there is none any more, or not yet, is no error."""
    libvirt = libvirtd.bindings()
    try:
        domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
