"""vmpanel: the panel from the command line, over its REST API.

The verbs of VMs and nodes come from the panel's own list of operations (verbs.py), so a new operation is a new verb
with nothing added here. Exit codes: 0 done; 1 a task failed, or what was looked at is not as it should be; 2 refused,
by the panel or before it was asked; 3 the panel cannot be reached; 130 ended by Ctrl-C, which ends no task.
"""

from __future__ import annotations

import json
import sys

import click
import httpx

from panel.cli import addresses, catalogue, mgrctl, output
from panel.cli.asking import Group, as_json, panel_of
from panel.cli.client import Panel, Refused, save_login
from panel.cli.verbs import EXIT_FAILED, PLURALS, ObjectGroup
from panel.core.texts import escaped

EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 2, 3, 130

COLUMNS = {
    "vm": ("id", "name", "status", "node", "memory_mib", "vcpus", "image", "owner"),
    "node": ("id", "name", "state", "address", "accel", "vm_count"),
    "task": ("id", "title", "status", "progress", "object_name", "created_at"),
    "image": ("name", "title", "os_family", "min_memory_mib", "min_disk_gib"),
    "iso": ("name", "title", "size_bytes"),
    "flavor": ("name", "title", "vcpus", "memory_mib", "disk_gib"),
    "network": ("name", "kind", "subnet", "gateway", "free_addresses"),
    "security-group": ("id", "name", "owner", "rules", "vms"),
    "pool": ("name", "kind", "path", "shared", "volume_format", "on_nodes"),
    "problem": ("id", "severity", "text", "opened_at", "acknowledged_by"),
    "dns-server": ("name", "url", "ranges", "domain", "record_count", "late_count", "error"),
    "option": ("name", "value", "default", "source", "restart", "then"),
    "watched node": ("id", "name", "state", "silent", "heard_at", "has_keys"),
}


@click.group(cls=Group)
def cli() -> None:
    """Run vmpanel from the command line."""


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
    panel = panel_of(context)
    answer = panel.post("cluster/examine", {})
    task = output.follow(panel, int(answer["task"]["id"]), quiet=as_json(context))
    if task["status"] != "done":
        context.exit(EXIT_FAILED)
    found = task["result"]["findings"]
    if found or as_json(context):
        output.show(found, ("code", "node", "object", "text", "mend"), as_json(context))
    else:
        click.echo("Database and nodes agree.")
    if found:
        context.exit(EXIT_FAILED)


def _add_reading(group: click.Group, kind: str) -> None:
    @group.command("list")
    @click.pass_context
    def list_objects(context: click.Context) -> None:
        """List them."""
        output.show(panel_of(context).every(PLURALS[kind]), COLUMNS[kind], as_json(context))

    if kind in ("vm", "node", "task", "security-group"):

        @group.command("show")
        @click.argument("target", metavar=kind.upper())
        @click.pass_context
        def show_object(context: click.Context, target: str) -> None:
            """Show one, by its name or id."""
            output.show(panel_of(context).find(PLURALS[kind], target), (), as_json(context))


for _kind in ("vm", "node", "network", "dns-server", "security-group"):
    _group = ObjectGroup(_kind)
    _add_reading(_group, _kind)
    cli.add_command(_group)
for _kind in ("task", "image", "iso", "flavor", "pool", "problem"):
    _plain = Group(_kind, help=f"{_kind.capitalize()}s.")
    _add_reading(_plain, _kind)
    cli.add_command(_plain)

cli.add_command(addresses.addresses)
_vmwatch = ObjectGroup("vmwatch", help="How the panel knows the status of VMs.")
cli.add_command(_vmwatch)
cli.add_command(ObjectGroup("cluster", help="What concerns the cluster as a whole."))


@_vmwatch.command("show")
@click.pass_context
def show_vmwatch(context: click.Context) -> None:
    """Show where vmwatch-master listens and when it was heard."""
    output.show(panel_of(context).get("vmwatch"), (), as_json(context))


@_vmwatch.command("nodes")
@click.pass_context
def list_watched(context: click.Context) -> None:
    """List the nodes with when each was heard; exit code 1 when one is silent."""
    found = panel_of(context).every("vmwatch/nodes")
    output.show(found, COLUMNS["watched node"], as_json(context))
    if any(node["silent"] for node in found):
        context.exit(EXIT_FAILED)


