"""What vmwatch-node says and vmwatch-master believes: states, messages, their proof.

A message is two frames: the JSON body, and the proof: the node's id, a colon, and the hexadecimal HMAC-SHA256 of the
body with the secret that this node alone has. Field by field in docs/vmwatch.md.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Optional, Type, TypeVar

VERSION = 1

RUNNING = "running"
PAUSED = "paused"
SHUT_OFF = "shut off"
SAVED = "saved"
"""Off, and libvirt keeps its memory (a managed save): its next start goes on from there."""
CRASHED = "crashed"
MISSING = "missing"
UNKNOWN = "unknown"

EVENT = "event"
FULL_REPORT = "picture"
ALIVE = "alive"
STATISTICS = "statistics"
KINDS = (EVENT, FULL_REPORT, ALIVE, STATISTICS)
SEEN_STATES = (RUNNING, PAUSED, SHUT_OFF, SAVED, CRASHED, MISSING, UNKNOWN)

BACKUP, MIGRATION, BLOCK_JOB = "backup", "migration", "block job"
JOBS = (BACKUP, MIGRATION, BLOCK_JOB)
"""A backup of a domain's disks, its way to another node, a copy or commit of one of its disks."""

CLOCK_WINDOW_SECONDS = 120.0
"""How far a message's time may be from the receiver's clock."""
EPOCH_AHEAD_SECONDS = 86400.0
"""How far a daemon's start may be ahead of the receiver's clock: beyond it no later start could ever follow."""
PROOF_LENGTH = 64
LARGEST_MESSAGE = 8 * 1024 * 1024
"""Bytes; a full report of 20,000 domains is about 2 MB."""
MOST_STATISTICS = 500
"""Domains of one statistics message."""
MOST_LINKS, MOST_ADDRESSES = 200, 32
"""Interfaces of one message, and addresses of each."""
LONGEST_TEXT = 255
LARGEST_AGE_SECONDS = 30 * 86400.0
# vars() and not asdict(), which would copy thousands of domains to throw the copies away.
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=vars)
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def boot_id() -> str:
    """What tells this start of the host from others; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Refused(ValueError):
    """A message is not to be believed; `reason` is counted: malformed, forged, unknown, stale, replayed."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class DomainState:
    """One domain as seen: its UUID, name, state, and for an event libvirt's word for what happened.

    `age` is how many seconds before the message's `time` that was, by a clock that nobody sets. `job` is told by
    full reports alone: what libvirt has under way with the domain, one of JOBS.
    """

    uuid: str
    name: str
    state: str
    detail: str = ""
    age: float = 0.0
    job: str = ""


@dataclass(frozen=True)
class PastEvent:
    """An event told before, told again with a full report: whoever missed its message has it from here."""

    epoch: int
    sequence: int
    domain: DomainState


@dataclass(frozen=True)
class DiskStatistics:
    """What a domain did with one disk since it was started, or the disk attached; None is not known."""

    name: str
    read_bytes: Optional[int]
    read_requests: Optional[int]
    write_bytes: Optional[int]
    write_requests: Optional[int]


@dataclass(frozen=True)
class InterfaceStatistics:
    """What a domain received and sent on one interface since it was started, or attached; None is not known."""

    name: str
    rx_bytes: Optional[int]
    rx_packets: Optional[int]
    tx_bytes: Optional[int]
    tx_packets: Optional[int]


@dataclass(frozen=True)
class DomainStatistics:
    """The counters of one active domain since it was started.

    `run` is libvirt's id of the running domain: another one at every start, when counters begin anew.
    `cpu_ns` is CPU time, `memory_kib` what the guest has been given, `rss_kib` what it takes on the host.
    None is what libvirt could not read just now, which is not 0.
    """

    uuid: str
    run: int
    cpu_ns: Optional[int]
    memory_kib: Optional[int]
    rss_kib: Optional[int]
    disks: Optional[List[DiskStatistics]] = None
    interfaces: Optional[List[InterfaceStatistics]] = None


