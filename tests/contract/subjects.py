"""The two that must behave alike, with the little that a test needs to do behind their backs."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nodeagent.protocol import Fence, Request, host, storage
from panel.cluster.client import NodeClient, Pools, Report
from panel.cluster.fake import FakeNode, FakeSnapshot
from panel.core.errors import CommandFailed, Fenced, LibvirtFailure, NodeError, NodeTimeout
from tests.contract.local_agent import LocalAgent
from tests.refs import directory, ref
from vmwatch import config

T = TypeVar("T")
MIB = 1024**2
BY_HAND = """
from nodeagent import libvirtd
from nodeagent.commands.hosts import state_of

def run(request, job):
    domain = libvirtd.connection().lookupByUUIDString(request.uuid)
    domain.{}()
    return state_of(domain)
"""


class Subject(Protocol):
    """A node under test."""

    client: NodeClient
    pool: str
    called: set[str]

    def call(
        self,
        request: Request[T],
        *,
        fence: Fence | None = None,
        progress: Report | None = None,
        pools: Pools | None = None,
    ) -> T:
        """Call the node, remembering which command it was."""

    def unmount(self) -> None:
        """Have the pool's file system away: its path is an empty folder."""

    def mount(self) -> None:
        """Have it back."""

    def join_guest(self, bridge: str) -> None:
        """Have a guest's interface joined to the bridge."""

    def leave_guest(self, bridge: str) -> None:
        """Take it away again."""

    def damage_upload(self, path: str) -> None:
        """Change the bytes that were uploaded to `path`."""

    def age(self, path: str, seconds: float) -> None:
        """Have the file at `path` last changed so long ago."""

    def silence_guest(self, vm: str) -> None:
        """Have the guest answer nobody and heed nothing."""

    def forget_when_off(self, vm: str) -> None:
        """Have the running domain undefined, as by virsh."""

    def save_memory(self, vm: str) -> None:
        """Have libvirt save the running domain's memory, as by virsh managedsave."""

    def snapshot_by_hand(self, vm: str, name: str, *, external: bool = False) -> None:
        """Have a snapshot taken as by virsh snapshot-create-as, an external one with --disk-only."""

    def copies_nothing_that_runs(self) -> None:
        """Have a libvirt that cannot copy the disks of a domain that runs."""

    def build_upon(self, path: str, over: str) -> None:
        """Have an overlay of the qcow2 file at `path`, as a snapshot made by hand leaves it."""

    def opened(self, path: str) -> AbstractContextManager[None]:
        """Have a process keep the file open meanwhile."""

    def watch_configuration(self) -> dict[str, str]:
        """What vmwatch-node's file says."""


class Base:
    """What both have in common."""

    client: NodeClient

    def __init__(self) -> None:
        self.called: set[str] = set()

    def call(
        self,
        request: Request[T],
        *,
        fence: Fence | None = None,
        progress: Report | None = None,
        pools: Pools | None = None,
    ) -> T:
        """Call the node, remembering which command it was."""
        self.called.add(request.COMMAND)
        return self.client.call(request, deadline=30.0, fence=fence, progress=progress, pools=pools)


class FakeSubject(Base):
    """The fake."""

    def __init__(self) -> None:
        super().__init__()
        self.client = self.node = FakeNode()
        self.pool = "/var/lib/vmpanel/pool"

    def unmount(self) -> None:
        """The node's own switch."""
        self.node.unmounted.add("local")

    def mount(self) -> None:
        """The node's own switch."""
        self.node.unmounted.discard("local")

    def join_guest(self, bridge: str) -> None:
        """A running domain with an interface in the bridge."""
        spec = make_spec(self.pool, bridge=bridge)
        self.node.call(host.HostCreate(spec=spec))
        self.node.call(host.HostStart(uuid=spec.uuid))

    def leave_guest(self, bridge: str) -> None:
        """No domains any more."""
        self.node.domains.clear()

    def damage_upload(self, path: str) -> None:
        """Turn the first byte round."""
        self.node.uploads[path] = b"\0" + self.node.uploads[path][1:]

    def age(self, path: str, seconds: float) -> None:
        """The file's own time."""
        self.node.files[path].changed_at -= seconds

    def silence_guest(self, vm: str) -> None:
        """The domain's own switches."""
        self.node.domains[vm].answers = False
        self.node.domains[vm].obeys = False

    def forget_when_off(self, vm: str) -> None:
        """The domain's own switch."""
        self.node.domains[vm].persistent = False

    def save_memory(self, vm: str) -> None:
        """The domain's own state."""
        self.node.domains[vm].state = "saved"

    def snapshot_by_hand(self, vm: str, name: str, *, external: bool = False) -> None:
        """A snapshot of the domain's."""
        domain = self.node.domains[vm]
        active = domain.state == "running"
        parent = None if external else domain.current
        domain.snapshots[name] = FakeSnapshot(domain.state, active and not external, parent, external)
        domain.current = name

    def copies_nothing_that_runs(self) -> None:
        """The node's own switch."""
        self.node.copies_running = False

    def build_upon(self, path: str, over: str) -> None:
        """One more file."""
        self.node.files[over] = dataclasses.replace(self.node.files[path], backing=path)

    @contextmanager
    def opened(self, path: str) -> Iterator[None]:
        """The node's own note of it."""
        self.node.opened.add(path)
        yield
        self.node.opened.discard(path)

    def watch_configuration(self) -> dict[str, str]:
        """What it was told last, as the file would say it."""
        assert self.node.vmwatch is not None
        told = dataclasses.asdict(self.node.vmwatch)
        return {name: f"{value:g}" if name == "resync" else str(value) for name, value in told.items() if value != ""}


