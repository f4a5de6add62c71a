"""The steps of node.add and node.remove that are other apps' parts of a node, as those register them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, overload

from panel.cluster import parts
from panel.cluster.context import NodeContext
from panel.tasks.declaration import Step


class Steps(Sequence[Step]):
    """An operation's steps, made when they are first asked for: apps register their parts after this one's classes."""

    def __init__(self, make: Callable[[], Sequence[Step]]) -> None:
        self._make = make

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return tuple(self._make())

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, place: int) -> Step: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Step]: ...

    def __getitem__(self, place: int | slice) -> Step | Sequence[Step]:
        return self._steps[place]


def making() -> list[Step]:
    """Each part is on the node and working, in the order of registration; undone, nothing of it is there."""
    return [
        Step(part.prepare, part.making.title, undo=part.remove, weight=part.making.weight, id=part.making.id)
        for part in parts.every().values()
        if part.making is not None
    ]


def removing(allowed: Callable[[NodeContext[Any]], bool]) -> list[Step]:
    """Nothing of any part is on the node, the last one's first; left alone where `allowed` says no."""
    return [
        Step(partial(_remove, part, allowed), part.removing.title, weight=part.removing.weight, id=part.removing.id)
        for part in reversed(parts.every().values())
        if part.removing is not None
    ]


def _remove(part: parts.Part, allowed: Callable[[NodeContext[Any]], bool], ctx: NodeContext[Any]) -> None:
    if allowed(ctx):
        part.remove(ctx)
