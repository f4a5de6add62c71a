"""What other apps have on a node: storages, bridges, vmwatch.

Those apps lie above this one, so each registers how its part of a node is made, checked and
removed, and the node's operations ask through this table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from panel.cluster.context import NodeContext
from panel.core.errors import Fenced, NodeError, NodeRefused, NodeUnreachable, VersionMismatch
from panel.core.wording import Text
from panel.notices.models import Severity


@dataclass(frozen=True)
class Complaint:
    """A sentence about something that is wrong on a node, and how bad it is."""

    said: str | Text
    severity: str = Severity.WARNING

    @property
    def worded(self) -> Text:
        """The sentence, to be shown to a reader."""
        return self.said if isinstance(self.said, Text) else Text(self.said)

    @property
    def text(self) -> str:
        """The sentence in English."""
        return self.worded.english


@dataclass(frozen=True)
class PartStep:
    """The id and title of a step that prepares or removes a part, and how large it is beside the others."""

    id: str
    title: str
    weight: int = 1


@dataclass(frozen=True)
class Part:
    """One app's part of a node. All of it may be repeated.

    `look` changes nothing on the host and raises OperationFailed where something of the host's own is in the way.
    `prepare` leaves it there and working, `remove` leaves nothing of it, `check` mends what it can
    and answers a sentence for each thing that is wrong (a plain one is a warning). What it raises
    is its complaint too, unless the node cannot be reached. `reach` are the panel's addresses that the node must
    reach for it, as host and port, as far as they are known. Of a node that is not spoken to any more, `leaves` names
    what it has of the part on its host, and `forget` leaves nothing of it in the database.

    `making` and `removing` are the steps that it is in node.add and node.remove; without them it needs none.
    """

    prepare: Callable[[NodeContext[Any]], None]
    remove: Callable[[NodeContext[Any]], None]
    check: Callable[[NodeContext[Any]], Sequence[str | Complaint]]
    look: Callable[[NodeContext[Any]], None] = lambda _ctx: None
    reach: Callable[[], Sequence[tuple[str, int]]] = tuple
    leaves: Callable[[NodeContext[Any]], Sequence[Text]] = lambda ctx: ()
    forget: Callable[[NodeContext[Any]], None] = lambda ctx: None
    making: PartStep | None = None
    removing: PartStep | None = None


_parts: dict[str, Part] = {}


def register(name: str, part: Part) -> None:
    """Make a part known; called once from its app's AppConfig.ready()."""
    _parts[name] = part


def get(name: str) -> Part:
    """The part of that name; KeyError is a programming error."""
    return _parts[name]


def every() -> dict[str, Part]:
    """All parts, in the order of their registration."""
    return dict(_parts)


def complaint(said: str | Complaint) -> Complaint:
    """What a part's check answered, as a complaint."""
    return Complaint(said) if isinstance(said, str) else said


def worst(complaints: Sequence[Complaint]) -> str:
    """The severity of the worst of them."""
    return max((each.severity for each in complaints), key=list(Severity.values).index)


@contextlib.contextmanager
def complaining(complaints: list[Complaint], what: Text, severity: str = Severity.ERROR) -> Iterator[None]:
    """Have a thing that the node cannot do among the complaints, so that the next one gets its turn.

    A node that cannot be reached, or a task that another worker has by now, still raises.
    """
    try:
        yield
    except (NodeUnreachable, NodeRefused, VersionMismatch, Fenced):
        raise
    except NodeError as error:
        complaints.append(Complaint(Text("{what}: {error}", {"what": what, "error": error.text}), severity))