class AgentSubject(Base):
    """The real agent."""

    def __init__(self, folder: Path, *, netns: bool) -> None:
        super().__init__()
        self.client = self.agent = LocalAgent(folder, netns=netns)
        self.pool = str(folder / "pool")

    def unmount(self) -> None:
        """As seen from its path: an empty folder there."""
        os.rename(self.pool, f"{self.pool}-away")
        os.mkdir(self.pool)

    def mount(self) -> None:
        """The folder of before, in place of the empty one."""
        os.rmdir(self.pool)
        os.rename(f"{self.pool}-away", self.pool)

    def join_guest(self, bridge: str) -> None:
        """An interface of the kernel's, as QEMU's tap would be."""
        self.agent.run_in_namespace("ip", "link", "add", "guest0", "type", "veth", "peer", "name", "guest0p")
        self.agent.run_in_namespace("ip", "link", "set", "guest0", "master", bridge)

    def leave_guest(self, bridge: str) -> None:
        """Take it away."""
        self.agent.run_in_namespace("ip", "link", "delete", "guest0")

    def damage_upload(self, path: str) -> None:
        """Turn the first byte round."""
        with open(path, "r+b") as file:
            file.write(b"\0")

    def age(self, path: str, seconds: float) -> None:
        """The file's own time."""
        then = time.time() - seconds
        os.utime(path, (then, then))

    def silence_guest(self, vm: str) -> None:
        """The test driver's guests neither listen on a port nor refuse to shut down; nothing to be done."""

    def forget_when_off(self, vm: str) -> None:
        """As by virsh undefine."""
        self._by_hand(vm, "undefine")

    def save_memory(self, vm: str) -> None:
        """As by virsh managedsave."""
        self._by_hand(vm, "managedSave")

    def snapshot_by_hand(self, vm: str, name: str, *, external: bool = False) -> None:
        """As by virsh snapshot-create-as; the test driver takes no external one, but can be told of one."""
        named = f"<domainsnapshot><name>{name}</name>"
        if not external:
            self._by_hand(vm, f'snapshotCreateXML("{named}</domainsnapshot>", 0).getName')
            return
        disk = f"<disk name='vda' snapshot='external'><source file='{self.pool}/{name}'/></disk>"
        told = f"{named}<state>disk-snapshot</state><creationTime>1</creationTime><memory snapshot='no'/>"
        told += f"<disks>{disk}</disks>"
        # VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE and _CURRENT
        self._by_hand(vm, f'snapshotCreateXML("{told}" + domain.XMLDesc(0) + "</domainsnapshot>", 3).getName')

    def _by_hand(self, vm: str, act: str) -> None:
        """By a command of an administrator's: the test driver's domains are the agent's alone."""
        command = self.agent.root / "etc/vmpanel/commands/host_reset.py"
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(BY_HAND.format(act))
        self.client.call(host.HostReset(uuid=vm))
        command.unlink()

    def copies_nothing_that_runs(self) -> None:
        """The test driver cannot; nothing to be done."""

    def build_upon(self, path: str, over: str) -> None:
        """By QEMU's own program."""
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", over], check=True)

    @contextmanager
    def opened(self, path: str) -> Iterator[None]:
        """By a process that reads it."""
        with open(path, "rb"):
            yield

    def watch_configuration(self) -> dict[str, str]:
        """The file, which nobody else may read, as the daemon reads it."""
        path = self.agent.root / "etc/vmpanel/vmwatch-node.conf"
        assert path.stat().st_mode & 0o777 == 0o600
        config.read_node(path)
        return config.read(path)


def make_image(folder: Path, *, size_mib: int = 8, fmt: str = "qcow2") -> Path:
    """A small disk image with some data in it."""
    path = folder / f"image-{size_mib}.{fmt}"
    raw = folder / "image.raw"
    raw.write_bytes(bytes(range(256)) * 2048)
    subprocess.run(["truncate", "-s", f"{size_mib}M", str(raw)], check=True)
    subprocess.run(["qemu-img", "convert", "-O", fmt, str(raw), str(path)], check=True)
    return path


def put_image(subject: Subject, image: Path) -> str:
    """Bring the image to the node's pool; answers its SHA-256."""
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    upload(subject, image, sha256)
    assert subject.call(storage.ImageCommit(store=directory(subject.pool), sha256=sha256)).present
    return sha256


def upload(subject: Subject, image: Path, sha256: str, task: int = 0) -> str:
    """Send the image to the node, as a task does; answers where to."""
    store = directory(subject.pool)
    path = subject.call(storage.ImageStatus(store, sha256, task=task)).upload_path
    subject.call(storage.UploadBegin(store, sha256, task=task))
    subject.client.upload(image, path, deadline=10.0)
    return path


def make_spec(pool: str, *, name: str = "", bridge: str = "vmbr-nat0", **changes: Any) -> host.DomainSpec:
    """A VM's description."""
    vm = changes.pop("uuid", None) or str(uuid.uuid4())
    values: dict[str, Any] = {
        "uuid": vm,
        "name": name or f"vm-{vm[:8]}",
        "memory_mib": 512,
        "vcpus": 1,
        "virt": "qemu",
        "disks": [host.DiskSpec(volume=ref(f"{pool}/volumes/{vm}.qcow2"), format="qcow2", target="vda")],
        "interfaces": [host.InterfaceSpec(mac="52:54:00:12:34:56", bridge=bridge)],
        "cdroms": [ref(f"{pool}/seeds/{vm}.iso")],
    }
    return host.DomainSpec(**{**values, **changes})


def code_of(error: NodeError) -> str:
    """The agent's code behind an error of the panel."""
    if isinstance(error, CommandFailed):
        return str(error.data["agent_code"])
    codes = {LibvirtFailure: "libvirt", NodeTimeout: "deadline", Fenced: "fenced"}
    return codes.get(type(error), type(error).__name__)
