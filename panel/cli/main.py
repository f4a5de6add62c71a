"""vmpanel: the panel from the command line, over its REST API.

The verbs of VMs and nodes come from the panel's own list of operations, so a new operation is a new
verb with nothing added here. Exit codes: 0 done, 1 a task failed, 2 refused, 3 the panel cannot be reached.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import click
import httpx

from panel.cli import mgrctl, output
from panel.cli.client import Panel, Refused, connect, save_login

EXIT_FAILED, EXIT_REFUSED, EXIT_UNREACHABLE = 1, 2, 3
PLURALS = {
    "vm": "vms",
    "node": "nodes",
    "task": "tasks",
    "image": "images",
    "iso": "isos",
    "flavor": "flavors",
    "network": "networks",
    "pool": "pools",
    "problem": "problems",
    "vmwatch": "vmwatch",
}
ONLY_ONE = ("vmwatch",)
"""Kinds of which there is one object: their verbs name none."""
COLUMNS = {
    "vm": ("id", "name", "status", "node", "memory_mib", "vcpus", "image", "owner"),
    "node": ("id", "name", "state", "address", "accel", "vm_count"),
    "task": ("id", "title", "status", "progress", "object_name", "created_at"),
    "image": ("name", "title", "os_family", "min_memory_mib", "min_disk_gib"),
    "iso": ("name", "title", "size_bytes"),
    "flavor": ("name", "title", "vcpus", "memory_mib", "disk_gib"),
    "network": ("name", "kind", "subnet", "gateway", "free_addresses"),
    "pool": ("name", "kind", "path", "shared", "volume_format", "on_nodes"),
    "problem": ("id", "severity", "text", "opened_at"),
    "watched node": ("id", "name", "state", "silent", "heard_at", "has_keys"),
}


def _panel(context: click.Context) -> Panel:
    if "panel" not in context.obj:
        context.obj["panel"] = connect()
    panel: Panel = context.obj["panel"]
    return panel


@click.group()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def cli(context: click.Context, as_json: bool) -> None:
    """Run vmpanel from the command line."""
    context.obj = {"json": as_json}


@cli.command()
@click.argument("url")
@click.option("--name", prompt=True, help="Your account.")
@click.option(
    "--certificate", type=click.Path(exists=True), help="The panel's certificate, if nobody else vouches for it."
)
@click.option("--code", help="A code of your second factor, if your account has one.")
def login(url: str, name: str, certificate: str | None, code: str | None) -> None:
    """Sign in to the panel at URL and remember it; the password is asked for, or read from a pipe."""
    secret = click.prompt("Password", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    panel = Panel(url, "", certificate)
    token = panel.post("auth/token", {"name": name, "password": secret, **({"code": code} if code else {})})["token"]
    click.echo(f"Signed in; remembered in {save_login(url, token, certificate)}.")


@cli.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Compare the panel's records with every node; exit code 1 when something is wrong. Changes nothing."""
    panel = _panel(context)
    answer = panel.post("cluster/examine", {})
    task = output.follow(panel, int(answer["task"]["id"]), quiet=context.obj["json"])
    if task["status"] != "done":
        context.exit(EXIT_FAILED)
    found = task["result"]["findings"]
    if found or context.obj["json"]:
        output.show(found, ("code", "node", "object", "text", "mend"), context.obj["json"])
    else:
        click.echo("Database and nodes agree.")
    if found:
        context.exit(EXIT_FAILED)


class ObjectGroup(click.Group):
    """The commands of one kind of object: those below, and one for each operation that the panel lists."""

    def __init__(self, kind: str, **values: Any) -> None:
        super().__init__(name=kind, **{"help": f"{kind.capitalize()}s.", **values})
        self.kind = kind

    def list_commands(self, context: click.Context) -> list[str]:
        """Fixed commands and verbs."""
        return sorted({*super().list_commands(context), *self._verbs(context)})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """A fixed command, else the operation of that verb."""
        fixed = super().get_command(context, name)
        if fixed is not None:
            return fixed
        operation = self._verbs(context).get(name)
        return operation_command(self.kind, operation) if operation else None

    def _verbs(self, context: click.Context) -> dict[str, dict[str, Any]]:
        listed = _panel(context).get("operations")
        return {each["verb"]: each for each in listed if each["object_type"] == self.kind}


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

    @click.pass_context
    def run(context: click.Context, /, **values: Any) -> None:
        wait, queue, plan = values.pop("wait"), values.pop("queue"), values.pop("plan")
        panel = _panel(context)
        path = PLURALS[kind]
        if on_one:
            path += f"/{panel.find(path, values.pop('target'))['id']}"
        if not operation["creates"]:
            path += f"/{operation['verb']}"
        body = {
            name: _secret(name) if value == "-" and _is_secret(properties, name) else value
            for name, value in values.items()
        }
        body = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in body.items()
            if value not in (None, ())
        }
        answer = panel.post(path, body, params={"queue": int(queue), "plan": int(plan)})
        if plan:
            output.show_plan(answer, context.obj["json"])
            return
        finish(context, panel, answer, wait)

    return click.Command(operation["verb"], callback=run, params=options, help=operation["description"])


