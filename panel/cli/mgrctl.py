"""vmpanel mgrctl: the classic API from the command line, as VMmanager's program of that name printed it."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable

import click

from panel.cli.client import Panel

SECRETS = ("password", "passwd", "confirm", "key")
PROOFS = ("authinfo", "auth")
EXIT_REFUSED = 2


def call(panel: Panel, func: str, params: tuple[str, ...], out: str) -> str:
    """The document that the panel answers; raises ClickException for what is no `name=value`, and for secrets in it."""
    asked = {"func": func, "out": out}
    for each in params:
        name, separator, value = each.partition("=")
        if not separator:
            raise click.ClickException(f"“{each}” is not NAME=VALUE.")
        if name in PROOFS:
            raise click.ClickException("Sign in with: vmpanel login https://PANEL:1500")
        if name in SECRETS and value != "-":
            raise click.ClickException(f"Others can read what is typed here: give {name}=- and it is asked for.")
        asked[name] = _secret(name) if name in SECRETS else value
    return panel.classic(asked)


def _secret(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt(name.capitalize(), hide_input=True))


def refused(document: str, out: str) -> bool:
    """Whether the document is an error."""
    if out == "json":
        return "error" in json.loads(document)["doc"]
    if out == "xml":
        return ET.fromstring(document).find("error") is not None
    return document.startswith("ERROR ")


def add_to(cli: click.Group, panel_of: Callable[[click.Context], Panel]) -> None:
    """Make the command one of the program's."""

    @cli.command(cls=click.Command)
    @click.option("-m", "manager", type=click.Choice(["vmmgr"]), default="vmmgr", help="There is one manager.")
    @click.option("-o", "out", type=click.Choice(["text", "xml", "json"]), default="text", help="How it is told.")
    @click.argument("func")
    @click.argument("params", nargs=-1, metavar="[NAME=VALUE]...")
    @click.pass_context
    def mgrctl(context: click.Context, manager: str, out: str, func: str, params: tuple[str, ...]) -> None:
        """Call a function of the classic API; passwords are given as NAME=- and asked for, or read from a pipe."""
        document = call(panel_of(context), func, params, out)
        click.echo(document, nl=not document.endswith("\n"))
        if refused(document, out):
            context.exit(EXIT_REFUSED)
