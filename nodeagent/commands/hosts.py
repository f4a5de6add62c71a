"""A VM's domain: create, delete, start, shut down, stop, read, wait for its guest."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
import time
import uuid as uuids
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from nodeagent import asking, counters, hostnet, jobs, libvirtd, paths, ports
from nodeagent.commands import handles
from nodeagent.errors import (
    DeadlinePassed,
    GuestStopped,
    InUse,
    InvalidParams,
    LibvirtError,
    MemorySaved,
    NoSuchDomain,
)
from nodeagent.job import Job
from nodeagent.protocol import Nothing, host
from nodeagent.run import run
from nodeagent.xml import edit, machine
from nodeagent.xml.describe import domain_of
from nodeagent.xml.domain import Domain

# virDomainState, by libvirt's numbers; "shutdown" is a guest on its way off, which still runs.
STATES: Dict[int, str] = {
    0: "unknown",
    1: "running",
    2: "running",
    3: "paused",
    4: "running",
    5: "shut off",
    6: "crashed",
    7: "paused",
}
ASK_AGAIN_SECONDS = 10.0
POLL_SECONDS = 0.25
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
"""libvirt names UEFI's memory of a domain that we did not describe after the domain's name."""


SHUT_OFF, SAVED = "shut off", "saved"


def state_word(domain: Any) -> str:
    """The domain's state in a word; one that is off and of which libvirt keeps the memory is saved."""
    state = STATES.get(domain.state()[0], "unknown")
    return SAVED if state == SHUT_OFF and domain.hasManagedSaveImage() else state


def refuse_saved(domain: Any) -> None:
    """Raise MemorySaved for a domain of which libvirt keeps the memory; before its disks or description change."""
    if not domain.isActive() and domain.hasManagedSaveImage():
        raise MemorySaved


def refuse_snapshots(domain: Any) -> None:
    """Raise InUse for a domain with snapshots where libvirt would refuse, or leave what the snapshots name behind."""
    if names := domain.snapshotListNames():
        raise InUse(f"The domain has snapshots, which name it: {', '.join(names)}. Delete them first.")


def state_of(domain: Any, *, with_xml: bool = True) -> host.HostState:
    """A libvirt domain as the panel is told of it."""
    # Before the look: what happens during it is newer.
    clock = time.monotonic()
    state = state_word(domain)
    xml = domain.XMLDesc(0) if with_xml or state == "running" else ""
    return host.HostState(
        uuid=domain.UUIDString(),
        exists=True,
        name=domain.name(),
        state=state,
        persistent=bool(domain.isPersistent()),
        vnc_port=_vnc_port(xml) if state in ("running", "paused") and xml else None,
        xml=xml if with_xml else "",
        autostart=bool(with_xml and domain.isPersistent() and domain.autostart()),
        clock=clock,
        boot=libvirtd.boot_id(),
    )


def _vnc_port(xml: str) -> Optional[int]:
    for graphics in Domain.parse(xml).graphics:
        if graphics.type == "vnc" and (graphics.port or 0) > 0:
            return graphics.port
    return None


def find(conn: Any, uuid: str) -> Any:
    """The libvirt domain; raises InvalidParams or NoSuchDomain."""
    try:
        parsed = str(uuids.UUID(uuid))
    except ValueError as error:
        raise InvalidParams("This is not a UUID.", field="uuid") from error
    with libvirtd.translated():
        return conn.lookupByUUIDString(parsed)


def absent(uuid: str) -> host.HostState:
    """What is told of a domain that is not there."""
    return host.HostState(uuid=uuid, exists=False)


@handles(host.HostCreate)
def host_create(request: host.HostCreate, job: Job) -> host.HostState:
    """Define the domain."""
    spec, before = request.spec, request.before
    described = domain_of(spec, test_driver=libvirtd.is_test_driver())
    text_of(described)
    with libvirtd.translated() as conn:
        try:
            there = find(conn, spec.uuid)
        except NoSuchDomain:
            before = None
        else:
            refuse_saved(there)
            described = persistent(there, secure=True)
            edit.change(described, spec, before)
            if before is None:
                _have_name(there, spec)
                described.name = spec.name
        ports.have(spec.uuid, spec.interfaces, job)
        domain = conn.defineXML(text_of(described))
        if before is None or before.autostart != spec.autostart:
            domain.setAutostart(int(spec.autostart))
        return state_of(domain)


def persistent(domain: Any, *, secure: bool = False) -> Domain:
    """What libvirt keeps of the domain; `secure` with the console's password, which a new definition needs."""
    libvirt = libvirtd.bindings()
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | (libvirt.VIR_DOMAIN_XML_SECURE if secure else 0)
    return Domain.parse(domain.XMLDesc(flags))


def text_of(described: Domain) -> str:
    """The description as XML; raises InvalidParams."""
    try:
        return described.to_xml()
    except ET.ParseError as error:
        raise InvalidParams("A name or path has a character that XML cannot hold.", field="spec") from error


