"""`vmpanel address`: those in use, who had one when, and reservations, in whichever network."""

from __future__ import annotations

from typing import Any

import click

from panel.cli import output
from panel.cli.asking import Group, as_json, panel_of

COLUMNS = ("ip", "network", "vm_name", "owner", "reserved", "comment", "waits_until")
TERMS = ("ip", "network", "vm_name", "mac", "owner", "since", "until")


@click.group("address", cls=Group)
def addresses() -> None:
    """Addresses."""


@addresses.command("list")
@click.option("--network", help="Of this network alone.")
@click.pass_context
def list_addresses(context: click.Context, network: str | None) -> None:
    """List those in use, with the VM that has each."""
    asked = {"network": network} if network else {}
    output.show(panel_of(context).every("ipam/addresses", **asked), COLUMNS, as_json(context))


@addresses.command("history")
@click.option("--ip", help="Of this address.")
@click.option("--vm", type=int, help="Of the VM with this number.")
@click.option("--at", help="At this time, as 2026-01-31T12:00:00Z.")
@click.pass_context
def history(context: click.Context, /, **asked: Any) -> None:
    """List who had which address when."""
    given = {name: value for name, value in asked.items() if value is not None}
    output.show(panel_of(context).every("ipam/history", **given), TERMS, as_json(context))


@addresses.command("reserve")
@click.argument("address", required=False)
@click.option("--network", help="Name of a network; none: the first that has one.")
@click.option("--purpose", type=click.Choice(["public", "private"]), help="Of ranges for that.")
@click.option("--version", type=int, help="4 or 6.")
@click.option("--owner", help="Whose VMs may have it.")
@click.option("--comment", help="What it is for.")
@click.option("--days", type=int, help="For how many days, if no VM has it by then.")
@click.pass_context
def reserve(context: click.Context, /, **asked: Any) -> None:
    """Reserve ADDRESS, or any that is free."""
    given = {name: value for name, value in asked.items() if value is not None}
    answer = panel_of(context).post("ipam/addresses", given)
    if as_json(context):
        output.show(answer, (), True)
    else:
        click.echo(answer["address"])


@addresses.command("release")
@click.argument("address")
@click.option("--network", help="Name of its network, where several have it.")
@click.pass_context
def release(context: click.Context, address: str, network: str | None) -> None:
    """Reserve ADDRESS no more, or have it wait no longer."""
    panel = panel_of(context)
    found = panel.every("ipam/addresses", ip=address, **({"network": network} if network else {}))
    if len(found) != 1:
        raise click.ClickException(f"{address}: {len(found)} addresses in use are called so; name the network.")
    panel.delete(f"ipam/addresses/{found[0]['id']}")
    if not as_json(context):
        click.echo(f"{address} is released.")