@dataclass(frozen=True)
class LinkState:
    """A network interface of the node; None is what is not known.

    `kind` is “physical” or the kernel's word (bond, bridge, vlan, …). `up` is that it was set up, `carrier` that it can
    send: a cable is in. `master` is the bridge or bond that it is part of, `parent` what a VLAN is tagged on.
    Counters count from the interface's making; `carrier_changes` how often the cable came and went.
    """

    name: str
    kind: str
    up: bool
    carrier: bool
    mtu: int
    mac: str = ""
    speed_mbps: Optional[int] = None
    master: str = ""
    parent: str = ""
    vlan: Optional[int] = None
    carrier_changes: int = 0
    addresses: List[str] = field(default_factory=list)
    rx_bytes: Optional[int] = None
    tx_bytes: Optional[int] = None
    rx_errors: Optional[int] = None
    tx_errors: Optional[int] = None
    rx_dropped: Optional[int] = None
    tx_dropped: Optional[int] = None


@dataclass(frozen=True)
class Message:
    """One message. (`epoch`, `sequence`) orders all messages of a node.

    `epoch` is when the daemon started (nanoseconds since 1970), `time` when it spoke (seconds).
    A full report's `domains` are all that the node has, and `recent` the events of the last minute;
    an event's `domains` are the one that it is about. `statistics` are those of active domains.

    `clock` is `time` by a clock that nobody sets and that begins with the host's start `boot` (CLOCK_MONOTONIC), as the
    agent's readings bear it too: what of both was first is known by it. 0 and empty where a daemon does not say so.
    `age` is how many seconds before that a full report's domains were looked at, or an event's `statistics` were read:
    those of the domain that ended with it, as read last. They are `final` when it did nothing more after that.
    `links` are all interfaces of the node, in a full report, and in an `alive` when one changed: to who does
    not know of them it is alive and no more.
    """

    node_id: int
    epoch: int
    sequence: int
    time: float
    kind: str
    domains: List[DomainState] = field(default_factory=list)
    recent: List[PastEvent] = field(default_factory=list)
    statistics: List[DomainStatistics] = field(default_factory=list)
    version: int = VERSION
    clock: float = 0.0
    boot: str = ""
    age: float = 0.0
    final: bool = False
    links: List[LinkState] = field(default_factory=list)


OPTIONAL = ("clock", "boot", "age", "final")
"""Fields that are left out where they say nothing."""


def encode(message: Message, secret: str) -> List[bytes]:
    """The message's two frames; `secret` is that of its node."""
    body = to_body(message)
    return [body, prove(body, message.node_id, secret)]


def to_body(message: Message) -> bytes:
    """The message's first frame; lists that are empty are left out."""
    body = bytearray()
    for name, value in vars(message).items():
        if not isinstance(value, list):
            if name in OPTIONAL and not value:
                continue
            body += f',"{name}":{_ENCODER.encode(value)}'.encode()
        elif value:
            body += f',"{name}":['.encode()
            # One by one: all at once would take ten times the memory of the text.
            for each in value:
                body += _ENCODER.encode(each).encode()
                body += b","
            body[-1:] = b"]"
    body[:1] = b"{"
    body += b"}"
    return bytes(body)


def sign(body: bytes, secret: str) -> str:
    """The proof that whoever wrote `body` knows the secret."""
    return hmac.digest(secret.encode(), body, "sha256").hex()


def proves(body: bytes, proof: bytes, secret: str) -> bool:
    """Whether whoever wrote `body` knows the secret."""
    # A proof of another length needs no look at the body, which may be large.
    return len(proof) == PROOF_LENGTH and hmac.compare_digest(sign(body, secret).encode(), proof)


def own_secret(secret: str, node_id: int) -> str:
    """The secret of one node, made of vmwatch-master's, which it tells nothing of, nor of other nodes'."""
    return hmac.digest(secret.encode(), b"vmwatch-node:%d" % node_id, "sha256").hex().upper()


