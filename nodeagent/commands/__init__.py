"""The commands, one small function each, and how an administrator's own takes the place of ours.

`/etc/vmpanel/commands/NAME.py` with a function `run(request, job)` replaces the built-in command
NAME from the next request on; it may call `builtin(NAME)`.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Type, TypeVar

from nodeagent import paths
from nodeagent.errors import UnknownCommand
from nodeagent.job import Job
from nodeagent.protocol import REQUESTS, Request

Handler = Callable[[Any, Job], Any]
F = TypeVar("F", bound=Handler)

_MODULES = (
    "bridges",
    "console",
    "hosts",
    "images",
    "machine",
    "pools",
    "seeds",
    "settings",
    "snapshots",
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


def overridden(folder: Optional[Path] = None) -> List[str]:
    """Names of the commands that an administrator has replaced."""
    folder = folder or paths.OVERRIDES
    return sorted(path.stem for path in folder.glob("*.py") if path.stem in REQUESTS)


def handler(name: str, folder: Optional[Path] = None) -> Handler:
    """The function for the command `name`: the administrator's, else ours; raises UnknownCommand."""
    ours = builtin(name)
    path = (folder or paths.OVERRIDES) / f"{name}.py"
    if not path.is_file():
        return ours
    spec = importlib.util.spec_from_file_location(f"vmpanel_command_{name}", path)
    if spec is None or spec.loader is None:
        raise UnknownCommand(f"{path} cannot be loaded.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run: Optional[Handler] = getattr(module, "run", None)
    if run is None:
        raise UnknownCommand(f"{path} has no function run(request, job).")
    return run
