"""What a classic call is answered with: rows, a form, “done”, a session, or an error. No rules of the product.

Each knows its tree of elements; render.py writes the tree as XML, JSON or text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from panel.core.errors import (
    AccessDenied,
    AlreadyExists,
    BadCredentials,
    Busy,
    CapacityError,
    InvalidValue,
    LimitExceeded,
    MissingValue,
    NotFound,
    PanelError,
    Suspended,
    Throttled,
    WrongState,
)

TYPES: tuple[tuple[type[PanelError], str], ...] = (
    (BadCredentials, "auth"),
    (AccessDenied, "access"),
    (AlreadyExists, "exists"),
    (MissingValue, "missed"),
    (NotFound, "missed"),
    (InvalidValue, "value"),
    (LimitExceeded, "limit"),
    (Throttled, "limit"),
    (CapacityError, "limit"),
    (Busy, "busy"),
    (Suspended, "state"),
    (WrongState, "state"),
)
CLASSIC_NAMES = {
    "id": "elid",
    "memory_mib": "mem",
    "vcpus": "vcpu",
    "disk_gib": "vsize",
    "size_gib": "size",
    "image": "vmi",
    "flavor": "preset",
    "node": "hostnode",
    "owner": "user",
    "network": "family",
    "address": "ip",
    "ssh_keys": "sshpubkey",
    "cpu_weight": "cputune",
    "io_weight": "blkiotune",
    "clock": "clock_offset",
    "inbound_kibps": "inbound",
    "outbound_kibps": "outbound",
    "iso_mib": "isolimitsize",
    "iso_count": "isolimitnum",
    "snapshots": "snapshot_limit",
    "current": "old_passwd",
}
"""What the classic API calls a parameter of an operation."""


@dataclass(frozen=True)
class Translated:
    """A cell that is shown in words: XML has the value, JSON has the words and the value as `$orig`."""

    value: str
    words: str


Cell = str | int | bool | Translated | None
"""True is a flag; False and None are not there at all."""


@dataclass(frozen=True)
class Element:
    """An element of an answer. `words` is what JSON shows instead of the text of a translated cell."""

    name: str
    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    children: Sequence[Element] = ()
    words: str | None = None


@dataclass(frozen=True)
class Rows:
    """A list: one `elem` a row."""

    rows: Sequence[Mapping[str, Cell]]

    def elements(self) -> list[Element]:
        """The rows."""
        return [Element("elem", children=cells(row)) for row in self.rows]


@dataclass(frozen=True)
class Form:
    """The values of a form, and what can be chosen: for each field, the key and the label of every choice."""

    values: Mapping[str, Cell]
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def elements(self) -> list[Element]:
        """The values, then one `slist` a field that is chosen from."""
        lists = [
            Element(
                "slist",
                attributes={"name": name},
                children=[Element("val", label, {"key": key}) for key, label in every.items()],
            )
            for name, every in self.choices.items()
        ]
        return [*cells(self.values), *lists]


@dataclass(frozen=True)
class Done:
    """It was done, or is under way as a task; `values` are what it made."""

    values: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class SignedIn:
    """A session was begun."""

    session: str
    level: int

    def elements(self) -> list[Element]:
        """The session's id, as an attribute and as text."""
        return [Element("auth", self.session, {"id": self.session, "level": str(self.level)})]


@dataclass(frozen=True)
class GoTo:
    """A browser is sent to this address, whatever form of answer was asked for."""

    address: str


Answer = Rows | Form | Done | SignedIn | GoTo


QUOTES = (("“", "”"), ("«", "»"))
"""How sentences quote a field, in any language."""


@dataclass(frozen=True)
class Failure:
    """It was refused: with VMmanager's type, and the object or field that is wrong."""

    kind: str
    about: str
    message: str

    def elements(self) -> list[Element]:
        """The error."""
        return [
            Element(
                "error", attributes={"type": self.kind, "object": self.about}, children=[Element("msg", self.message)]
            )
        ]


Document = Rows | Form | Done | SignedIn | Failure


def failure(error: PanelError, func: str, sent: Collection[str] = ()) -> Failure:
    """An error of the panel in the classic API's words; `sent` are the names of the call's parameters."""
    kind = next((name for cls, name in TYPES if isinstance(error, cls)), "msg")
    named, thing, name = error.data.get("field"), error.data.get("object"), str(error.data.get("field") or "")
    about = str(named or thing or error.code)
    if isinstance(error, BadCredentials):
        about = "badpassword"
    elif isinstance(error, AccessDenied):
        about = str(named or func or "func")
    elif isinstance(error, AlreadyExists):
        about = str(thing or named or error.code).lower()
    elif isinstance(error, LimitExceeded):
        about = str(error.data.get("limit"))
    classic = CLASSIC_NAMES.get(about, about)
    if classic == "password" and "passwd" in sent:
        classic = "passwd"
    message = error.message
    for opening, closing in QUOTES:
        message = message.replace(f"{opening}{name}{closing}", f"{opening}{CLASSIC_NAMES.get(name, name)}{closing}")
    return Failure(kind, classic, message)


def cells(values: Mapping[str, Cell]) -> list[Element]:
    """The elements of those values that are there."""
    return [_cell(name, value) for name, value in values.items() if value is not None and value is not False]


def _cell(name: str, value: Cell) -> Element:
    if isinstance(value, Translated):
        return Element(name, value.value, words=value.words)
    return Element(name, "on" if value is True else str(value))
