"""node.add-link, node.remove-link: a bond of a node's network cards, or a VLAN on one of its interfaces."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from nodeagent.host_links import NAME
from nodeagent.protocol import links as protocol
from panel.accounts.models import User
from panel.cluster.context import NodeContext
from panel.core.errors import InvalidValue, MissingValue, NotFound
from panel.core.wording import Text
from panel.network import node_links
from panel.network.models import NodeLink
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Params, Step

NAME_PATTERN = NAME.pattern.removesuffix(r"\Z") + "$"
OF_PORTS = "Of a bond: the network cards that it is made of, as eno2; the host itself must not use them."
OF_MODE = "Of a bond: how it uses them; the switch must know 802.3ad (LACP), and nothing of active-backup."


class AddLinkParams(Params):
    """What is made, and of what."""

    kind: Literal["bond", "vlan"] = Field(description="A bond of network cards, or a VLAN on an interface.")
    name: str | None = Field(
        default=None,
        pattern=f"^{NAME_PATTERN}",
        description="Its name; left out: bond0, or of a VLAN as eno1.40.",
    )
    ports: list[str] = Field(default=[], max_length=16, description=OF_PORTS)
    mode: Literal["active-backup", "802.3ad", "balance-xor", "balance-rr", "balance-tlb", "balance-alb"] = Field(
        default="active-backup", description=OF_MODE
    )
    parent: str | None = Field(default=None, max_length=15, description="Of a VLAN: the interface it is tagged on.")
    vlan: int | None = Field(default=None, ge=1, le=4094, description="Of a VLAN: its number.")


def _wanted(ctx: NodeContext[AddLinkParams]) -> NodeLink:
    """The interface that was asked for; raises MissingValue and InvalidValue."""
    asked = ctx.params
    if asked.kind == protocol.VLAN:
        for field in ("parent", "vlan"):
            if getattr(asked, field) is None:
                raise MissingValue(field=field)
        settings: dict[str, Any] = {"parent": asked.parent, "vlan": asked.vlan}
        name = asked.name or f"{asked.parent}.{asked.vlan}"
    else:
        if not asked.ports:
            raise MissingValue(field="ports")
        settings = {"ports": asked.ports, "mode": asked.mode}
        name = asked.name or node_links.free_bond(ctx.node)
    wrong = [each for each in [*asked.ports, asked.parent or "eth0", name] if not NAME.match(each)]
    if wrong:
        field = "name" if wrong == [name] else "ports" if asked.kind == protocol.BOND else "parent"
        raise InvalidValue(Text("“{name}” is no name of an interface.", {"name": wrong[0]}), field=field)
    return NodeLink(node=ctx.node, name=name, kind=asked.kind, settings=settings)


def record_link(ctx: NodeContext[AddLinkParams]) -> dict[str, Any]:
    """The interface stands in the database."""
    made = _wanted(ctx)
    made.save()
    return {"link": made.pk, "result": {"interface": made.name}}


def forget_link(ctx: NodeContext[AddLinkParams]) -> None:
    """The panel does not know it."""
    NodeLink.objects.filter(pk=ctx.output(record_link)["link"]).delete()


def make_link(ctx: NodeContext[AddLinkParams]) -> None:
    """The node has it, and can be reached."""
    node_links.make(ctx.agent, NodeLink.objects.get(pk=ctx.output(record_link)["link"]))


def take_link(ctx: NodeContext[AddLinkParams]) -> None:
    """The node does not have it, and its ports are as they were."""
    link = NodeLink.objects.filter(pk=ctx.output(record_link)["link"]).first()
    if link is not None:
        node_links.take(ctx.agent, link)


class AddLink(Operation[AddLinkParams]):
    """Make a bond of network cards that the node does not use itself, or a VLAN on one of its interfaces.

    It is made again at the node's start, and can be the uplink of networks. It stands on trial for a minute: a node
    that cannot be reached any more takes it away by itself.
    """

    name = "node.add-link"
    label = "Add bond or VLAN"
    permission = "cluster.manage"
    params = AddLinkParams
    context = NodeContext
    placed = True
    locks = (exclusive("node"),)
    steps = (
        Step(record_link, "Record the interface", undo=forget_link, inline=True),
        Step(make_link, "Make it on the node", undo=take_link, describe=lambda ctx: _wanted(ctx).name),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Add interface {interface} to node {node}", _named(ctx, _wanted(ctx).name))

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse what says too little, and a name or port that the panel has given something already."""
        node_links.refuse_taken(_wanted(ctx))


class RemoveLinkParams(Params):
    """Which interface."""

    link: str = Field(max_length=15, description="A bond or VLAN that the panel made on the node.")


def _link(ctx: NodeContext[RemoveLinkParams]) -> NodeLink | None:
    return NodeLink.objects.filter(node=ctx.task.object_id, name=ctx.params.link).first()


def take_from_node(ctx: NodeContext[RemoveLinkParams]) -> None:
    """The node does not have it, and its ports are as they were."""
    if (link := _link(ctx)) is not None:
        node_links.take(ctx.agent, link)


def give_again(ctx: NodeContext[RemoveLinkParams]) -> None:
    """The node has it again."""
    if (link := _link(ctx)) is not None:
        node_links.make(ctx.agent, link)


def delete_record(ctx: NodeContext[RemoveLinkParams]) -> None:
    """The panel does not know it."""
    NodeLink.objects.filter(node=ctx.task.object_id, name=ctx.params.link).delete()


class RemoveLink(Operation[RemoveLinkParams]):
    """Remove a bond or VLAN that the panel made on the node and that no network goes out by."""

    name = "node.remove-link"
    label = "Remove bond or VLAN"
    permission = "cluster.manage"
    params = RemoveLinkParams
    context = NodeContext
    placed = True
    dangerous = True
    locks = (exclusive("node"),)
    steps = (
        Step(take_from_node, "Take it from the node", undo=give_again, describe=lambda ctx: ctx.params.link),
        # No undo: it is the last step.
        Step(delete_record, "Forget it"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Remove interface {interface} from node {node}", _named(ctx, ctx.params.link))

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse one that is none, and one that something goes out by."""
        link = _link(ctx)
        if link is None:
            raise NotFound(object="interface", id=ctx.params.link, field="link")
        node_links.refuse_used(link)


def _named(ctx: NodeContext[Any], interface: str) -> dict[str, Any]:
    return {"interface": interface, "node": ctx.task.object_name}