def _have_name(domain: Any, spec: host.DomainSpec) -> None:
    """A domain that was renamed by hand has its name again: libvirt defines none anew under another name."""
    if domain.name() != spec.name:
        if domain.isActive():
            raise InUse(f"The domain runs under the name “{domain.name()}”: it is given its own when it is off.")
        domain.rename(spec.name)


@handles(host.HostDelete)
def host_delete(request: host.HostDelete, job: Job) -> Nothing:
    """Undefine the domain with all that libvirt keeps for it."""
    libvirt = libvirtd.bindings()
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    if not libvirtd.is_test_driver():
        # The test driver knows fewer.
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    try:
        with libvirtd.translated() as conn:
            domain = find(conn, request.uuid)
            if domain.isActive():
                raise InUse("The domain still runs.")
            domain.undefineFlags(flags)
    except NoSuchDomain:
        pass
    # It is kept while the VM has another firmware, of which undefining knows nothing.
    memory = paths.nvram_file(request.uuid)
    for file in (memory, Path(f"{memory}.part")):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
    ports.have(request.uuid, [], job)
    return Nothing()


@handles(host.HostStart)
def host_start(request: host.HostStart, job: Job) -> host.HostState:
    """Have the domain running; a paused one is resumed, and a saved one goes on where its memory was saved."""
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive():
            saved = domain.hasManagedSaveImage()
            # Its memory goes on where it was saved: nothing is booted.
            if saved or not (request.from_iso and _start_from_iso(conn, domain)):
                domain.create()
        elif STATES.get(domain.state()[0]) == "paused":
            domain.resume()
        return replace(state_of(domain), from_iso=request.from_iso and _reset_as_described(domain))


def _start_from_iso(conn: Any, domain: Any) -> bool:
    """Start the domain from its drive, if something lies in it; libvirt keeps its description for every later start."""
    libvirt = libvirtd.bindings()
    described = Domain.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
    drive = machine.drive_with_iso(described)
    if drive is None:
        return False
    machine.boot_before_all(described, drive)
    conn.createXML(described.to_xml(), 0)
    return True


def _reset_as_described(domain: Any) -> bool:
    """Have a domain that _start_from_iso() started boot as described when its guest resets it; false for any other.

    QEMU tells the firmware of another order at the next reset, so the start that is under way is not disturbed. Asked
    again, it changes nothing.
    """
    libvirt = libvirtd.bindings()
    drive = machine.drive_with_iso(Domain.parse(domain.XMLDesc(0)))
    described = machine.drive_with_iso(Domain.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))
    if drive is None or drive.boot_order != machine.FIRST:
        return False
    order = described.boot_order if described is not None else None
    if order == machine.FIRST:
        return False
    if not libvirtd.is_test_driver():
        _set_in_qemu(domain, f"/machine/peripheral/{drive.alias}", "bootindex", machine.order_after_reset(order))
    return True


def _set_in_qemu(domain: Any, path: str, name: str, value: int) -> None:
    """Set a property of one of QEMU's objects, for which libvirt has no call."""
    import libvirt_qemu

    asked = {"execute": "qom-set", "arguments": {"path": path, "property": name, "value": value}}
    told = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(asked), 0))
    if "error" in told:
        raise LibvirtError(
            f"QEMU refused {name} of {path}: {told['error'].get('desc', '')}", libvirt_code=0, connection_lost=False
        )


@handles(host.HostShutdown)
def host_shutdown(request: host.HostShutdown, job: Job) -> host.HostState:
    """Ask the guest to power off, again every few seconds, until it has or time is over."""
    began = time.monotonic()
    asked = last = None
    try:
        with libvirtd.translated() as conn:
            domain = find(conn, request.uuid)
            while domain.isActive():
                last = counters.read(domain, job) or last
                waited = time.monotonic() - began
                if waited >= request.timeout_seconds:
                    break
                if asked is None or waited - asked >= ASK_AGAIN_SECONDS:
                    # A guest that is still booting may have missed the button.
                    asked = waited
                    _unless_off(domain.shutdown)
                job.progress(waited, request.timeout_seconds, "waiting for the guest")
                job.wait(POLL_SECONDS)
            return replace(state_of(domain), counters=last)
    except NoSuchDomain:
        return replace(absent(request.uuid), counters=last)


@handles(host.HostStop)
def host_stop(request: host.HostStop, job: Job) -> host.HostState:
    """Force the domain off."""
    last = None
    try:
        with libvirtd.translated() as conn:
            domain = find(conn, request.uuid)
            if domain.isActive():
                last = counters.read(domain, job, ends_now=True)
                _unless_off(domain.destroy)
            return replace(state_of(domain), counters=last)
    except NoSuchDomain:
        return replace(absent(request.uuid), counters=last)


