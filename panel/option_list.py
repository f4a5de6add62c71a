"""All options as they are told of: in force, by default, in the file by now. What is secret is not told."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from panel.config import Config, load
from panel.core.errors import ConfigError
from panel.core.wording import Text
from panel.options import OPTIONS, Option

HIDDEN = "••••••"
PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)")
"""In an address, as redis://:PASSWORD@host."""
FILE, DEFAULT = "file", "default"
WIDTH = 110
HEAD = """\
# vmpanel's configuration: NAME=VALUE, one a line; “#” begins a comment. What is named here with its default is as it
# would be unnamed: take the “#” away and change the value. Mode 0600, or 0640 of the panel's group: it has a password.
# The page “Options” of the panel, `GET /api/v1/options` and `vmpanel option list` tell what is in force."""


@dataclass(frozen=True)
class Told:
    """An option: its values are texts as the file would have them, `then` the one that waits for a restart."""

    option: Option
    value: str
    default: str
    source: str
    waits: bool
    then: str


def told(in_force: Config) -> tuple[Sequence[Told], Text | None]:
    """Every option, and why the file cannot be taken over as it is by now; None where it can."""
    wrong = None
    try:
        in_file = load(in_force.origin) if in_force.origin else in_force
    except ConfigError as error:
        in_file, wrong = in_force, error.text
    return [_told(option, in_force, in_file) for option in OPTIONS], wrong


def _told(option: Option, in_force: Config, in_file: Config) -> Told:
    now, then = getattr(in_force, option.attribute), getattr(in_file, option.attribute)
    return Told(
        option,
        value=worded(option, now),
        default=worded(option, option.default),
        source=FILE if option.name in in_force.named else DEFAULT,
        # Paths have another type than their defaults.
        waits=str(now) != str(then),
        then=worded(option, then),
    )


def documented() -> str:
    """A vmpanel.conf that changes nothing: every option with its meaning and its default, behind “#”."""
    parts = [HEAD]
    for option in OPTIONS:
        at_once = "" if option.restart else " A change needs no restart."
        lines = textwrap.wrap(f"{option.help}{at_once}", WIDTH, break_on_hyphens=False, break_long_words=False)
        parts.append("\n".join([*(f"# {line}" for line in lines), f"#{option.name}={worded(option, option.default)}"]))
    return "\n\n".join(parts) + "\n"


def worded(option: Option, value: Any) -> str:
    """A value as the file would have it; of what is secret only whether there is one."""
    if option.secret:
        return HIDDEN if value else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}:{each}" for name, each in value.items())
    return PASSWORD.sub(HIDDEN, f"{value:g}" if isinstance(value, float) else str(value))
