"""The node as such: what it holds, how it is called, and faults on request. What each command does is beside."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from nodeagent.protocol import Fence, Request, identity, network
from nodeagent.protocol import node as machine
from nodeagent.protocol.host import InterfaceSpec
from nodeagent.protocol.links import LinkEnsure
from panel.cluster.client import Channel, Heed, Pools, Progress, Report
from panel.cluster.fake.state import GIB, AgentRefusal, FakeDomain, FakeVolume
from panel.cluster.session import translate
from panel.core.errors import NodeRefused, NodeTimeout, NodeUnreachable

T = TypeVar("T")


@dataclass
class Node:
    """What all of a fake node's commands share. Everything in it may be looked at and changed by a test."""

    name: str = "fake"
    memory_mib: int = 65536
    cpu_count: int = 16
    capacity_bytes: int = 500 * GIB
    domains: dict[str, FakeDomain] = field(default_factory=dict)
    pools: set[str] = field(default_factory=set)
    files: dict[str, FakeVolume] = field(default_factory=dict)
    seeds: dict[str, tuple[str, identity.GuestIdentity]] = field(default_factory=dict)
    """What each seed says, by its place: the instance's id and the identity."""
    marks: dict[str, str] = field(default_factory=dict)
    """Each pool's mark, by its name. A test shares a pool by giving two nodes one `marks`, `signs` and `files`."""
    unmounted: set[str] = field(default_factory=set)
    """Names of pools whose file system is away: what is seen there is an empty folder."""
    read_only: set[str] = field(default_factory=set)
    """Names of pools that nothing can be written to."""
    devices: dict[str, dict[str, str]] = field(default_factory=dict)
    """Each pool's file systems, by its name (protocol.storage.KnownPool)."""
    signs: set[tuple[str, str]] = field(default_factory=set)
    nvram: dict[str, int] = field(default_factory=dict)
    """How many bytes the UEFI of a domain remembers, by its UUID; `receiving` is what arrives."""
    receiving: dict[str, int] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    """Places of files that somebody has open who is no domain of this node."""
    bridges: dict[str, network.BridgeEnsure] = field(default_factory=dict)
    """What is remembered; `links` is what its kernel has. So with `guards` (by VM) and `rules` (by port)."""
    links: dict[str, network.BridgeEnsure] = field(default_factory=dict)
    host_networks: list[network.HostNetwork] = field(default_factory=list)
    """What the host has of networks without the panel, and names of its interfaces, and those of its bridges."""
    host_links: list[str] = field(default_factory=list)
    host_bridges: list[str] = field(default_factory=list)
    made_links: dict[str, LinkEnsure] = field(default_factory=dict)
    """Bonds and VLANs that the panel made on it."""
    unable: set[str] = field(default_factory=set)
    """Kinds of networks that its kernel cannot have."""
    trials: dict[str, float] = field(default_factory=dict)
    """Bridges, bonds and VLANs that are not confirmed yet, with the seconds for it."""
    barriers: list[str] = field(default_factory=list)
    """Chains of its firewall that let no guest out."""
    unreached: dict[int, str] = field(default_factory=dict)
    """Ports elsewhere that it cannot reach, and why."""
    guards: dict[str, list[network.AntiSpoofingFilter]] = field(default_factory=dict)
    rules: dict[str, network.AntiSpoofingFilter] = field(default_factory=dict)
    ports: dict[str, list[InterfaceSpec]] = field(default_factory=dict)
    """The interfaces that are remembered, by VM."""
    listening: set[tuple[str, int]] = field(default_factory=set)
    """Protocols and ports that programs of the host listen on."""
    unsecured: set[str] = field(default_factory=set)
    """Ports whose security its kernel lacks."""
    restarted: list[str] = field(default_factory=list)
    """Services that were started anew, in their order."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    serials: dict[str, socket.socket] = field(default_factory=dict)
    """The guest's end of each serial port that was opened, by the domain's UUID."""
    fences: dict[int, int] = field(default_factory=dict)
    tickets: set[int] = field(default_factory=set)
    volumes_received: dict[int, str] = field(default_factory=dict)
    """The file that is received for a ticket."""
    lacks: list[str] = field(default_factory=list)
    """Reasons of its own why it takes no VM that is moved."""
    vmwatch: machine.VmwatchConfigure | None = None
    calls: list[Request[Any]] = field(default_factory=list)
    libvirt: str = "answers"
    """"off" is started by libvirt_ensure, "silent" is not. Its facts take so long, and are `told` once."""
    libvirt_seconds: float = 0.1
    told: bool = False
    kvm: str = ""
    """Why QEMU's user may not open /dev/kvm."""
    copies_running: bool = True
    """Whether its libvirt and QEMU can copy the disks of a VM that runs."""
    clock_offset: float = 0.0
    """Seconds that its clock is ahead."""
    mark: machine.HostMark = field(default_factory=machine.HostMark)
    """Whose node it says it is."""
    removed: bool = False
    unheeded: list[str] = field(default_factory=list)
    """The commands (and "upload") that were asked for by somebody who could not be stopped meanwhile."""

    def __post_init__(self) -> None:
        self._faults: list[tuple[str, Exception, bool]] = []
        self._hanging: set[str] = set()
        self._lock = threading.RLock()
        self.boot = "fake"
        """What tells this start of the host from others."""
        self._known: Pools = {}

    def fail(self, command: str, error: Exception, *, times: int = 1) -> None:
        """The next calls of `command` raise `error` and do nothing."""
        self._faults += [(command, error, False)] * times

    def lose_answer(self, command: str, *, times: int = 1) -> None:
        """The next calls of `command` are carried out, but their answers never arrive."""
        lost = NodeUnreachable(node=self.name, reason="the connection was lost")
        self._faults += [(command, lost, True)] * times

    def hang(self, command: str) -> None:
        """The next call of `command` (or "upload") gets no answer within its deadline."""
        self._hanging.add(command)

    def call(
        self,
        request: Request[T],
        *,
        deadline: float = 60.0,
        fence: Fence | None = None,
        progress: Report | None = None,
        pools: Pools | None = None,
        heed: Heed | None = None,
    ) -> T:
        """Carry out `request` in memory; raises as the session with a real agent does."""
        self._wait(request.COMMAND, deadline, heed)
        with self._lock:
            fault = self._next_fault(request.COMMAND)
            self._known = pools or {}
            if fault is not None and not fault[1]:
                raise fault[0]
            try:
                if fence is not None and request.MUTATES:
                    self._pass_fence(fence)
                self.calls.append(request)
                handler = cast(Callable[[Request[T], Report | None], T], getattr(self, f"_{request.COMMAND}"))
                result = handler(request, progress)
            except AgentRefusal as refusal:
                raise translate(refusal.body, self.name, request.COMMAND, deadline) from refusal
            if fault is not None:
                raise fault[0]
            return result

    def upload(
        self, local: Path, remote: str, *, deadline: float, progress: Report | None = None, heed: Heed | None = None
    ) -> None:
        """Keep the file's bytes under `remote`, where a file must have been begun."""
        self._wait("upload", deadline, heed)
        if remote not in self.uploads:
            raise NodeRefused(node=self.name, reason=f"{remote}: No such file or directory")
        content = local.read_bytes()
        if progress is not None:
            progress(Progress(len(content), len(content)))
        self.uploads[remote] = content

    def update_programs(self) -> list[str]:
        """A fake node has none; faults of "update_programs" are raised."""
        fault = self._next_fault("update_programs")
        if fault is not None:
            raise fault[0]
        return []

    def open_channel(self, port: int) -> Channel:
        """A fake node has no consoles to speak of."""
        raise NodeUnreachable(node=self.name, reason=f"nothing listens on its port {port}")

    def open_serial(self, uuid: str, *, take: bool = False) -> Channel:
        """A stream to the domain's port, whose far end `serials` has; faults of "serial" are raised."""
        if (fault := self._next_fault("serial")) is not None:
            raise fault[0]
        try:
            return self._open_serial(uuid, take)
        except AgentRefusal as refusal:
            raise translate(refusal.body, self.name, "serial", 0.0) from refusal

    def _open_serial(self, uuid: str, take: bool) -> Channel:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to let go of."""

    def _wait(self, command: str, deadline: float, heed: Heed | None) -> None:
        """Note who cannot be stopped, and hang as was asked; raises NodeTimeout and what `heed` does."""
        if heed is None:
            self.unheeded.append(command)
        if command not in self._hanging:
            return
        self._hanging.remove(command)
        until = time.monotonic() + deadline
        while time.monotonic() < until:
            if heed is not None:
                heed()
            time.sleep(0.01)
        raise NodeTimeout(node=self.name, command=command, seconds=deadline)

    def _next_fault(self, command: str) -> tuple[Exception, bool] | None:
        for index, (name, error, after) in enumerate(self._faults):
            if name == command:
                del self._faults[index]
                return error, after
        return None

    def _pass_fence(self, fence: Fence) -> None:
        if fence.number < self.fences.get(fence.task, 0):
            raise AgentRefusal("fenced", "A later worker holds the task.", seen=self.fences[fence.task])
        self.fences[fence.task] = fence.number