@handles(host.HostDiscardSaved)
def host_discard_saved(request: host.HostDiscardSaved, job: Job) -> host.HostState:
    """Have libvirt keep no memory of the domain."""
    try:
        with libvirtd.translated() as conn:
            domain = find(conn, request.uuid)
            if not domain.isActive() and domain.hasManagedSaveImage():
                domain.managedSaveRemove()
            return state_of(domain)
    except NoSuchDomain:
        return absent(request.uuid)


@handles(host.HostReset)
def host_reset(request: host.HostReset, job: Job) -> host.HostState:
    """Press the domain's reset button; a paused one runs afterwards."""
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        _need_active(domain)
        domain.reset()
        if STATES.get(domain.state()[0]) == "paused":
            domain.resume()
        return state_of(domain)


@handles(host.HostPause)
def host_pause(request: host.HostPause, job: Job) -> host.HostState:
    """Halt the domain's CPUs."""
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        _need_active(domain)
        if STATES.get(domain.state()[0]) != "paused":
            domain.suspend()
        return state_of(domain)


@handles(host.HostResume)
def host_resume(request: host.HostResume, job: Job) -> host.HostState:
    """Have the domain's CPUs go on."""
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        _need_active(domain)
        if STATES.get(domain.state()[0]) == "paused":
            domain.resume()
        return state_of(domain)


@handles(host.HostAutostart)
def host_autostart(request: host.HostAutostart, job: Job) -> host.HostState:
    """Set libvirt's flag; a later definition of the domain keeps it as its spec says."""
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        domain.setAutostart(int(request.enabled))
        return state_of(domain)


def _need_active(domain: Any) -> None:
    if not domain.isActive():
        raise GuestStopped("The VM does not run.", state=state_word(domain))


def _unless_off(act: Callable[[], Any]) -> None:
    """Do it to a running domain; that it went off by itself just before is no error."""
    libvirt = libvirtd.bindings()
    try:
        act()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


@handles(host.HostInfo)
def host_info(request: host.HostInfo, job: Job) -> host.HostState:
    """Read one domain."""
    try:
        with libvirtd.translated() as conn:
            domain = find(conn, request.uuid)
            counted = counters.read(domain, job) if request.counters else None
            return replace(state_of(domain), job=jobs.by_hand(domain), counters=counted)
    except NoSuchDomain:
        return absent(request.uuid)


@handles(host.HostsRead)
def hosts_read(request: host.HostsRead, job: Job) -> host.HostList:
    """List all domains, and the files of UEFI's memory that we name."""
    with libvirtd.translated() as conn:
        domains = conn.listAllDomains()
        hosts = [state_of(domain, with_xml=False) for domain in domains]
        snapshots = {domain.UUIDString(): domain.snapshotListNames() for domain in domains}
    kept = [each.name[: -len(paths.NVRAM_END)] for each in paths.NVRAM.glob(f"*{paths.NVRAM_END}")]
    return host.HostList(hosts=hosts, nvram=sorted(each for each in kept if UUID.match(each)), snapshots=snapshots)


@handles(host.GuestWait)
def guest_wait(request: host.GuestWait, job: Job) -> host.Reached:
    """Wait until the guest answers, as long as its domain runs."""
    try:
        ipaddress.ip_address(request.address)
    except ValueError as error:
        raise InvalidParams("This is not an IP address.", field="address") from error
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        job.progress(waited, request.timeout_seconds, "waiting for the guest to answer")
        if _answers(request.address, request.port, job):
            return host.Reached(seconds=time.monotonic() - began)
        state = host_info(host.HostInfo(uuid=request.uuid), job)
        if state.state == "running" and _answers_at_port(state.xml, request.address, job):
            return host.Reached(seconds=time.monotonic() - began)
        if state.state not in ("running", "paused"):
            raise GuestStopped(
                f"The guest stopped ({state.state or 'its domain is gone'}) before it answered.", state=state.state
            )
        if waited > request.timeout_seconds:
            raise DeadlinePassed(f"The guest did not answer within {request.timeout_seconds:g} s.")
        job.wait(POLL_SECONDS)


def _answers_at_port(xml: str, address: str, job: Job) -> bool:
    """Whether a guest whose network the node is not in has its address up: by no route of the node's it is reached."""
    interfaces = Domain.parse(xml).interfaces
    if hostnet.way_to(address, job) in {each.bridge for each in interfaces}:
        return False
    return any(asking.answers(each.target_dev, address, job) for each in interfaces if each.target_dev)


def _answers(address: str, port: int, job: Job) -> bool:
    if port == 0:
        return run(["ping", "-c", "1", "-W", "1", address], job, check=False).exit_code == 0
    try:
        with socket.create_connection((address, port), timeout=min(2.0, job.remaining() or 0.1)):
            return True
    except OSError:
        return False
