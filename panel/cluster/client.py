"""What a node's client is, real (session.py) or in memory (fake/)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nodeagent.protocol import Fence, Request
from nodeagent.protocol.storage import KnownPool

Pools = Mapping[str, KnownPool]
"""What the panel knows of a node's pools, by their names."""
T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """How far a call is; `done` and `total` are bytes for copies, seconds for waits."""

    done: float
    total: float
    text: str = ""


Report = Callable[[Progress], None]
Heed = Callable[[], None]
"""Is called every moment while a node is waited for; what it raises ends the waiting and the node's work."""
HEED_SECONDS = 0.5


@dataclass(frozen=True)
class NodeAddress:
    """How a node is reached. `host_key` is the pinned key ("ssh-ed25519 AAAA..."), empty before it is pinned.

    The `name` is for people: a node that is called otherwise by now is reached as before.
    """

    name: str = field(compare=False)
    address: str
    port: int = 22
    user: str = "root"
    host_key: str = ""
    key_path: str | None = None
    key: str | None = field(default=None, repr=False)
    """A private key's text, used once to let the panel's own key in."""
    password: str | None = field(default=None, repr=False)


class Channel(Protocol):
    """A byte stream to a port of the node, as a socket."""

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""

    def sendall(self, data: bytes) -> None:
        """Send all of it."""

    def settimeout(self, seconds: float | None) -> None:
        """How long recv() and sendall() may wait."""

    def close(self) -> Any:
        """End the stream."""


class NodeClient(Protocol):
    """Speaks with one node; many threads may call at a time.

    Raises NodeUnreachable, NodeTimeout, NodeRefused, LibvirtFailure, CommandFailed, VersionMismatch, Fenced.
    """

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
        """Have the node carry out `request` within `deadline` seconds, in pools that are what is known of them."""

    def upload(
        self, local: Path, remote: str, *, deadline: float, progress: Report | None = None, heed: Heed | None = None
    ) -> None:
        """Put a local file's content at `remote` on the node, where there must be a file; else raises NodeRefused."""

    def update_programs(self) -> list[str]:
        """Have the panel's own programs on the node and in use; answers the paths of those that were replaced."""

    def open_channel(self, port: int) -> Channel:
        """A stream to the node's 127.0.0.1:`port`."""

    def open_serial(self, uuid: str, *, take: bool = False) -> Channel:
        """A stream to the serial port of a domain that runs; with `take` whoever has it loses it.

        Raises CommandFailed too: guest_stopped, no_serial, serial_taken.
        """

    def close(self) -> None:
        """Let the connection go; the next call makes a new one."""


__all__ = ["HEED_SECONDS", "Channel", "Heed", "NodeAddress", "NodeClient", "Pools", "Progress", "Report"]
