"""The kinds of object that the panel has (VM, node, task, …), registered by the apps that own them.

Whatever asks about objects of any kind does it through this table: the task engine (whose it is, in which order it is
locked), REST (its path), live events (who is told), batches (how it is removed), pages (where it is shown). An app, a
plug-in's too, makes its kinds known in its AppConfig.ready(), and nothing else is to be changed for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Found = tuple[int, str, str]
MOST_FOUND = 8
"""Of each kind, by a search."""


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    `name` is what tasks, locks, problems and the journal call it, `plural` its path in REST and the command line,
    `label` what people call one of them. A kind of which there is one object has that object's id as `only`; its paths
    name none. `page` is the address of an object's page, with “{}” for its id; "" without one.

    `find` answers an object for a viewer (None: absent, or not theirs to see), `find_all` those of some at once
    where a kind has that, `owner` whose it is and `node_id` where it is. `remove` is the operation that takes back
    what creating one made; "" where there is none.

    A kind with a `topic_right` is a topic of live events: told to whoever has that right, and where the events are
    `owned` to those alone whose it is, or who see all. `lock_order` is its place in the order in which a task locks
    what it needs, the smallest first; None for what is never locked.

    `search` finds those of a viewer's that fit what somebody types: the id of each, what it is called, and a word more.

    `refuse` raises a RequestError for an operation, by its name, that the object's state forbids whatever the operation
    itself looks at; `refuse_at_turn` the same with the task's context, before its first step; `warning` says what that
    state adds to the operation's own. `gather` reads at once what those and the operations' requirements look at, for
    a page that asks many of them of the same objects; it changes nothing of what they say.
    """

    name: str
    plural: str
    label: str
    only: int | None = None
    page: str = ""
    find: Callable[[Any, int], Any | None] = lambda viewer, object_id: None
    find_all: Callable[[Any, Sequence[int]], Iterable[Any]] | None = None
    owner: Callable[[Any], Any | None] = lambda obj: None
    node_id: Callable[[Any], int | None] = lambda obj: None
    search: Callable[[Any, str], Sequence[Found]] = lambda viewer, text: ()
    remove: str = ""
    topic_right: str = ""
    owned: bool = False
    lock_order: int | None = None
    refuse: Callable[[str, Any], None] = lambda operation, obj: None
    refuse_at_turn: Callable[[str, Any, Any], None] = lambda operation, ctx, obj: None
    warning: Callable[[str, Any], str] = lambda operation, obj: ""
    gather: Callable[[Sequence[Any]], None] = lambda objects: None

    def found(self, viewer: Any, object_ids: Sequence[int]) -> list[Any]:
        """Those of the objects that are there for the viewer, in this order."""
        if self.find_all is None:
            return [found for each in object_ids if (found := self.find(viewer, each)) is not None]
        by_id = {each.pk: each for each in self.find_all(viewer, object_ids)}
        return [by_id[each] for each in object_ids if each in by_id]


_kinds: dict[str, Kind] = {}


def register(*kinds: Kind) -> None:
    """Make kinds known; called once from their app's AppConfig.ready(). Raises ValueError for a name or path in use."""
    for kind in kinds:
        if kind.name in _kinds or any(kind.plural == each.plural for each in _kinds.values()):
            raise ValueError(f"the kind {kind.name} ({kind.plural}) is there already")
        _kinds[kind.name] = kind


def get(name: str) -> Kind:
    """The kind of that name; KeyError is a programming error."""
    return _kinds[name]


def find(name: str) -> Kind | None:
    """The kind of that name, None where no app has it (any more): for names that rows bear."""
    return _kinds.get(name)


def every() -> Sequence[Kind]:
    """All kinds, in the order of their registration."""
    return tuple(_kinds.values())


def topics() -> dict[str, Kind]:
    """The kinds that live events tell of, by name."""
    return {kind.name: kind for kind in every() if kind.topic_right}


def page_of(name: str, object_id: int | None) -> str:
    """The address of an object's page; "" where its kind has none."""
    kind = find(name)
    return kind.page.format(object_id) if kind is not None and object_id is not None else ""
