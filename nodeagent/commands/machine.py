"""The node itself: facts, the probe of KVM, packages, libvirtd, and the agent's own removal."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import shutil
import socket
import time
from pathlib import Path
from typing import Dict, List, Optional

from nodeagent import authorized_keys, bare, kvm, libvirt_facts, libvirt_start, libvirtd, packages, paths, services
from nodeagent.commands import handles
from nodeagent.errors import CommandFailed, DeadlinePassed, InUse, LibvirtError
from nodeagent.job import Job
from nodeagent.libvirt_facts import LibvirtFacts, Look
from nodeagent.probe import kvm_works
from nodeagent.protocol import Nothing, node
from nodeagent.protocol.node import ANSWERS, OFF, SILENT
from nodeagent.storage.directory import space_of

LIBVIRTD_SECONDS = 30.0
LIBVIRT_FACTS_SECONDS = 15.0
"""How long its facts are waited for: it looks at every QEMU that is installed before it tells of them."""
ANSWER_MARGIN_SECONDS = 2 * libvirt_facts.ANSWER_SECONDS
"""What is left of a request's time for its own answer."""
log = logging.getLogger("nodeagent")


@handles(node.NodeFacts)
def node_facts(request: node.NodeFacts, job: Job) -> node.Facts:
    """Read what the node is; what libvirt does not tell in time is left out."""
    return _facts(LIBVIRT_FACTS_SECONDS, job)


def _facts(seconds: float, job: Job) -> node.Facts:
    release = _os_release()
    memory = _meminfo()
    look = libvirt_facts.look(job)
    told = _told_within(seconds, job) if look.state == ANSWERS else None
    return node.Facts(
        hostname=socket.gethostname(),
        os_id=release.get("ID", "unknown"),
        os_version=release.get("VERSION_ID", ""),
        os_name=release.get("PRETTY_NAME", "unknown"),
        kernel=platform.release(),
        python=platform.python_version(),
        arch=platform.machine(),
        cpu_model=_cpu_model(),
        cpu_count=os.cpu_count() or 1,
        memory_mib=memory["MemTotal"] // 1024,
        memory_free_mib=memory["MemAvailable"] // 1024,
        file_systems=_file_systems(),
        time=time.time(),
        libvirt_version=_version(look.version),
        qemu_version=_version(told.qemu_version) if told is not None else None,
        host_uuid=told.host_uuid if told is not None else None,
        copies_running=told.copies_running if told is not None else None,
        libvirt=look.state,
        libvirt_text=look.text,
        libvirt_seconds=told.seconds if told is not None else None,
        kvm="" if libvirtd.is_test_driver() else kvm.closed_to_qemu(job),
    )


def _os_release() -> Dict[str, str]:
    values = {}
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        values[name] = value.strip('"')
    return values


def _meminfo() -> Dict[str, int]:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def available_mib() -> int:
    """Memory that could be given to a guest now."""
    return _meminfo()["MemAvailable"] // 1024


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_systems() -> List[node.FileSystem]:
    """Mounted file systems that hold data, each device once."""
    found: Dict[str, node.FileSystem] = {}
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        device, path, kind = line.split()[:3]
        if kind not in ("ext4", "ext3", "xfs", "btrfs", "overlay", "zfs", "nfs", "nfs4") or device in found:
            continue
        with contextlib.suppress(OSError):
            space = space_of(Path(path))
            found[device] = node.FileSystem(path, device, space.capacity_bytes, space.free_bytes)
    return list(found.values())


def _told_within(seconds: float, job: Job) -> Optional[LibvirtFacts]:
    """libvirt's slow facts; None where they are not told in time, or libvirt went away over them."""
    try:
        return libvirt_facts.ask(job, seconds)
    except (DeadlinePassed, LibvirtError):
        job.check()
        return None


def _version(number: Optional[int]) -> Optional[str]:
    """libvirt's 1000000 * major + 1000 * minor + release."""
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}" if number else None


