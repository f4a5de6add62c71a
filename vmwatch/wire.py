"""What vmwatch-node says and vmwatch-master believes: states, messages, their proof.

A message is two frames: the JSON body and the hexadecimal HMAC-SHA256 of it with the shared secret.
Field by field in docs/vmwatch.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Optional, Tuple

VERSION = 1

RUNNING = "running"
PAUSED = "paused"
SHUT_OFF = "shut off"
CRASHED = "crashed"
MISSING = "missing"
UNKNOWN = "unknown"

EVENT = "event"
PICTURE = "picture"
KINDS = (EVENT, PICTURE)
SEEN_STATES = (RUNNING, PAUSED, SHUT_OFF, CRASHED, MISSING, UNKNOWN)

CLOCK_WINDOW_SECONDS = 120.0
"""How far a message's time may be from the receiver's clock."""
LARGEST_MESSAGE = 8 * 1024 * 1024
"""Bytes; a picture of 20,000 domains is about 2 MB."""
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Refused(ValueError):
    """A message is not to be believed; `reason` is counted: malformed, forged, stale, replayed."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class DomainState:
    """One domain as seen: its UUID, name, state, and for an event libvirt's word for what happened."""

    uuid: str
    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class Message:
    """One message. (`epoch`, `sequence`) orders all messages of a node.

    `epoch` is when the daemon started (nanoseconds since 1970), `time` when it spoke (seconds).
    A picture's `domains` are all that the node has; an event's the one that it is about.
    """

    node_id: int
    epoch: int
    sequence: int
    time: float
    kind: str
    domains: List[DomainState] = field(default_factory=list)
    version: int = VERSION


def encode(message: Message, secret: str) -> List[bytes]:
    """The message's two frames."""
    body = json.dumps(asdict(message), separators=(",", ":")).encode()
    return [body, sign(body, secret).encode()]


def sign(body: bytes, secret: str) -> str:
    """The proof that whoever wrote `body` knows the secret."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def decode(frames: List[bytes], secret: str, now: Optional[float] = None) -> Message:
    """The message in these frames; `now` is the receiver's clock, None leaves the time unchecked.

    Raises Refused.
    """
    if len(frames) != 2 or len(frames[0]) > LARGEST_MESSAGE:
        raise Refused("malformed", "not two frames of an acceptable size")
    body, proof = frames
    if not hmac.compare_digest(sign(body, secret).encode(), proof):
        raise Refused("forged", "the proof does not fit")
    message = from_body(body)
    if now is not None and not fresh(message.time, now):
        raise Refused("stale", f"its time is {now - message.time:+.0f} s off")
    return message


def fresh(spoken_at: float, now: float) -> bool:
    """Whether a time is so near to the receiver's clock that what bears it is no replay; NaN is not."""
    return abs(now - spoken_at) <= CLOCK_WINDOW_SECONDS


def from_body(body: bytes) -> Message:
    """The message of a body whose proof was checked; raises Refused as malformed."""
    try:
        raw = json.loads(body)
        domains = [_domain(each) for each in raw["domains"]]
        message = Message(
            node_id=_integer(raw["node_id"]),
            epoch=_integer(raw["epoch"]),
            sequence=_integer(raw["sequence"]),
            time=float(raw["time"]),
            kind=raw["kind"],
            domains=domains,
            version=_integer(raw["version"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Refused("malformed", f"not a message: {error}") from error
    if message.version != VERSION or message.kind not in KINDS:
        raise Refused("malformed", f"version {message.version}, kind {message.kind!r}")
    return message


def _domain(raw: Dict[str, Any]) -> DomainState:
    domain = DomainState(
        uuid=str(raw["uuid"]), name=str(raw["name"]), state=str(raw["state"]), detail=str(raw.get("detail", ""))
    )
    if domain.state not in SEEN_STATES:
        raise ValueError(f"unknown state {domain.state!r}")
    if not _UUID.fullmatch(domain.uuid):
        raise ValueError(f"no UUID {domain.uuid[:40]!r}")
    return domain


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError("not a number in range")
    return value


class Order:
    """Which messages of each node have been seen: lets each through once, and none older than the last."""

    def __init__(self) -> None:
        self._last: Dict[int, Tuple[int, int]] = {}

    def accept(self, message: Message) -> None:
        """Remember the message as seen; raises Refused as replayed when it, or a later one, was seen before."""
        place = (message.epoch, message.sequence)
        if place <= self._last.get(message.node_id, (0, -1)):
            raise Refused("replayed", f"{place} of node {message.node_id} after {self._last[message.node_id]}")
        self._last[message.node_id] = place
