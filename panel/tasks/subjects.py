"""The kinds of object that operations are about, registered by the apps that own them.

The tasks app lies below those apps, so it asks through this table instead of importing them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from panel.accounts.models import User


@dataclass(frozen=True)
class Subject:
    """How to find an object of one kind for a viewer (None: absent or not theirs), its owner and its node.

    `refuse` raises a RequestError for an operation, by its name, that the object's state forbids whatever the operation
    itself looks at; `refuse_at_turn` the same with the task's context, before its first step; `warning` says what that
    state adds to the operation's own.
    """

    kind: str
    find: Callable[[User, int], Any | None]
    owner: Callable[[Any], User | None] = lambda obj: None
    node_id: Callable[[Any], int | None] = lambda obj: None
    refuse: Callable[[str, Any], None] = lambda operation, obj: None
    refuse_at_turn: Callable[[str, Any], None] = lambda operation, ctx: None
    warning: Callable[[str, Any], str] = lambda operation, obj: ""


_subjects: dict[str, Subject] = {}


def register(subject: Subject) -> None:
    """Make a kind known; called once from its app's AppConfig.ready()."""
    _subjects[subject.kind] = subject


def get(kind: str) -> Subject:
    """The subject of a kind; KeyError is a programming error."""
    return _subjects[kind]