@handles(node.NodeProbe)
def node_probe(request: node.NodeProbe, job: Job) -> node.Probe:
    """Find out whether guests can run under KVM here."""
    if not Path("/dev/kvm").exists():
        return node.Probe("qemu", "The node has no /dev/kvm.")
    if closed := kvm.closed_to_qemu(job):
        return node.Probe("qemu", closed)
    seconds = min(request.timeout_seconds, max(1.0, job.remaining() / 2 - 1.0))
    if kvm_works(seconds):
        return node.Probe("kvm", "A guest CPU ran well under KVM.")
    if not kvm_works(seconds, accel="tcg"):
        # That it does not come to its end says something of KVM only where it does without.
        raise DeadlinePassed(f"A guest CPU got through within {seconds:g} s neither under KVM nor emulated.")
    return node.Probe("qemu", "There is a /dev/kvm, but a guest CPU does not get far under it.")


@handles(node.PackagesInstall)
def packages_install(request: node.PackagesInstall, job: Job) -> node.Installed:
    """Install what is missing."""
    return node.Installed(packages=packages.install(job))


@handles(node.LibvirtEnsure)
def libvirt_ensure(request: node.LibvirtEnsure, job: Job) -> node.Facts:
    """Have libvirtd answering, its QEMU able to open /dev/kvm, and the remembered bridges there."""
    from nodeagent.commands.bridges import restore

    if not libvirtd.is_test_driver() and (closed := kvm.open_to_qemu(job)):
        log.warning("%s %s", job.request_id, closed)
    look = libvirt_facts.look(job)
    if look.state == OFF:
        libvirt_start.start(job)
        look = wait_for_libvirt(job)
    if look.state != ANSWERS:
        libvirt_start.refuse_ending(job)
        raise DeadlinePassed(f"libvirt runs on the node, but gave no answer: {look.text}")
    try:
        restore(job)
    except (CommandFailed, OSError) as error:
        # The panel asks for each of its bridges besides, and says of which network it cannot be made.
        log.warning("%s a bridge cannot be made again: %s", job.request_id, error)
    # VMs that start with the node need their bridges before libvirtd looks at them.
    argv = ["/usr/bin/python3", str(paths.AGENT), "--restore-network"]
    services.run_at_boot("vmpanel-network", argv, "libvirtd.service", job)
    if request.facts_seconds:
        job.progress(0, 1, "waiting for libvirt to look at QEMU")
    return _facts(min(request.facts_seconds, max(0.0, job.remaining() - ANSWER_MARGIN_SECONDS)), job)


def wait_for_libvirt(job: Job) -> Look:
    """How it looks when it answers. One that runs has as long as the request: it looks at each VM's QEMU first.

    Raises LibvirtError when none runs by then.
    """
    until = time.monotonic() + LIBVIRTD_SECONDS
    while True:
        look = libvirt_facts.look(job)
        if look.state == ANSWERS or (look.state == SILENT and job.remaining() < ANSWER_MARGIN_SECONDS):
            return look
        if look.state == OFF and time.monotonic() > until:
            raise LibvirtError("libvirtd was started but does not answer.", libvirt_code=0, connection_lost=True)
        job.wait(0.2)


@handles(node.MarkRead)
def mark_read(request: node.MarkRead, job: Job) -> node.HostMark:
    """Read the mark; one that nobody understands is none."""
    try:
        told = json.loads(paths.MARKER.read_text(encoding="utf-8"))
        names = (str(told.get("name", "")), str(told.get("panel_name", "")))
        return node.HostMark(str(told["panel"]), int(told["node"]), *names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return node.HostMark()


@handles(node.AgentRemove)
def agent_remove(request: node.AgentRemove, job: Job) -> Nothing:
    """Remove what the panel put on the node; logs and an administrator's overrides are left to their owner."""
    mark = mark_read(node.MarkRead(), job)
    if mark.panel not in ("", request.panel):
        raise InUse(f"The host is a node of another panel, {mark.panel_name or mark.panel}.")
    if not services.has_systemd():
        # libvirtd was started by us; without guests nobody misses it.
        for program in ("libvirtd", "virtlogd"):
            services.stop(f"vmpanel-{program}", job)
    services.stop("vmpanel-network", job)
    left = (*paths.LIB.glob("*.part"), *paths.STATE.glob("*.broken"))
    for path in (paths.MARKER, paths.VMWATCH_CONF, *left, paths.VMWATCH, paths.AGENT):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    # Last of what matters: whoever is interrupted before can still come back.
    authorized_keys.change(lambda line: not bare.is_key(line, request.key))
    shutil.rmtree(paths.RUN, ignore_errors=True)
    for folder in (paths.LIB, paths.ETC, paths.STATE):
        with contextlib.suppress(OSError):
            folder.rmdir()
    return Nothing()
