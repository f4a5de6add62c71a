"""The verbs that the panel lists: each of its operations is a command, and its parameters are the options."""

from __future__ import annotations

import sys
from typing import Any

import click
import httpx

from panel.cli import output
from panel.cli.asking import Command, Group, as_json, panel_of, state
from panel.cli.client import Panel, Refused

EXIT_FAILED = 1
PLURALS = {
    "vm": "vms",
    "node": "nodes",
    "task": "tasks",
    "image": "images",
    "iso": "isos",
    "flavor": "flavors",
    "network": "networks",
    "pool": "pools",
    "dns-server": "dns-servers",
    "problem": "problems",
    "security-group": "security-groups",
    "vmwatch": "vmwatch",
    "cluster": "cluster",
}
ONLY_ONE = ("vmwatch", "cluster")
"""Kinds of which there is one object: their verbs name none."""


class ObjectGroup(Group):
    """The commands of one kind of object: those below, and one for each operation that the panel lists."""

    def __init__(self, kind: str, **values: Any) -> None:
        super().__init__(name=kind, **{"help": f"{kind.capitalize()}s.", **values})
        self.kind = kind

    def list_commands(self, context: click.Context) -> list[str]:
        """Fixed commands, and verbs where the panel can be asked: help and a shell's completion do not depend on it."""
        try:
            verbs = self._verbs(context)
        except (click.ClickException, Refused, httpx.TransportError):
            verbs = {}
        return sorted({*super().list_commands(context), *verbs})

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """What else there would be."""
        try:
            self._verbs(context)
        except (click.ClickException, Refused, httpx.TransportError) as error:
            told = error.message if isinstance(error, click.ClickException) else str(error)
            with formatter.indentation():
                formatter.write_paragraph()
                formatter.write_text(f"The panel lists more of them, and could not be asked. {told}")

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """A fixed command, else the operation of that verb."""
        fixed = super().get_command(context, name)
        if fixed is not None:
            return fixed
        operation = self._verbs(context).get(name)
        return operation_command(self.kind, operation) if operation else None

    def _verbs(self, context: click.Context) -> dict[str, dict[str, Any]]:
        known = state(context)
        if "operations" not in known:
            known["operations"] = panel_of(context).get("operations")
        return {each["verb"]: each for each in known["operations"] if each["object_type"] == self.kind}


def operation_command(kind: str, operation: dict[str, Any]) -> click.Command:
    """A command for an operation: its parameters are the options, its object the argument."""
    properties: dict[str, Any] = operation["params"].get("properties", {})
    required = operation["params"].get("required", [])
    options: list[click.Parameter] = []
    on_one = not operation["creates"] and kind not in ONLY_ONE
    if on_one:
        options.append(click.Argument(["target"], metavar=kind.upper()))
    elif "name" in properties:
        options.append(click.Argument(["name"]))
    for name, schema in properties.items():
        if operation["creates"] and name == "name":
            continue
        options.append(_option(name, schema, name in required))
    options.append(click.Option(["--wait/--no-wait"], default=True, help="Follow the task to its end."))
    options.append(click.Option(["--queue"], is_flag=True, help="Wait behind a task that holds the object."))
    options.append(click.Option(["--plan"], is_flag=True, help="Show the steps and do nothing."))
    if operation.get("dangerous"):
        options.append(click.Option(["--yes", "-y"], is_flag=True, help="Do not ask before what cannot be taken back."))

    @click.pass_context
    def run(context: click.Context, /, **values: Any) -> None:
        wait, queue, plan = values.pop("wait"), values.pop("queue"), values.pop("plan")
        if not values.pop("yes", True) and not plan:
            _ask(operation, str(values.get("target", kind)))
        panel = panel_of(context)
        path = PLURALS[kind]
        if on_one:
            path += f"/{panel.find(path, values.pop('target'))['id']}"
        if not operation["creates"]:
            path += f"/{operation['verb']}"
        body = {
            name: _secret(name) if value == "-" and _is_secret(properties, name) else value
            for name, value in values.items()
        }
        body = {name: _many(name, value, properties) for name, value in body.items() if value not in (None, ())}
        answer = panel.post(path, body, params={"queue": int(queue), "plan": int(plan)})
        if plan:
            output.show_plan(answer, as_json(context))
            return
        finish(context, panel, answer, wait)

    return Command(operation["verb"], callback=run, params=options, help=operation["description"])


def _many(name: str, value: Any, properties: dict[str, Any]) -> Any:
    """A value as the panel takes it; raises BadParameter for one of an option of NAME=VALUE that is none."""
    if not isinstance(value, tuple):
        return value
    if "object" not in _types(properties.get(name, {})):
        return list(value)
    pairs = [each.partition("=") for each in value]
    if wrong := next((key for key, separator, _value in pairs if not separator), None):
        raise click.BadParameter(f"“{wrong}” is not NAME=VALUE.", param_hint=f"--{name.replace('_', '-')}")
    return {key: found for key, _separator, found in pairs}


def _types(schema: dict[str, Any]) -> set[str]:
    return {str(each.get("type")) for each in [schema, *schema.get("anyOf", [])]}


def _ask(operation: dict[str, Any], target: str) -> None:
    """Go on when the user says so; raises ClickException otherwise, also where there is nobody to be asked."""
    question = f"{operation['label']} {target}? {operation.get('warning', '')}".strip()
    if not sys.stdin.isatty():
        raise click.ClickException(f"{question} Nothing was done: say --yes where nobody can be asked.")
    if not click.confirm(question, err=True):
        raise click.ClickException("Nothing was done.")


def _option(name: str, schema: dict[str, Any], required: bool) -> click.Option:
    kinds, types = [schema, *schema.get("anyOf", [])], _types(schema)
    kind: Any = int if "integer" in types else float if "number" in types else str
    text = schema.get("description", "")
    if any(each.get("format") == "password" for each in kinds):
        text = f"{text} Give “-”: it is asked for, or read from a pipe.".strip()
    return click.Option(
        [f"--{name.replace('_', '-')}", name],
        type=kind,
        required=required,
        multiple=bool(types & {"array", "object"}),
        metavar="NAME=VALUE" if "object" in types else None,
        help=text,
    )


def _is_secret(properties: dict[str, Any], name: str) -> bool:
    schema = properties.get(name, {})
    return any(each.get("format") == "password" for each in [schema, *schema.get("anyOf", [])])


def _secret(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.read().rstrip("\n")
    return str(click.prompt(name.capitalize(), hide_input=True))


def finish(context: click.Context, panel: Panel, answer: dict[str, Any], wait: bool) -> None:
    """Show what was accepted; with `wait`, follow its task and end with its outcome."""
    json_wanted = as_json(context)
    if not wait:
        output.show(answer, (), json_wanted)
        return
    task = output.follow(panel, int(answer["task"]["id"]), quiet=json_wanted)
    if json_wanted:
        output.show({**answer, "task": task}, (), True)
    if task["status"] != "done":
        context.exit(EXIT_FAILED)
