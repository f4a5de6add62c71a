"""security-group.add, .change, .remove, .apply; vm.set-security-groups: which of them an interface has."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django.db import transaction
from pydantic import Field

from nodeagent.protocol import network
from panel.accounts.models import User
from panel.accounts.selectors import user_named
from panel.cluster.nodes import Agent
from panel.core.errors import MissingValue, NotFound, WrongState
from panel.core.wording import Text
from panel.network import security as groups
from panel.network.everywhere import AWAY
from panel.network.models import SecurityGroup
from panel.tasks.context import Context
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.tasks.requirements import Requirement
from panel.vms.context import VmContext
from panel.vms.devices import interface_of
from panel.vms.models import Interface
from panel.vms.security import MOST_ON_INTERFACE, interfaces_of
from panel.vms.spec import interface_spec

RULES = "One in each line, as “in tcp 22 from 192.0.2.0/24”, “in udp 5000-5010”, “in any from office” or “out any”."
MOST_RULES = 1000


class GroupContext(Context[Any]):
    """The security group that a task is about."""

    @property
    def group(self) -> SecurityGroup:
        """The group as it stands now; raises NotFound when it was removed meanwhile."""
        if (group := self.find_object()) is None:
            raise NotFound(object="security-group", id=self.task.object_id)
        return group

    def find_object(self) -> SecurityGroup | None:
        """The group, or None when its record is gone."""
        found = SecurityGroup.objects.select_related("owner").prefetch_related("rules__peer")
        return found.filter(pk=self.task.object_id or 0).first()


class AddGroupParams(Params):
    """A group and what it lets through."""

    name: str = Field(pattern=groups.NAME, max_length=63)
    description: str = Field(default="", max_length=200, description="What it is for.")
    rules: list[str] = Field(default=[], max_length=MOST_RULES, description=RULES)
    owner: str | None = Field(default=None, max_length=64, description="Whose it is; left out: yours.")


def record_group(ctx: GroupContext) -> dict[str, Any]:
    """The group stands in the database."""
    asked = ctx.params
    owner = user_named(asked.owner) if asked.owner else ctx.task.created_by
    assert owner is not None
    made = groups.add_group(owner, asked.name, asked.description, asked.rules)
    ctx.set_object("security-group", made.pk, made.name)
    return {"result": {"security_group": made.pk}}


def forget_group(ctx: GroupContext) -> None:
    """The panel does not know the group."""
    groups.remove_group(int(ctx.task.object_id or 0))


class AddGroup(Operation[AddGroupParams]):
    """Add a security group: rules for what interfaces of VMs receive and send. What no rule lets through is dropped."""

    name = "security-group.add"
    label = "Add security group"
    permission = "vms.devices"
    params = AddGroupParams
    context = GroupContext
    creates = True
    steps = (Step(record_group, "Record the security group", undo=forget_group, inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Add security group {group}", {"group": ctx.params.name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse rules that are none, a name in use, one group too many, and another owner than oneself to a user."""
        owner = viewer if ctx.params.owner in (None, viewer.name) else None
        if owner is None:
            if not viewer.sees_all:
                raise NotFound(object="user", id=ctx.params.owner, field="owner")
            owner = user_named(ctx.params.owner)
        groups.refuse_new(owner, ctx.params.name)
        groups.parsed(ctx.params.rules, owner)


class ChangeGroupParams(Params):
    """What to change; what is left out stays. The rules are all that it has then."""

    name: str | None = Field(default=None, pattern=groups.NAME, max_length=63, description="Another name.")
    description: str | None = Field(default=None, max_length=200, description="What it is for.")
    rules: list[str] | None = Field(default=None, max_length=MOST_RULES, description=RULES)


def _now(group: SecurityGroup) -> dict[str, Any]:
    return {"name": group.name, "description": group.description, "rules": groups.lines_of(group)}


def record_change(ctx: GroupContext) -> dict[str, Any]:
    """The group's record is as it shall be, and the task remembers what it was."""
    group, before = ctx.group, _now(ctx.group)
    _write(group, {**before, **ctx.params.model_dump(exclude_none=True)})
    return {"before": before}


def _write(group: SecurityGroup, values: dict[str, Any]) -> None:
    groups.change_group(group, values["name"], values["description"], values["rules"])


def record_change_back(ctx: GroupContext) -> None:
    """The group is as it was, on the nodes too."""
    if (group := ctx.find_object()) is not None:
        _write(group, ctx.output(record_change)["before"])
        tell_nodes(ctx)


def tell_nodes(ctx: GroupContext) -> None:
    """The nodes have the rules as they are now at all interfaces that the group is of, or named in."""
    there = interfaces_of(ctx.group).filter(vm__node__isnull=False).order_by("vm__node", "vm", "position")
    for node, interfaces in groupby(there.select_related("vm__node__cluster"), lambda each: each.vm.node):
        vms = [
            network.VmFilters(str(vm.uuid), [interface_spec(each) for each in mine])
            for vm, mine in groupby(interfaces, lambda each: each.vm)
        ]
        try:
            Agent(node, ctx).call(network.SecurityUpdate(vms=vms))
        except AWAY as error:
            ctx.log(Text("{error} It has the rules from its next check on.", {"error": error.text}), "warning")


