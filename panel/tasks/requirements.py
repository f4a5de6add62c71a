"""What must hold of an object for an operation on it: each thing once, with its code and its sentence.

The refusal of a request, the look when a task's turn comes, a group's answers and the reason on a button that is off
all come from the requirements that an operation declares. What depends on the request itself is its check()'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from panel.core.errors import PanelError

Refusal = Callable[[Any], PanelError | None]
"""The error that says why something does not hold of an object, None where it does."""


@dataclass(frozen=True)
class Requirement:
    """One thing that must hold when the operation is asked for, and when its task's turn comes.

    `at_turn` is what is looked at then, where that is something else: what tasks have reserved that wait behind this
    one counts for who asks now, not for who came first.
    """

    name: str
    refusal: Refusal
    at_turn: Refusal | None = None

    @property
    def again(self) -> Requirement:
        """What is looked at when the task's turn comes."""
        return self if self.at_turn is None else Requirement(self.name, self.at_turn)

    @property
    def when_asked(self) -> Requirement:
        """The same, not looked at again: the operation ends it itself, or takes its end meanwhile for success."""
        return replace(self, at_turn=lambda obj: None)

    def where(self, condition: Callable[[Any], bool]) -> Requirement:
        """The same for those objects alone of which the condition is true."""

        def narrowed(refusal: Refusal) -> Refusal:
            return lambda obj: refusal(obj) if condition(obj) else None

        return Requirement(self.name, narrowed(self.refusal), None if self.at_turn is None else narrowed(self.at_turn))


def demand(obj: Any, *requirements: Requirement) -> None:
    """Raise what the first of them that does not hold says."""
    if (refusal := first_refusal(obj, requirements)) is not None:
        raise refusal


def first_refusal(obj: Any, requirements: Iterable[Requirement]) -> PanelError | None:
    """What the first of them that does not hold says; None where all hold."""
    return next((refusal for each in requirements if (refusal := each.refusal(obj)) is not None), None)
