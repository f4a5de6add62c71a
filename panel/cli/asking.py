"""What all commands share: whom they ask, and in which form they answer."""

from __future__ import annotations

from typing import Any

import click

from panel.cli.client import Panel, connect


def state(context: click.Context) -> dict[str, Any]:
    """What the program's parts know of each other; a shell that completes words enters it below the first."""
    root = context.find_root()
    if root.obj is None:
        root.obj = {}
    found: dict[str, Any] = root.obj
    return found


def panel_of(context: click.Context) -> Panel:
    """The panel that one signed in to; raises ClickException for who has not."""
    known = state(context)
    if "panel" not in known:
        known["panel"] = connect()
    panel: Panel = known["panel"]
    return panel


def as_json(context: click.Context) -> bool:
    """Whether JSON is wanted, wherever among the words that was said."""
    return bool(state(context).get("json"))


def _wanted(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        state(context)["json"] = True


def _json_option() -> click.Option:
    return click.Option(["--json"], is_flag=True, expose_value=False, callback=_wanted, help="Print JSON.")


class Command(click.Command):
    """A command that may be told to print JSON."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.params.append(_json_option())


class Group(click.Group):
    """Commands, before which as well as behind which JSON may be asked for."""

    command_class = Command

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.params.append(_json_option())