def prove(body: bytes, node_id: int, secret: str) -> bytes:
    """The message's second frame: who wrote `body`, and the proof of it with this node's secret."""
    return b"%d:%s" % (node_id, sign(body, secret).encode())


@dataclass(frozen=True)
class Trust:
    """Whom vmwatch-master believes: the nodes in `nodes` (None: all), each with what was made for it of `secret`.

    What was made of `previous` is believed too, for as long as not every node has the new one; and so is `shared`, the
    one secret of all nodes that earlier versions had.
    """

    secret: str
    previous: str = ""
    shared: str = ""
    nodes: Optional[FrozenSet[int]] = None

    def writer(self, body: bytes, proof: bytes) -> Optional[int]:
        """The node that wrote `body`; None where only the shared secret says so. Raises Refused for anybody else."""
        number, _, code = proof.rpartition(b":")
        if number.isdigit() and len(number) < 20:
            node_id = int(number)
            self.know(node_id)
            for secret in (self.secret, self.previous):
                if secret and proves(body, code, own_secret(secret, node_id)):
                    return node_id
        if self.shared and proves(body, code, self.shared):
            return None
        raise Refused("forged", "the proof does not fit")

    def know(self, node_id: int) -> None:
        """Raise Refused for what is no node, or none any more."""
        if self.nodes is not None and node_id not in self.nodes:
            raise Refused("unknown", f"there is no node {node_id}")


def decode(frames: List[bytes], trust: Trust, now: Optional[float] = None) -> Message:
    """The message in these frames; `now` is the receiver's clock, None leaves the times unchecked. Raises Refused."""
    if len(frames) != 2 or len(frames[0]) > LARGEST_MESSAGE:
        raise Refused("malformed", "not two frames of an acceptable size")
    body, proof = frames
    # Before the body is read, which anybody may have written.
    writer = trust.writer(body, proof)
    message = from_body(body)
    if writer not in (None, message.node_id):
        raise Refused("forged", f"node {writer} speaks as node {message.node_id}")
    trust.know(message.node_id)
    if now is not None and not fresh(message.time, now):
        raise Refused("stale", f"its time is {now - message.time:+.0f} s off")
    if now is not None and not all(begun(epoch, now) for epoch in (message.epoch, *(e.epoch for e in message.recent))):
        raise Refused("stale", "it is of a start that is still to come")
    return message


def begun(epoch: int, now: Optional[float] = None) -> bool:
    """Whether a daemon may have started then, as far as clocks agree."""
    return epoch <= ((time.time() if now is None else now) + EPOCH_AHEAD_SECONDS) * 1e9


def fresh(spoken_at: float, now: float) -> bool:
    """Whether a time is so near to the receiver's clock that what bears it is no replay; NaN is not."""
    return abs(now - spoken_at) <= CLOCK_WINDOW_SECONDS


def from_body(body: bytes) -> Message:
    """The message of a body whose proof was checked; raises Refused as malformed."""
    try:
        # Decoded here, since json.loads() takes UTF-16 too, and UTF-8 is promised to whoever reads on.
        raw = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise Refused("malformed", f"not a message: {error}") from error
    return from_raw(raw)


