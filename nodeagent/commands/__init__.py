"""The commands, one small function each. An administrator's own may take the place of one: see overrides.py."""

from __future__ import annotations

import importlib
import threading
from typing import Any, Callable, Dict, Type, TypeVar

from nodeagent import overrides
from nodeagent.errors import UnknownCommand
from nodeagent.job import Job
from nodeagent.protocol import Request

Handler = Callable[[Any, Job], Any]
F = TypeVar("F", bound=Handler)

_MODULES = (
    "bridges",
    "console",
    "copies",
    "devices",
    "guests",
    "hosts",
    "images",
    "links",
    "machine",
    "migration",
    "pools",
    "restart",
    "seeds",
    "settings",
    "sharing",
    "snapshots",
    "transfer",
    "vmwatch",
    "volumes",
)
_builtin: Dict[str, Handler] = {}
_loading = threading.Lock()


def handles(request: Type[Request[Any]]) -> Callable[[F], F]:
    """Decorator: the function carries out requests of this class."""

    def register(function: F) -> F:
        _builtin[request.COMMAND] = function
        return function

    return register


def load() -> None:
    """Have every built-in command loaded."""
    with _loading:
        for module in _MODULES:
            importlib.import_module(f"nodeagent.commands.{module}")


def builtin(name: str) -> Handler:
    """Our own function for the command `name`; raises UnknownCommand."""
    load()
    try:
        return _builtin[name]
    except KeyError:
        raise UnknownCommand(f"There is no command “{name}”.") from None


def handler(name: str) -> Handler:
    """The function for the command `name`: the administrator's, else ours; raises UnknownCommand."""
    ours = builtin(name)
    return overrides.find(name) or ours
