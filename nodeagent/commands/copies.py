"""Copies of a running domain's disks: QEMU makes them, by libvirt's backup in push mode, all as of one moment."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from nodeagent import backups, freezing, libvirt_facts, libvirtd, paths
from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.commands.hosts import find, state_word
from nodeagent.commands.migration import abort
from nodeagent.commands.volumes import volume_clone
from nodeagent.errors import GuestStopped, InUse, InvalidParams, LibvirtError, NoSpace, NoSuchDomain, Unsupported
from nodeagent.job import Job
from nodeagent.protocol import Nothing, guest
from nodeagent.xml.backup import Backup
from nodeagent.xml.domain import Disk, Domain

POLL_SECONDS = 0.2
END_SECONDS = 60.0
"""How long libvirt may take to end a copying that is to be ended."""
MIB = 1024**2


@dataclass(frozen=True)
class _Copy:
    """A volume, where its copy shall be, and where that is while it is made."""

    asked: guest.DiskCopy
    path: Path

    @property
    def partial(self) -> Path:
        return Path(f"{self.path}{backups.PARTIAL}")


@handles(guest.DisksCopy)
def disks_copy(request: guest.DisksCopy, job: Job) -> guest.DisksCopied:
    """Copy the disks of the running domain."""
    copies = _checked(request.copies)
    if _all_there(copies):
        return guest.DisksCopied(frozen=None)
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        _refuse(domain, copies, job)
        freezing.thaw_left(domain)
        _end(domain, copies)
        if backups.targets(domain) is not None:
            raise InUse(
                "Somebody else makes a backup of the VM. Wait for its end (virsh domjobinfo), or end it on the node "
                "(virsh domjobabort), and ask again."
            )
        _remove(copies)
        copying = _Copying(domain, copies)
        try:
            frozen = copying.carry_out(job)
            for copy in copying.unheld:
                volume_clone(guest.VolumeClone(copy.asked.volume, copy.asked.source, copy.asked.format), job)
            for _, copy in copying.held:
                copy.partial.rename(copy.path)
        except BaseException:
            try:
                _end(domain, copies)
            finally:
                _remove(copies)
            raise
    return guest.DisksCopied(frozen)


@handles(guest.DisksCopyStop)
def disks_copy_stop(request: guest.DisksCopyStop, job: Job) -> Nothing:
    """Have no copying of the domain's disks under way, and nothing of one that is not whole."""
    copies = _checked(request.copies)
    with contextlib.suppress(NoSuchDomain), libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        freezing.thaw_left(domain)
        _end(domain, copies)
    if not _all_there(copies):
        _remove(copies)
    return Nothing()


def _checked(copies: Sequence[guest.DiskCopy]) -> List[_Copy]:
    if not copies:
        raise InvalidParams("There is nothing to copy.", field="copies")
    return [_checked_one(each) for each in copies]


def _checked_one(asked: guest.DiskCopy) -> _Copy:
    storages.volume(asked.source)
    pool, name = storages.volume(asked.volume)
    pool.check_format(asked.format)
    path = pool.file_of(name)
    if path is None:
        raise Unsupported("The disks of a VM that runs cannot be copied to a storage of this kind. Shut it down first.")
    return _Copy(asked, path)


def _refuse(domain: Any, copies: Sequence[_Copy], job: Job) -> None:
    """Raise what is against it, before anything is touched."""
    for copy in copies:
        if not storages.exists(copy.asked.source):
            raise InvalidParams("There is no such volume.", field="copies")
    if not domain.isActive():
        raise GuestStopped("The VM does not run.", state=state_word(domain))
    if not libvirt_facts.ask(job).copies_running:
        raise Unsupported("This node's libvirt or QEMU cannot copy the disks of a VM that runs.")


def _all_there(copies: Sequence[_Copy]) -> bool:
    return all(copy.path.exists() for copy in copies)


def _remove(copies: Sequence[_Copy]) -> None:
    for copy in copies:
        for file in (copy.path, copy.partial):
            paths.remove_file(file)