_problems, _flavors, _images = (cli.commands[each] for each in ("problem", "flavor", "image"))
assert isinstance(_problems, Group) and isinstance(_flavors, Group) and isinstance(_images, Group)
catalogue.add_to(_flavors, _images)


@_problems.command("history")
@click.pass_context
def ended_problems(context: click.Context) -> None:
    """List the problems that ended, for as long as the panel keeps them."""
    columns = (*COLUMNS["problem"], "closed_at")
    output.show(panel_of(context).every("problems", state="ended"), columns, as_json(context))


@_problems.command("acknowledge")
@click.argument("problem_id", type=int)
@click.option("--note", default="", help="For the others: what is being done about it.")
@click.pass_context
def acknowledge_problem(context: click.Context, problem_id: int, note: str) -> None:
    """Say that you know of a problem: it does not count any more until it ends or becomes worse."""
    answer = panel_of(context).post(f"problems/{problem_id}/acknowledge", {"note": note} if note else {})
    output.show(answer, (), as_json(context))


@_problems.command("unacknowledge")
@click.argument("problem_id", type=int)
@click.pass_context
def unacknowledge_problem(context: click.Context, problem_id: int) -> None:
    """Have a problem count again."""
    output.show(panel_of(context).post(f"problems/{problem_id}/unacknowledge", {}), (), as_json(context))


@cli.group("option", cls=Group)
def options() -> None:
    """Options of the panel's vmpanel.conf, which is where they are changed."""


@options.command("list")
@click.pass_context
def list_options(context: click.Context) -> None:
    """List them with value, default, source, and what waits for a restart; secrets are not shown."""
    output.show(panel_of(context).get("options"), COLUMNS["option"], as_json(context))


_tasks = cli.commands["task"]
assert isinstance(_tasks, Group)

mgrctl.add_to(cli, panel_of)


@_tasks.command("follow")
@click.argument("task_id", type=int)
@click.pass_context
def follow_task(context: click.Context, task_id: int) -> None:
    """Follow a task to its end, with a bar for each step."""
    task = output.follow(panel_of(context), task_id, quiet=as_json(context))
    if as_json(context):
        output.show(task, (), True)
    if task["status"] != "done":
        context.exit(EXIT_FAILED)


@_tasks.command("cancel")
@click.argument("task_id", type=int)
@click.pass_context
def cancel_task(context: click.Context, task_id: int) -> None:
    """Ask for a task's end; it undoes what it did."""
    output.show(panel_of(context).post(f"tasks/{task_id}/cancel", {})["task"], (), as_json(context))


@_tasks.command("log")
@click.argument("task_id", type=int)
@click.pass_context
def show_log(context: click.Context, task_id: int) -> None:
    """Show what a task wrote down."""
    output.show(panel_of(context).get(f"tasks/{task_id}/log"), ("at", "level", "text"), as_json(context))


@_tasks.command("retry-undo")
@click.argument("task_id", type=int)
@click.pass_context
def retry_undo(context: click.Context, task_id: int) -> None:
    """Have a task that is stuck try its undo again."""
    output.show(panel_of(context).post(f"tasks/{task_id}/retry-undo", {})["task"], (), as_json(context))


@_tasks.command("give-up")
@click.argument("task_id", type=int)
@click.pass_context
def give_up(context: click.Context, task_id: int) -> None:
    """End a task that is stuck as it is, without undoing anything."""
    output.show(panel_of(context).post(f"tasks/{task_id}/give-up", {})["task"], (), as_json(context))


def main() -> None:
    """The program."""
    sys.exit(run())


def run() -> int:
    """Do what the words say; answers the exit code."""
    try:
        # Without click's own ending, a command's exit code is what is answered here.
        ended = cli.main(standalone_mode=False)
        return ended if isinstance(ended, int) else 0
    except click.ClickException as error:
        error.show()
        return EXIT_REFUSED
    except click.Abort as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            return EXIT_INTERRUPTED
        click.echo("vmpanel: there was nothing more to read; nothing was done.", err=True)
        return EXIT_REFUSED
    except Refused as error:
        wanted = "--json" in sys.argv
        said = json.dumps(error.body) if wanted else escaped(f"vmpanel: {error}", lines=True)
        click.echo(said, err=not wanted)
        return EXIT_REFUSED
    except httpx.TransportError as error:
        click.echo(f"vmpanel: the panel cannot be reached: {error}", err=True)
        return EXIT_UNREACHABLE


if __name__ == "__main__":
    main()
