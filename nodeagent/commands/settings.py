"""A domain's settings, and how far it is from what the panel wants."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, Optional, Set, Tuple

from nodeagent import holders, libvirtd, ports
from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.commands.hosts import find, persistent, refuse_saved, state_word, text_of
from nodeagent.commands.snapshots import snapshots_of
from nodeagent.errors import InUse, InvalidParams, NoSuchDomain
from nodeagent.job import Job
from nodeagent.protocol import audit
from nodeagent.protocol.host import DiskSpec, DomainSpec, InterfaceSpec
from nodeagent.protocol.settings import Difference
from nodeagent.xml import edit, facts, machine
from nodeagent.xml.describe import domain_of
from nodeagent.xml.domain import DISK_LIMITS, Disk, Domain

BALLOON_SECONDS = 3.0
"""How long a guest gets to give memory back or take it before we say that it did not."""
POLL_SECONDS = 0.1


@handles(audit.HostConfigure)
def host_configure(request: audit.HostConfigure, job: Job) -> audit.Configured:
    """Change the persistent description, then what can be changed of a running domain."""
    spec = request.spec
    with libvirtd.translated() as conn:
        domain = find(conn, spec.uuid)
        refuse_saved(domain)
        _refuse_impossible(conn, spec)
        described = persistent(domain, secure=True)
        now, names = facts.facts_of(described), list(edit.SETTINGS)
        if request.before is not None:
            names = [name for name in edit.touched(request.before, spec) if name in edit.SETTINGS]
            edit.refuse(now, request.before, spec, names)
        edit.change_settings(described, spec, now, names)
        domain = conn.defineXML(text_of(described))
        remarks = _apply_live(domain, job) if domain.isActive() else []
        return audit.Configured(pending=_pending(domain), remarks=remarks)


@handles(audit.HostRepair)
def host_repair(request: audit.HostRepair, job: Job) -> audit.Configured:
    """Define the domain anew, under its own name again."""
    spec = request.spec
    libvirt = libvirtd.bindings()
    with libvirtd.translated() as conn:
        _refuse_impossible(conn, spec)
        text = text_of(domain_of(spec, test_driver=libvirtd.is_test_driver()))
        try:
            there = conn.lookupByUUIDString(spec.uuid)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            _refuse_no_disks(spec)
        else:
            if not request.discard:
                _refuse_newer(there, spec)
            refuse_saved(there)
            if there.name() != spec.name:
                if there.isActive():
                    raise InUse("A domain can be given its name back only while it is off.")
                there.rename(spec.name)
        ports.have(spec.uuid, spec.interfaces, job)
        domain = conn.defineXML(text)
        domain.setAutostart(int(spec.autostart))
        return audit.Configured(pending=_pending(domain))


def _refuse_no_disks(spec: DomainSpec) -> None:
    """Raise InvalidParams where the domain would have nothing to start from: its deletion stopped half way."""
    gone = [Path(disk.volume.name).name for disk in spec.disks if not storages.exists(disk.volume)]
    if gone:
        raise InvalidParams(audit.DISKS_GONE.format(", ".join(gone)), field="spec")


def _refuse_newer(domain: Any, spec: DomainSpec) -> None:
    """Raise Drifted for disks that go on in other files, of which those of the spec lack what was written last."""
    found = {}
    for described in (persistent(domain), Domain.parse(domain.XMLDesc(0))):
        there = {disk.target_dev: disk for disk in described.disks if disk.device != "cdrom"}
        for own in spec.disks:
            disk = there.get(own.target)
            if disk is None or disk.source is None:
                continue
            now, ours = disk.source.place, storages.place(own.volume)
            if now != ours and _goes_on(disk, ours):
                found[own.target] = Difference(f"disk {own.target}", now, ours)
    if found:
        raise edit.drifted(list(found.values()))


def _goes_on(disk: Disk, path: str) -> bool:
    """Whether the disk's file builds upon the one at `path`, or was written later; not when it is gone."""
    other = Path(disk.source.file or "") if disk.source else Path()
    if not other.is_absolute() or not other.exists():
        return False
    if path in holders.chain(str(other), disk.driver_type or "raw") or not Path(path).exists():
        return True
    return other.stat().st_mtime >= Path(path).stat().st_mtime


