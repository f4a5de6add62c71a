"""The node itself: facts, the probe of KVM, packages, libvirtd, and the agent's own removal."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import socket
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from nodeagent import authorized_keys, libvirt_start, libvirtd, packages, paths, services
from nodeagent.commands import handles
from nodeagent.errors import AgentError, Cancelled, CommandFailed, LibvirtError
from nodeagent.job import Job
from nodeagent.probe import kvm_works
from nodeagent.protocol import Nothing, node

LIBVIRTD_SECONDS = 30.0
LIBVIRT_FACTS_SECONDS = 15.0
"""Its first answer takes some: it looks at every QEMU that is installed."""
LibvirtFacts = Tuple[Optional[str], Optional[str], Optional[str], Optional[bool]]
_NO_LIBVIRT: LibvirtFacts = (None, None, None, None)
log = logging.getLogger("nodeagent")


@handles(node.NodeFacts)
def node_facts(request: node.NodeFacts, job: Job) -> node.Facts:
    """Read what the node is, libvirt's part only where libvirt answers."""
    release = _os_release()
    memory = _meminfo()
    versions = _libvirt(job)
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
        libvirt_version=versions[0],
        qemu_version=versions[1],
        host_uuid=versions[2],
        copies_running=versions[3],
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
            room = os.statvfs(path)
            found[device] = node.FileSystem(path, device, room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)
    return list(found.values())


def _libvirt(job: Job) -> LibvirtFacts:
    """Versions of libvirt and QEMU, the host's UUID, and whether disks of running VMs can be copied.

    None each where libvirt does not answer soon: the rest of the facts can be told all the same.
    """
    try:
        return libvirtd.answer_within(LIBVIRT_FACTS_SECONDS, _ask_libvirt, job)
    except Cancelled:
        raise
    except AgentError:
        return _NO_LIBVIRT


def _ask_libvirt() -> LibvirtFacts:
    with libvirtd.translated() as conn:
        host = ET.fromstring(conn.getCapabilities()).findtext("./host/uuid")
        qemu = None if libvirtd.is_test_driver() else _version(conn.getVersion())
        return _version(conn.getLibVersion()), qemu, host, libvirtd.copies_running(conn)


def _version(number: int) -> str:
    """libvirt's 1000000 * major + 1000 * minor + release."""
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"


@handles(node.NodeProbe)
def node_probe(request: node.NodeProbe, job: Job) -> node.Probe:
    """Find out whether guests can run under KVM here."""
    if not Path("/dev/kvm").exists():
        return node.Probe("qemu", "The node has no /dev/kvm.")
    if kvm_works(min(request.timeout_seconds, max(1.0, job.remaining() - 1.0))):
        return node.Probe("kvm", "A guest CPU ran well under KVM.")
    return node.Probe("qemu", "There is a /dev/kvm, but a guest CPU does not get far under it.")


@handles(node.PackagesInstall)
def packages_install(request: node.PackagesInstall, job: Job) -> node.Installed:
    """Install what is missing."""
    return node.Installed(packages=packages.install(job))


@handles(node.LibvirtEnsure)
def libvirt_ensure(request: node.LibvirtEnsure, job: Job) -> node.Facts:
    """Have libvirtd answering, and the remembered bridges there."""
    from nodeagent.commands.bridges import restore

    if not _answers():
        libvirt_start.start(job)
        until = time.monotonic() + LIBVIRTD_SECONDS
        while not _answers():
            if time.monotonic() > until:
                raise LibvirtError("libvirtd was started but does not answer.", libvirt_code=0, connection_lost=True)
            job.wait(0.2)
    try:
        restore(job)
    except (CommandFailed, OSError) as error:
        # The panel asks for each of its bridges besides, and says of which network it cannot be made.
        log.warning("%s a bridge cannot be made again: %s", job.request_id, error)
    # VMs that start with the node need their bridges before libvirtd looks at them.
    argv = ["/usr/bin/python3", str(paths.AGENT), "--restore-network"]
    services.run_at_boot("vmpanel-network", argv, "libvirtd.service", job)
    return node_facts(node.NodeFacts(), job)


def _answers() -> bool:
    try:
        with libvirtd.translated() as conn:
            # A connection takes itself for alive until somebody uses it.
            conn.getLibVersion()
            return True
    except LibvirtError:
        return False


@handles(node.AgentRemove)
def agent_remove(request: node.AgentRemove, job: Job) -> Nothing:
    """Remove what the panel put on the node; logs and an administrator's overrides are left to their owner."""
    if not services.has_systemd():
        # libvirtd was started by us; without guests nobody misses it.
        for program in ("libvirtd", "virtlogd"):
            services.stop(f"vmpanel-{program}", job)
    services.stop("vmpanel-network", job)
    # The panel's key, known by its comment.
    authorized_keys.change(lambda line: line.split()[2:3] != ["vmpanel"])
    for path in (paths.MARKER, paths.VMWATCH_CONF, *paths.LIB.glob("*.part"), paths.VMWATCH, paths.AGENT):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    shutil.rmtree(paths.RUN, ignore_errors=True)
    for folder in (paths.LIB, paths.ETC, paths.STATE):
        with contextlib.suppress(OSError):
            folder.rmdir()
    return Nothing()
