"""What changes plans and images from the command line: `vmpanel flavor create`, `change`, `delete`; `image change`."""

from __future__ import annotations

from typing import Any

import click

from panel.cli import output
from panel.cli.asking import Group, as_json, panel_of

SIZES = {
    "title": (str, "What people read."),
    "vcpus": (int, "CPUs."),
    "memory_mib": (int, "Memory in MiB."),
    "disk_gib": (int, "Disk in GiB."),
}
LEAST = {
    "title": (str, "What people read."),
    "min_memory_mib": (int, "Least memory of its VMs in MiB."),
    "min_disk_gib": (int, "Smallest disk of its VMs in GiB."),
}


def _options(known: dict[str, tuple[Any, str]], required: tuple[str, ...] = ()) -> list[click.Parameter]:
    return [
        click.Option([f"--{name.replace('_', '-')}", name], type=kind, required=name in required, help=text)
        for name, (kind, text) in known.items()
    ]


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _create(context: click.Context, name: str, **values: Any) -> None:
    output.show(panel_of(context).post("flavors", {"name": name, **_given(values)}), (), as_json(context))


def _change(plural: str) -> Any:
    def change(context: click.Context, target: str, **values: Any) -> None:
        panel = panel_of(context)
        path = f"{plural}/{panel.find(plural, target)['id']}"
        output.show(panel.patch(path, _given(values)), (), as_json(context))

    return change


def _delete(context: click.Context, target: str) -> None:
    panel = panel_of(context)
    panel.delete(f"flavors/{panel.find('flavors', target)['id']}")
    if not as_json(context):
        click.echo(f"{target} is deleted. VMs that were made of it keep their size.")


def add_to(flavors: Group, images: Group) -> None:
    """Have the commands in the groups that list flavors and images."""
    target = click.Argument(["target"])
    sizes = ("vcpus", "memory_mib", "disk_gib")
    made = (
        (flavors, "create", _create, [click.Argument(["name"]), *_options(SIZES, sizes)], "Make one."),
        (flavors, "change", _change("flavors"), [target, *_options(SIZES)], "Change one; VMs keep their size."),
        (flavors, "delete", _delete, [target], "Delete one; VMs keep their size."),
        (
            images,
            "change",
            _change("images"),
            [target, *_options(LEAST)],
            "Change what people read, and what VMs need.",
        ),
    )
    for group, name, run, params, text in made:
        command = click.Command(name, callback=click.pass_context(run), params=list(params), help=text)
        group.add_command(command)