@handles(audit.HostsAudit)
def hosts_audit(request: audit.HostsAudit, job: Job) -> audit.Audit:
    """Compare every domain; one that goes while we look is absent."""
    libvirt = libvirtd.bindings()
    specs = {spec.uuid: spec for spec in request.specs}
    seen: Set[str] = set()
    differing: List[audit.Differing] = []
    foreign: List[audit.UnmanagedDomain] = []
    kept: List[audit.Kept] = []
    with libvirtd.translated() as conn:
        for number, domain in enumerate(conn.listAllDomains() if request.others else _of(conn, specs)):
            job.progress(number, max(len(specs), number + 1), "comparing domains")
            try:
                uuid = domain.UUIDString()
                if uuid not in specs:
                    foreign.append(_unmanaged(domain))
                    continue
                found, snapshots = _compare(domain, specs[uuid]), snapshots_of(domain)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    continue
                raise
            seen.add(uuid)
            if found.drift or found.pending:
                differing.append(found)
            if snapshots:
                kept.append(audit.Kept(uuid=uuid, snapshots=snapshots))
    absent = [uuid for uuid in specs if uuid not in seen]
    return audit.Audit(differing=differing, absent=absent, foreign=foreign, kept=kept)


def _of(conn: Any, uuids: Iterable[str]) -> Iterator[Any]:
    """The domains of these UUIDs that are there."""
    for uuid in uuids:
        with contextlib.suppress(NoSuchDomain):
            yield find(conn, uuid)


def _compare(domain: Any, spec: DomainSpec) -> audit.Differing:
    drift = facts.drift(facts.facts_of(persistent(domain)), facts.facts_of(domain_of(spec)))
    if not domain.isPersistent():
        # Somebody undefined it while it ran: it is gone when it stops.
        drift.append(Difference("persistent", False, True))
    elif bool(domain.autostart()) != spec.autostart:
        drift.append(Difference("autostart", not spec.autostart, spec.autostart))
    return audit.Differing(uuid=spec.uuid, drift=drift, pending=_pending(domain))


def _unmanaged(domain: Any) -> audit.UnmanagedDomain:
    described = persistent(domain)
    found = facts.facts_of(described)
    return audit.UnmanagedDomain(
        uuid=domain.UUIDString(),
        name=domain.name(),
        state=state_word(domain),
        memory_mib=found["memory_mib"],
        vcpus=found["vcpus"],
        disks=[facts.place_of(disk) for disk in described.disks if disk.device != "cdrom"],
        macs=[each.mac or "" for each in described.interfaces],
        details=audit.UnmanagedDetails(
            disks=[_disk_spec(disk) for disk in described.disks if disk.device != "cdrom"],
            interfaces=[
                InterfaceSpec(
                    mac=(each.mac or "").lower(),
                    bridge=each.bridge or "",
                    model=each.model or "",
                    inbound_kibps=each.inbound_average or 0,
                    outbound_kibps=each.outbound_average or 0,
                )
                for each in described.interfaces
            ],
            facts=found,
            autostart=bool(domain.isPersistent() and domain.autostart()),
            persistent=bool(domain.isPersistent()),
            snapshots=int(domain.snapshotNum()),
        ),
    )


def _disk_spec(disk: Disk) -> DiskSpec:
    return DiskSpec(
        volume=storages.at(facts.place_of(disk)),
        format=disk.driver_type or "raw",
        target=disk.target_dev or "",
        bus=disk.target_bus or "",
        cache=disk.cache or "",
        **{name: getattr(disk, name) or 0 for name in DISK_LIMITS},
    )


def _running(domain: Any) -> facts.Facts:
    return facts.facts_of(Domain.parse(domain.XMLDesc(0)))


def _pending(domain: Any) -> List[Difference]:
    if not domain.isActive():
        return []
    return facts.pending(_running(domain), facts.facts_of(persistent(domain)))