class _Copying:
    """One copying, from its moment to its end."""

    def __init__(self, domain: Any, copies: Sequence[_Copy]) -> None:
        self.domain = domain
        self.disks = list(Domain.parse(domain.XMLDesc(0)).disks)
        self.held: List[Tuple[Disk, _Copy]] = []
        self.unheld: List[_Copy] = []
        """The panel's, but not the running domain's: such as a disk that it gets at its next start."""
        for copy in copies:
            disk = next((each for each in self.disks if storages.is_at(each.source, copy.asked.source)), None)
            if disk is None:
                self.unheld.append(copy)
            else:
                self.held.append((disk, copy))

    def carry_out(self, job: Job) -> bool:
        """The copies are whole, in their `.part`; answers whether the guest was held still at their moment."""
        if not self.held:
            return False
        with freezing.held_still(self.domain) as frozen:
            self.domain.backupBegin(self._wanted().to_xml(), None, 0)
        while backups.targets(self.domain) is not None:
            self._report(job)
            job.wait(POLL_SECONDS)
        self._refuse_broken()
        _wait_for_libvirt(self.domain)
        return frozen

    def _wanted(self) -> Backup:
        wanted = Backup()
        wanted.set(mode="push")
        targets = {disk.target_dev: (disk, copy) for disk, copy in self.held}
        for disk in self.disks:
            # libvirt takes a disk that is not named for one that is meant.
            named = wanted.disks.add(name=disk.target_dev, backup="yes" if disk.target_dev in targets else "no")
            if disk.target_dev in targets:
                held, copy = targets[disk.target_dev]
                named.set(type="file", driver_type=held.driver_type, target_file=str(copy.partial))
        return wanted

    def _report(self, job: Job) -> None:
        libvirt = libvirtd.bindings()
        try:
            stats = self.domain.jobStats()
        except libvirt.libvirtError:
            # Between the job's end and what is told of it; or the guest has gone, which is seen next.
            return
        done = int(stats.get(libvirt.VIR_DOMAIN_JOB_DISK_PROCESSED, 0))
        total = int(stats.get(libvirt.VIR_DOMAIN_JOB_DISK_TOTAL, 0))
        job.progress(done, total, f"{done // MIB} of {total // MIB} MiB" if total else "")

    def _refuse_broken(self) -> None:
        """Raise why the copies are not whole."""
        libvirt = libvirtd.bindings()
        stopped = GuestStopped("The VM went off while its disks were copied.", state="shut off")
        if not self.domain.isActive():
            raise stopped
        try:
            stats = self.domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        except libvirt.libvirtError:
            if not self.domain.isActive():
                raise stopped from None
            raise
        ours = stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION) == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP
        if ours and stats.get(libvirt.VIR_DOMAIN_JOB_SUCCESS):
            return
        text = str(stats.get(libvirt.VIR_DOMAIN_JOB_ERRMSG, "libvirt does not say why"))
        if "No space left on device" in text:
            raise NoSpace("There is no space left on the node.")
        raise LibvirtError(f"The disks could not be copied: {text}", libvirt_code=0, connection_lost=False)


def _end(domain: Any, copies: Sequence[_Copy]) -> None:
    """No copying to these is under way, and libvirt has let go of them; raises InUse when it does not."""
    until = time.monotonic() + END_SECONDS
    ours = {str(copy.partial) for copy in copies}
    ended = False
    while ours.intersection(backups.targets(domain) or []):
        if time.monotonic() > until:
            raise InUse("libvirt does not end the copying of the VM's disks.")
        abort(domain)
        ended = True
        time.sleep(POLL_SECONDS)
    if ended:
        _wait_for_libvirt(domain)


def _wait_for_libvirt(domain: Any) -> None:
    """libvirt has let go of the targets: it does so after its job's end, and whoever asks about a disk waits for it."""
    for disk in Domain.parse(domain.XMLDesc(0)).disks:
        if disk.device == "disk" and disk.target_dev and domain.isActive():
            domain.blockInfo(disk.target_dev)
            return