def from_raw(raw: Any) -> Message:
    """The message of a body that was parsed; raises Refused as malformed."""
    try:
        message = Message(
            node_id=_integer(raw["node_id"]),
            epoch=_integer(raw["epoch"]),
            sequence=_integer(raw["sequence"]),
            time=float(raw["time"]),
            kind=raw["kind"],
            domains=[_domain(each) for each in raw.get("domains", ())],
            recent=[past_from_raw(each) for each in raw.get("recent", ())],
            statistics=[_statistics(each) for each in raw.get("statistics", ())],
            version=_integer(raw["version"]),
            clock=_clock(raw.get("clock", 0.0)),
            boot=_text(raw.get("boot", "")),
            age=_age(raw.get("age", 0.0)),
            final=_flag(raw.get("final", False)),
            links=[_link(each) for each in raw.get("links", ())],
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Refused("malformed", f"not a message: {error}") from error
    if message.version != VERSION or message.kind not in KINDS:
        raise Refused("malformed", f"version {message.version}, kind {message.kind!r}")
    if len(message.statistics) > MOST_STATISTICS:
        raise Refused("malformed", f"statistics of {len(message.statistics)} domains in one message")
    if len(message.links) > MOST_LINKS:
        raise Refused("malformed", f"{len(message.links)} interfaces in one message")
    return message


def _link(raw: Dict[str, Any]) -> LinkState:
    # First, since it fails with a TypeError for what is no object at all.
    name = _text(raw["name"])
    addresses = [_text(each) for each in raw.get("addresses", ())]
    if len(addresses) > MOST_ADDRESSES:
        raise ValueError(f"{len(addresses)} addresses of one interface")
    counted = ("rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped")
    return LinkState(
        name=name,
        kind=_text(raw["kind"]),
        up=_flag(raw["up"]),
        carrier=_flag(raw["carrier"]),
        mtu=_integer(raw["mtu"]),
        mac=_text(raw.get("mac", "")),
        speed_mbps=_known(raw.get("speed_mbps")),
        master=_text(raw.get("master", "")),
        parent=_text(raw.get("parent", "")),
        vlan=_known(raw.get("vlan")),
        carrier_changes=_integer(raw.get("carrier_changes", 0)),
        addresses=addresses,
        **{name: _known(raw.get(name)) for name in counted},
    )


def _domain(raw: Dict[str, Any]) -> DomainState:
    domain = DomainState(
        uuid=_uuid(raw["uuid"]),
        name=_text(raw["name"]),
        state=str(raw["state"]),
        detail=_text(raw.get("detail", "")),
        age=_age(raw.get("age", 0.0)),
        job=_text(raw.get("job", "")),
    )
    if domain.state not in SEEN_STATES:
        raise ValueError(f"unknown state {domain.state!r}")
    return domain


def past_from_raw(raw: Dict[str, Any]) -> PastEvent:
    """An event told again; raises ValueError, KeyError or TypeError for what is none."""
    return PastEvent(_integer(raw["epoch"]), _integer(raw["sequence"]), _domain(raw["domain"]))


def _statistics(raw: Dict[str, Any]) -> DomainStatistics:
    # First, since it fails with a TypeError for what is no object at all.
    uuid, run = _uuid(raw["uuid"]), _integer(raw["run"])
    numbers = {name: _known(raw.get(name)) for name in ("cpu_ns", "memory_kib", "rss_kib")}
    disks = _counters(DiskStatistics, raw.get("disks"))
    interfaces = _counters(InterfaceStatistics, raw.get("interfaces"))
    return DomainStatistics(uuid, run, disks=disks, interfaces=interfaces, **numbers)


C = TypeVar("C", DiskStatistics, InterfaceStatistics)


def _counters(kind: Type[C], raw: Optional[List[Dict[str, Any]]]) -> Optional[List[C]]:
    if raw is None:
        return None
    names = [each.name for each in fields(kind) if each.name != "name"]
    return [kind(_text(each["name"]), *(_known(each.get(name)) for name in names)) for each in raw]


def _known(value: Any) -> Optional[int]:
    return None if value is None else _integer(value)


def _uuid(value: Any) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError(f"no UUID {str(value)[:40]!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError(f"no text of at most {LONGEST_TEXT} characters")
    return value


def _age(value: Any) -> float:
    age = float(value)
    # Also false for NaN.
    if not 0 <= age <= LARGEST_AGE_SECONDS:
        raise ValueError("not an age in seconds")
    return age


def _clock(value: Any) -> float:
    clock = float(value)
    # Also false for NaN.
    if not 0 <= clock < 2**40:
        raise ValueError("not a clock in seconds")
    return clock


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError("not a number in range")
    return value
