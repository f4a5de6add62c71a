"""All operations, by name. An app registers its own from its AppConfig.ready()."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from panel.core import permissions
from panel.core.errors import NotFound
from panel.core.permissions import Viewer
from panel.tasks.declaration import Declaration

_operations: dict[str, Declaration[Any]] = {}


def register(*classes: type[Declaration[Any]]) -> None:
    """Make operations known; a second class of one name is a programming error."""
    for cls in classes:
        if cls.name in _operations and type(_operations[cls.name]) is not cls:
            raise ValueError(f"two operations are called {cls.name}")
        _operations[cls.name] = cls()


def get(name: str) -> Declaration[Any]:
    """The operation of this name; raises NotFound."""
    try:
        return _operations[name]
    except KeyError:
        raise NotFound(object="operation", id=name) from None


def find(name: str) -> Declaration[Any] | None:
    """The operation of this name; None where no app of this release has it."""
    return _operations.get(name)


def every() -> Iterable[Declaration[Any]]:
    """All operations, ordered by name."""
    return [_operations[name] for name in sorted(_operations)]


def for_object(kind: str, viewer: Viewer) -> list[Declaration[Any]]:
    """The operations on an existing object of `kind` that the viewer has the right to."""
    return [
        operation
        for operation in every()
        if operation.object_type == kind
        and not operation.creates
        and permissions.allows_operation(viewer, operation.permission, operation.name)
    ]
