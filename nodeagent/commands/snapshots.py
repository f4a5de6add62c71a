"""A domain's snapshots: take, delete, revert, list.

They are libvirt's internal ones: QEMU keeps disks and memory in the qcow2 files, libvirt the tree.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any, Dict, List, Optional

from nodeagent import counters, libvirtd
from nodeagent.commands import handles
from nodeagent.commands.hosts import find, refuse_saved, state_of, state_word
from nodeagent.errors import GuestStopped, InUse, InvalidParams, NoSuchDomain
from nodeagent.job import Job
from nodeagent.protocol import Nothing, host, snapshot
from nodeagent.run import run
from nodeagent.xml import machine
from nodeagent.xml.domain import Domain
from nodeagent.xml.facts import place_of
from nodeagent.xml.snapshot import Snapshot

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
STATE_WORDS = {"shutoff": "shut off"}


@handles(snapshot.SnapshotCreate)
def snapshot_create(request: snapshot.SnapshotCreate, job: Job) -> snapshot.SnapshotState:
    """Take the snapshot."""
    with libvirtd.translated() as conn:
        domain = _find(conn, request.uuid, request.name)
        there = _lookup(domain, request.name)
        if there is not None:
            return _told(there)
        refuse_saved(domain)
        active = bool(domain.isActive())
        if active and not request.with_memory:
            raise InUse("A running VM's snapshot must have its memory.")
        if request.with_memory and not active:
            raise GuestStopped("The VM does not run: it has no memory.", state=state_word(domain))
        described = Domain.parse(domain.XMLDesc(0))
        if active and machine.has_uefi(described):
            raise InUse(snapshot.RUNNING_UEFI)
        _delete_lost(domain, request.name, job)
        wanted = Snapshot()
        wanted.set(name=request.name, memory="internal" if active else "no")
        for disk in described.disks:
            wanted.disks.add(name=disk.target_dev, snapshot="internal" if disk.device == "disk" else "no")
        return _told(domain.snapshotCreateXML(wanted.to_xml(), 0))


@handles(snapshot.SnapshotDelete)
def snapshot_delete(request: snapshot.SnapshotDelete, job: Job) -> Nothing:
    """Remove the snapshot."""
    try:
        with libvirtd.translated() as conn:
            domain = _find(conn, request.uuid, request.name)
            there = _lookup(domain, request.name)
            if there is not None:
                _delete(domain, there, job)
            else:
                _delete_lost(domain, request.name, job)
    except NoSuchDomain:
        pass
    return Nothing()


@handles(snapshot.SnapshotRevert)
def snapshot_revert(request: snapshot.SnapshotRevert, job: Job) -> host.HostState:
    """Go back to the snapshot, also from a description that QEMU could not change to while it runs."""
    libvirt = libvirtd.bindings()
    with libvirtd.translated() as conn:
        domain = _find(conn, request.uuid, request.name)
        there = _lookup(domain, request.name)
        if there is None:
            raise InvalidParams("The domain has no such snapshot.", field="name")
        refuse_saved(domain)
        last = counters.read(domain, job, ends_now=True)
        domain.revertToSnapshot(there, libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE)
        ended = last is not None and domain.ID() != last.run
        return replace(state_of(domain), counters=last if ended else None)


@handles(snapshot.SnapshotsRead)
def snapshots_read(request: snapshot.SnapshotsRead, job: Job) -> snapshot.SnapshotList:
    """List the snapshots."""
    with libvirtd.translated() as conn:
        return snapshot.SnapshotList(snapshots=snapshots_of(find(conn, request.uuid)))


def snapshots_of(domain: Any) -> List[snapshot.SnapshotState]:
    """All that libvirt has of the domain, the panel's and others."""
    return [_told(each) for each in domain.listAllSnapshots()] if domain.snapshotNum() else []


def _find(conn: Any, uuid: str, name: str) -> Any:
    """The domain; raises InvalidParams for a name that could mean something else to QEMU."""
    if not NAME.match(name):
        raise InvalidParams("A snapshot is named by letters, digits, “_”, “.” and “-”.", field="name")
    return find(conn, uuid)


def _lookup(domain: Any, name: str) -> Optional[Any]:
    libvirt = libvirtd.bindings()
    try:
        return domain.snapshotLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            raise
        return None


def _told(found: Any) -> snapshot.SnapshotState:
    described = Snapshot.parse(found.getXMLDesc())
    state = STATE_WORDS.get(described.state or "", described.state or "")
    # libvirt's state of a snapshot of the disks alone, taken while the guest ran.
    state = "running" if state == "disk-snapshot" else state
    return snapshot.SnapshotState(
        name=found.getName(),
        exists=True,
        state=state,
        with_memory=described.memory in ("internal", "external"),
        parent=_parent(found),
        current=bool(found.isCurrent()),
        external=described.is_external,
        created_at=described.created_at or 0,
    )


def _parent(found: Any) -> Optional[str]:
    libvirt = libvirtd.bindings()
    try:
        return str(found.getParent().getName())
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            raise
        return None


def _delete(domain: Any, there: Any, job: Job) -> None:
    """Remove a snapshot that libvirt knows, whatever lies in the domain's drives now.

    libvirt 9 refuses that for a running domain whose medium is another than when it was taken, although media are no
    part of it. Where the disks are the same, QEMU removes it from them, once libvirt has forgotten it.
    """
    libvirt = libvirtd.bindings()
    try:
        there.delete()
    except libvirt.libvirtError as error:
        refused = error.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED
        if not (refused and domain.isActive() and _of_same_disks(domain, there)):
            raise
        name = there.getName()
        there.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
        _delete_lost(domain, name, job)


def _of_same_disks(domain: Any, there: Any) -> bool:
    """Whether the internal snapshot is in just those files that the domain's disks have now."""
    if Snapshot.parse(there.getXMLDesc()).is_external:
        return False
    then = ET.fromstring(there.getXMLDesc()).find("./domain")
    return then is not None and _files(ET.tostring(then, encoding="unicode")) == _files(domain.XMLDesc(0))


def _files(xml: str) -> Dict[str, str]:
    disks = [disk for disk in Domain.parse(xml).disks if disk.device == "disk"]
    return {disk.target_dev or "": place_of(disk) for disk in disks}


def _delete_lost(domain: Any, name: str, job: Job) -> None:
    """Remove from the disks what a libvirtd that died in the middle never noted."""
    paths = [path for path in _disk_paths(domain) if name in _kept_in(path, job)]
    if not paths:
        return
    if domain.isActive():
        # QEMU has the files; libvirt has no call for a snapshot that it does not know.
        import libvirt_qemu

        libvirt_qemu.qemuMonitorCommand(domain, f"delvm {name}", libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
        return
    for path in paths:
        while name in _kept_in(path, job):
            run(["qemu-img", "snapshot", "-d", name, path], job)


def _disk_paths(domain: Any) -> List[str]:
    if libvirtd.is_test_driver():
        # Its disks are names without files.
        return []
    disks = Domain.parse(domain.XMLDesc(0)).disks
    # In a raw one only its guest could have written that there are snapshots.
    return [disk.source.file for disk in disks if disk.driver_type == "qcow2" and disk.source and disk.source.file]


def _kept_in(path: str, job: Job) -> List[str]:
    """Names of the snapshots inside an image, which may be in use."""
    told = run(["qemu-img", "info", "--force-share", "--output=json", path], job)
    return [str(each["name"]) for each in json.loads(told.stdout).get("snapshots", [])]