def _apply_live(domain: Any, job: Job) -> List[str]:
    """Change what QEMU can change; answers what libvirt said where it could not."""
    libvirt = libvirtd.bindings()
    now, then = _running(domain), facts.facts_of(persistent(domain))
    live = libvirt.VIR_DOMAIN_AFFECT_LIVE
    changes: List[Tuple[str, Callable[[], Any]]] = []

    def change(field: str, act: Callable[[], Any]) -> None:
        if now[field] != then[field]:
            changes.append((field, act))

    def say(kind: int, text: str) -> None:
        domain.setMetadata(kind, text or None, None, None, live)

    change("title", lambda: say(libvirt.VIR_DOMAIN_METADATA_TITLE, then["title"]))
    change("description", lambda: say(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, then["description"]))
    if then["vcpus"] <= now["max_vcpus"]:
        change("vcpus", lambda: domain.setVcpusFlags(then["vcpus"], live))
    if then["memory_mib"] <= now["max_memory_mib"]:
        change("memory_mib", lambda: _set_memory(domain, then["memory_mib"], live, job))
    usual = facts.DEFAULT_WEIGHTS[0] if controllers()[1] else facts.DEFAULT_WEIGHTS[1]
    change("cpu_weight", lambda: domain.setSchedulerParametersFlags({"cpu_shares": then["cpu_weight"] or usual}, live))
    quota = then["cpu_limit_percent"] * machine.PERIOD_MICROSECONDS // 100 or -1
    change(
        "cpu_limit_percent",
        lambda: domain.setSchedulerParametersFlags(
            {"global_period": machine.PERIOD_MICROSECONDS, "global_quota": quota}, live
        ),
    )
    if then["io_weight"]:
        change("io_weight", lambda: domain.setBlkioParameters({"weight": then["io_weight"]}, live))
    remarks = []
    for field, act in changes:
        try:
            act()
        except libvirt.libvirtError as error:
            remarks.append(f"{field}: {error.get_error_message() or error}")
    return remarks


def _set_memory(domain: Any, mib: int, live: int, job: Job) -> None:
    domain.setMemoryFlags(mib * 1024, live)
    until = time.monotonic() + BALLOON_SECONDS
    while _running(domain)["memory_mib"] != mib and time.monotonic() < until:
        job.wait(POLL_SECONDS)


def _refuse_impossible(conn: Any, spec: DomainSpec) -> None:
    """Raise InvalidParams for what would keep the domain from starting here."""
    wanted = spec.settings
    if libvirtd.is_test_driver():
        return
    found, _unified = controllers()
    for field, value, controller in (
        ("cpu_weight", wanted.cpu_weight, "cpu"),
        ("cpu_limit_percent", wanted.cpu_limit_percent, "cpu"),
        ("io_weight", wanted.io_weight, "io"),
    ):
        if value and controller not in found:
            raise InvalidParams(f"The node's kernel gives libvirt no “{controller}” cgroup for this.", field=field)
    if wanted.cpu_mode == "custom":
        names = conn.getCPUModelNames("x86_64")
        if names and wanted.cpu_model not in names:
            raise InvalidParams(f"The node's libvirt knows no CPU model “{wanted.cpu_model}”.", field="cpu_model")


def controllers(mounts: Optional[Path] = None) -> Tuple[Set[str], bool]:
    """What cgroups can limit here (cpu, io), and whether they are of the second generation."""
    found: Set[str] = set()
    unified = False
    for line in (mounts or Path("/proc/mounts")).read_text(encoding="utf-8").splitlines():
        _device, path, kind, options = line.split()[:4]
        if kind == "cgroup":
            names = set(options.split(","))
            found |= {name for name, old in (("cpu", "cpu"), ("io", "blkio")) if old in names}
        elif kind == "cgroup2":
            with contextlib.suppress(OSError):
                named = set((Path(path) / "cgroup.controllers").read_text(encoding="ascii").split())
                unified = unified or "cpu" in named
                # Weights of I/O need the scheduler that knows them.
                found |= named & {"cpu"}
                if "io" in named and list(Path("/sys/fs/cgroup").glob("*/io.bfq.weight")):
                    found.add("io")
    return found, unified