class ChangeGroup(Operation[ChangeGroupParams]):
    """Change a security group; its VMs are filtered by the new rules at once. Connections that are there go on."""

    name = "security-group.change"
    label = "Change"
    permission = "vms.devices"
    params = ChangeGroupParams
    context = GroupContext
    asks = True
    locks = (exclusive("security-group"),)
    steps = (
        Step(record_change, "Record the change", undo=record_change_back, inline=True),
        # No undo: record_change_back tells the nodes what was.
        Step(tell_nodes, "Tell the nodes", weight=5),
    )

    def initial(self, obj: Any) -> dict[str, Any]:
        """What it is now."""
        return _now(obj)

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse rules that are none, and a name in use."""
        asked = ctx.params
        if asked.name is None and asked.description is None and asked.rules is None:
            raise MissingValue(Text("Say what shall be changed."), field="name")
        groups.refuse_taken(ctx.group.owner, asked.name or ctx.group.name, but=ctx.group.pk)
        groups.parsed(asked.rules or (), ctx.group.owner)


class NoParams(Params):
    """Nothing to choose."""


class ApplyGroup(Operation[NoParams]):
    """Tell the nodes the group's rules once more, and who is in the groups that they name."""

    name = "security-group.apply"
    label = "Apply again"
    permission = "vms.devices"
    params = NoParams
    context = GroupContext
    on_failure = "stop"
    locks = (exclusive("security-group"),)
    # No undo: what the rows say is right.
    steps = (Step(tell_nodes, "Tell the nodes"),)


def _used(group: SecurityGroup) -> WrongState | None:
    names = sorted(set(Interface.objects.filter(security_groups=group).values_list("vm__name", flat=True)))
    if names:
        text = Text("Interfaces of these VMs have it: {vms}.", {"vms": ", ".join(names[:5])})
        return WrongState(text, object="security-group", id=group.pk, state="in use", field="id")
    try:
        groups.refuse_named(group)
    except WrongState as error:
        return error
    return None


UNUSED = Requirement("not in use", _used)


def remove_record(ctx: GroupContext) -> None:
    """The panel does not know the group."""
    groups.remove_group(int(ctx.task.object_id or 0))


class RemoveGroup(Operation[NoParams]):
    """Remove a security group that no interface has and no other group names."""

    name = "security-group.remove"
    label = "Remove"
    permission = "vms.devices"
    params = NoParams
    context = GroupContext
    dangerous = True
    on_failure = "stop"
    requires = (UNUSED,)
    locks = (exclusive("security-group"),)
    # No undo: it is the only step.
    steps = (Step(remove_record, "Forget it"),)


class SetGroupsParams(Params):
    """Which groups, at which interface."""

    interface: str = Field(max_length=17, description="Its MAC address.")
    groups: list[str] = Field(
        default=[], max_length=MOST_ON_INTERFACE, description="Names of the owner's security groups; none: as is usual."
    )


def record_groups(ctx: VmContext[SetGroupsParams]) -> dict[str, Any]:
    """The interface's row has the groups, and the task remembers those that it had."""
    interface = interface_of(ctx.vm, ctx.params.interface)
    before = list(interface.security_groups.values_list("pk", flat=True))
    _have(interface, [each.pk for each in groups.groups_named(ctx.vm.owner, ctx.params.groups)])
    return {"interface": interface.pk, "before": before}


@transaction.atomic
def _have(interface: Interface, wanted: list[int]) -> None:
    # Held: a group that is just being removed is not given.
    there = SecurityGroup.objects.select_for_update().filter(pk__in=wanted)
    interface.security_groups.set(list(there))


def record_groups_back(ctx: VmContext[SetGroupsParams]) -> None:
    """The interface has the groups that it had, on its node too."""
    remembered = ctx.output(record_groups)
    interface = Interface.objects.filter(pk=remembered["interface"]).first()
    if interface is not None:
        _have(interface, remembered["before"])
        tell_node(ctx)


def tell_node(ctx: VmContext[Any]) -> None:
    """The VM's node lets through what its interfaces' groups say, and leads ports to them."""
    vm = ctx.look_again()
    interfaces = vm.interfaces.filter(attached=True).select_related("network__cluster").with_ips()
    ctx.agent.call(
        network.SecurityUpdate([network.VmFilters(str(vm.uuid), [interface_spec(each) for each in interfaces])])
    )


class SetSecurityGroups(Operation[SetGroupsParams]):
    """Give an interface security groups, instead of those that it has; the running VM is filtered so at once."""

    name = "vm.set-security-groups"
    label = "Security groups"
    permission = "vms.devices"
    params = SetGroupsParams
    context = VmContext
    placed = True
    locks = (exclusive("vm"), shared("node"))
    steps = (
        Step(record_groups, "Record the security groups", undo=record_groups_back, inline=True),
        # No undo: record_groups_back tells the node what was.
        Step(tell_node, "Tell the node"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("{action}: VM {vm}", {"action": Text(self.label), "vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """An interface that the VM does not have, and groups that its owner does not have."""
        interface_of(ctx.vm, ctx.params.interface)
        groups.groups_named(ctx.vm.owner, ctx.params.groups)
