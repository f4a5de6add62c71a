"""An administrator's own commands and kinds: files in /etc/vmpanel/commands that take the place of ours, and drivers.

NAME.py is Python with a function `run(request, job)`; NAME without a suffix is any executable, which
gets the request as JSON on stdin and answers as JSON on stdout. Both run as root, so both are refused
unless nobody but root can change them.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import stat
import sys
from pathlib import Path
from typing import Any, Callable, List, Optional, Type

from nodeagent import errors, paths
from nodeagent.errors import AgentError, CommandFailed, UnknownCommand
from nodeagent.job import Job
from nodeagent.protocol import REQUESTS, BadMessage, Request, from_dict, to_dict
from nodeagent.run import run as run_program

log = logging.getLogger("nodeagent")
Handler = Callable[[Any, Job], Any]
CODES = {cls.code: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.AgentError)}


def names(folder: Optional[Path] = None) -> List[str]:
    """Names of the commands that are replaced."""
    return sorted(name for name in REQUESTS if _file(name, folder) is not None)


def find(name: str, folder: Optional[Path] = None) -> Optional[Handler]:
    """The administrator's function for the command `name`, None where ours serves; raises UnknownCommand.

    A file that cannot be used is not passed over: the administrator meant it to be used.
    """
    path = _file(name, folder)
    if path is None:
        return None
    refuse_unsafe(path)
    return _python(path) if path.suffix == ".py" else _executable(path, REQUESTS[name])


def _file(name: str, folder: Optional[Path]) -> Optional[Path]:
    folder = folder or paths.OVERRIDES
    for path in (folder / f"{name}.py", folder / name):
        if path.is_file():
            return path
    return None


def refuse_unsafe(path: Path) -> None:
    """Raise UnknownCommand for a file, or a folder of it, that somebody besides its owner may change."""
    for each in (path, path.parent):
        seen = each.stat()
        if seen.st_uid != os.geteuid() or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UnknownCommand(f"{each} is not used: it must belong to root, and nobody else may write it.")


def load_kinds(folder: Path, what: str) -> None:
    """Run each *.py of the folder, which registers a driver of a kind. One that cannot be used is logged."""
    for file in sorted(folder.glob("*.py")):
        try:
            refuse_unsafe(file)
            spec = importlib.util.spec_from_file_location(f"vmpanel_{what}_{file.stem}", file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            # Dataclasses look their module up.
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        except Exception:
            log.exception("%s cannot be used", file)


def _python(path: Path) -> Handler:
    spec = importlib.util.spec_from_file_location(f"vmpanel_command_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UnknownCommand(f"{path} cannot be loaded.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Optional[Handler] = getattr(module, "run", None)
    if function is None:
        raise UnknownCommand(f"{path} has no function run(request, job).")
    return function


def _executable(path: Path, request_class: Type[Request[Any]]) -> Handler:
    if not os.access(path, os.X_OK):
        raise UnknownCommand(f"{path} is not executable.")

    def function(request: Any, job: Job) -> Any:
        asked = {
            "command": request_class.COMMAND,
            "params": to_dict(request),
            "deadline": round(job.remaining(), 1),
            "request_id": job.request_id,
        }
        finished = run_program([str(path)], job, stdin=json.dumps(asked))
        return _answer(path, request_class, finished.stdout)

    return function


def _answer(path: Path, request_class: Type[Request[Any]], text: str) -> Any:
    """The result that the program printed; raises the error that it printed instead, or CommandFailed."""
    try:
        answer = json.loads(text)
        if isinstance(answer, dict) and set(answer) == {"error"}:
            raise _error(answer["error"])
        return from_dict(request_class.RESULT, answer)
    except (ValueError, KeyError, TypeError) as error:
        what = f"{error}" if isinstance(error, BadMessage) else "it is not the JSON that was expected"
        raise CommandFailed(f"{path} answered what cannot be used: {what}.", argv0=str(path), exit_code=0) from error


def _error(body: Any) -> AgentError:
    cls = CODES.get(str(body["code"]), CommandFailed)
    return cls(str(body["message"]), **dict(body.get("data", {})))