def _option(name: str, schema: dict[str, Any], required: bool) -> click.Option:
    kinds = [schema, *schema.get("anyOf", [])]
    types = {each.get("type") for each in kinds}
    kind: Any = int if "integer" in types else float if "number" in types else str
    text = schema.get("description", "")
    if any(each.get("format") == "password" for each in kinds):
        text = f"{text} Give “-”: it is asked for, or read from a pipe.".strip()
    return click.Option(
        [f"--{name.replace('_', '-')}", name],
        type=kind,
        required=required,
        multiple="array" in types,
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
    as_json = context.obj["json"]
    if not wait:
        output.show(answer, (), as_json)
        return
    task = output.follow(panel, int(answer["task"]["id"]), quiet=as_json)
    if as_json:
        output.show({**answer, "task": task}, (), True)
    if task["status"] != "done":
        context.exit(EXIT_FAILED)


def _add_reading(group: click.Group, kind: str) -> None:
    @group.command("list")
    @click.pass_context
    def list_objects(context: click.Context) -> None:
        """List them."""
        output.show(_panel(context).every(PLURALS[kind]), COLUMNS[kind], context.obj["json"])

    if kind in ("vm", "node", "task"):

        @group.command("show")
        @click.argument("target", metavar=kind.upper())
        @click.pass_context
        def show_object(context: click.Context, target: str) -> None:
            """Show one, by its name or id."""
            output.show(_panel(context).find(PLURALS[kind], target), (), context.obj["json"])


for _kind in ("vm", "node"):
    _group = ObjectGroup(_kind)
    _add_reading(_group, _kind)
    cli.add_command(_group)
for _kind in ("task", "image", "iso", "flavor", "network", "pool", "problem"):
    _plain = click.Group(_kind, help=f"{_kind.capitalize()}s.")
    _add_reading(_plain, _kind)
    cli.add_command(_plain)

_vmwatch = ObjectGroup("vmwatch", help="How the panel knows the status of VMs.")
cli.add_command(_vmwatch)


@_vmwatch.command("show")
@click.pass_context
def show_vmwatch(context: click.Context) -> None:
    """Show where vmwatch-master listens and when it was heard."""
    output.show(_panel(context).get("vmwatch"), (), context.obj["json"])


@_vmwatch.command("nodes")
@click.pass_context
def list_watched(context: click.Context) -> None:
    """List the nodes with when each was heard; exit code 1 when one is silent."""
    found = _panel(context).every("vmwatch/nodes")
    output.show(found, COLUMNS["watched node"], context.obj["json"])
    if any(node["silent"] for node in found):
        context.exit(EXIT_FAILED)


_tasks = cli.commands["task"]
assert isinstance(_tasks, click.Group)

mgrctl.add_to(cli, _panel)


@_tasks.command("follow")
@click.argument("task_id", type=int)
@click.pass_context
def follow_task(context: click.Context, task_id: int) -> None:
    """Follow a task to its end, with a bar for each step."""
    task = output.follow(_panel(context), task_id, quiet=context.obj["json"])
    if context.obj["json"]:
        output.show(task, (), True)
    if task["status"] != "done":
        context.exit(EXIT_FAILED)


@_tasks.command("cancel")
@click.argument("task_id", type=int)
@click.pass_context
def cancel_task(context: click.Context, task_id: int) -> None:
    """Ask for a task's end; it undoes what it did."""
    output.show(_panel(context).post(f"tasks/{task_id}/cancel", {})["task"], (), context.obj["json"])


@_tasks.command("log")
@click.argument("task_id", type=int)
@click.pass_context
def show_log(context: click.Context, task_id: int) -> None:
    """Show what a task wrote down."""
    output.show(_panel(context).get(f"tasks/{task_id}/log"), ("at", "level", "text"), context.obj["json"])


@_tasks.command("retry-undo")
@click.argument("task_id", type=int)
@click.pass_context
def retry_undo(context: click.Context, task_id: int) -> None:
    """Have a task that is stuck try its undo again."""
    output.show(_panel(context).post(f"tasks/{task_id}/retry-undo", {})["task"], (), context.obj["json"])


def main() -> None:
    """The program."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_REFUSED)
    except click.Abort:
        sys.exit(EXIT_REFUSED)
    except Refused as error:
        wanted = "--json" in sys.argv
        click.echo(json.dumps(error.body) if wanted else f"vmpanel: {error}", err=not wanted)
        sys.exit(EXIT_REFUSED)
    except httpx.TransportError as error:
        click.echo(f"vmpanel: the panel cannot be reached: {error}", err=True)
        sys.exit(EXIT_UNREACHABLE)


if __name__ == "__main__":
    main()
