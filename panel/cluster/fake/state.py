"""What a node in memory holds: domains with their snapshots, volumes; and how it refuses."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from nodeagent.protocol import host

GIB = 1024**3
STATES_ON = ("running", "paused")


class AgentRefusal(Exception):
    """What the real agent would answer as an error; call() translates it the same way."""

    def __init__(self, code: str, message: str, **data: Any) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, "data": data}


@dataclass
class FakeSnapshot:
    """A snapshot of a domain: the state that it was in, and the snapshot before."""

    state: str
    with_memory: bool
    parent: str | None
    external: bool = False
    created_at: int = field(default_factory=lambda: int(time.time()))


@dataclass
class FakeDomain:
    """A domain: its description and its state."""

    spec: host.DomainSpec
    state: str = "shut off"
    obeys: bool = True
    """Whether its guest heeds a request to shut down."""
    answers: bool = True
    """Whether its guest can be reached while it runs."""
    running: host.DomainSpec | None = None
    """What it was started with and what was changed live since; None: what is described."""
    snapshots: dict[str, FakeSnapshot] = field(default_factory=dict)
    current: str | None = None
    """The name of the snapshot that it goes on from."""
    persistent: bool = True
    """Whether libvirt keeps it when it stops."""
    has_agent: bool = False
    """Whether a guest agent answers while it runs."""
    job: str = ""
    """What somebody has under way with it by hand, one of host.JOBS."""

    serial: bool = True
    """Whether it has a serial port."""
    run: int = 1
    """How often it was started; libvirt's id of what runs."""
    received: int = 0
    sent: int = 0
    """Bytes since it was started."""
    still: bool = True
    """Whether its guest does nothing more between the last look at it and its end."""

    def counters(self, boot: str) -> host.LastCounters | None:
        """What is told of it as it ends; None when it does not run."""
        if self.state not in STATES_ON:
            return None
        counts = [
            host.InterfaceCounts(f"vnet{number}", self.received, 0, self.sent, 0)
            for number, _ in enumerate(self.now.interfaces[:1])
        ]
        uuid, clock = self.spec.uuid, time.monotonic()
        return host.LastCounters(uuid, self.run, self.still, clock, boot, cpu_ns=0, interfaces=counts)

    def begin_run(self) -> None:
        """It was started: it counts from nothing."""
        self.run, self.received, self.sent = self.run + 1, 0, 0

    @property
    def now(self) -> host.DomainSpec:
        """What the running guest has."""
        return self.running or self.spec


@dataclass
class FakeVolume:
    """A volume or seed; sizes in bytes."""

    format: str
    virtual_bytes: int
    changed_at: float = field(default_factory=time.time)
    backing: str = ""
    """The path of what it builds upon."""
