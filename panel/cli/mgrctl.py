"""vmpanel mgrctl: the classic API from the command line, as VMmanager's program of that name printed it.

It is a program of its own too (`mgrctl`). Root on the panel's machine needs no sign-in: the call is made there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import click

from panel.cli.client import Panel
from panel.config import DEFAULT_PATH, load
from panel.core.errors import ConfigError
from panel.core.texts import escaped

SECRETS = ("password", "passwd", "confirm", "key")
PROOFS = ("authinfo", "auth")
EXIT_REFUSED = 2
FORMS = {"text": "text", "xml": "xml", "devel": "xml", "json": "json"}
"""What is asked for by `-o`: VMmanager's `devel` was its XML with more about the page."""


def is_panel_here() -> bool:
    """Whether root asks on the panel's machine, and names no other panel by VMPANEL_URL."""
    if os.geteuid() != 0 or os.environ.get("VMPANEL_URL"):
        return False
    path = Path(os.environ.get("VMPANEL_CONF", DEFAULT_PATH))
    try:
        return path.exists() and load(str(path)).panel_here
    except ConfigError as error:
        raise click.ClickException(error.message) from error


def call_here(asked: dict[str, str]) -> str:
    """The document, of a call that is made on this machine; raises ClickException."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "classic_call"],
        input=json.dumps(asked),
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "panel.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(done.stderr.strip().rpartition("\n")[2] or "The call failed.")
    return done.stdout


def parameters(func: str, params: tuple[str, ...], out: str) -> dict[str, str]:
    """What is sent; raises ClickException for what is no `name=value`, and for secrets in it."""
    asked = {"func": func, "out": FORMS[out]}
    for each in params:
        name, separator, value = each.partition("=")
        if not separator:
            raise click.ClickException(f"“{each}” is not NAME=VALUE.")
        if name in PROOFS:
            raise click.ClickException("Sign in with: vmpanel login https://PANEL:1500")
        if name in SECRETS and value != "-":
            raise click.ClickException(f"Others can read what is typed here: give {name}=- and it is asked for.")
        asked[name] = _secret(name) if name in SECRETS else value
    return asked


def _secret(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt(name.capitalize(), hide_input=True))


def refused(document: str, out: str) -> bool:
    """Whether the document is an error."""
    if out == "json":
        return "error" in json.loads(document)["doc"]
    if FORMS[out] == "xml":
        return ET.fromstring(document).find("error") is not None
    return document.startswith("ERROR ")


def add_to(cli: click.Group, panel_of: Callable[[click.Context], Panel]) -> None:
    """Make the command one of the program's."""

    @cli.command(cls=click.Command)
    @click.option("-m", "manager", type=click.Choice(["vmmgr"]), default="vmmgr", help="There is one manager.")
    @click.option("-o", "out", type=click.Choice(list(FORMS)), default="text", help="How it is told.")
    @click.argument("func", default="")
    @click.argument("params", nargs=-1, metavar="[NAME=VALUE]...")
    @click.pass_context
    def mgrctl(context: click.Context, manager: str, out: str, func: str, params: tuple[str, ...]) -> None:
        """Call a function of the classic API; passwords are given as NAME=- and asked for, or read from a pipe."""
        asked = parameters(func, params, out)
        document = call_here(asked) if is_panel_here() else panel_of(context).classic(asked)
        # Programs that read XML or JSON have it as it is.
        shown = escaped(document, lines=True) if out == "text" or sys.stdout.isatty() else document
        click.echo(shown, nl=not document.endswith("\n"))
        if refused(document, out):
            context.exit(EXIT_REFUSED)


def main() -> None:
    """The program `mgrctl`: `vmpanel mgrctl` by the name that VMmanager's scripts call."""
    from panel.cli.main import main as vmpanel

    sys.argv.insert(1, "mgrctl")
    vmpanel()
