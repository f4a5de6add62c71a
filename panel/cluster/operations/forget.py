"""node.forget: a host that is gone for good, or cannot be removed, is no node any more. It is not spoken to.

What that means for its VMs, and for a host that comes back, is docs/decisions/0018-forgotten-nodes.md.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from pydantic import Field

from panel.accounts.models import User
from panel.cluster import parts
from panel.cluster.context import NodeContext
from panel.cluster.operations.remove import delete_record, mark_removing
from panel.core.errors import WrongState
from panel.core.wording import Text
from panel.tasks.locks import exclusive
from panel.tasks.models import Status, Task
from panel.tasks.operation import Operation, Params, Step
from panel.tasks.services import give_up

MOST_NAMES = 20
OURS = (
    Text("the panel's key, the line of /root/.ssh/authorized_keys that ends with “vmpanel”"),
    Text("the panel's programs and files in /usr/lib/vmpanel, /etc/vmpanel, /var/lib/vmpanel and /var/log/vmpanel"),
)

VM = "{count} VM"
VMS = "{count} VMs"


class ForgetNodeParams(Params):
    """What becomes of its VMs."""

    forget_vms: bool = Field(
        default=False,
        description="Forget its VMs too: their names and addresses become free. Their disks stay on the host.",
    )


class ForgetContext(NodeContext[Any]):
    """What a step sees; its VMs are forgotten with the node, so nobody else may be at one."""

    def lock_ids(self, kind: str) -> list[int | None]:
        """The node and its VMs."""
        if kind == "vm":
            return list(self.vm_ids)
        return super().lock_ids(kind)

    @property
    def vm_ids(self) -> list[int]:
        """The VMs that the node has."""
        node = self.find_node()
        return list(node.vms.order_by("pk").values_list("pk", flat=True)) if node is not None else []


def end_holders(ctx: ForgetContext) -> dict[str, Any]:
    """No other task holds the node or one of its VMs: what each had come to is left as it is, and its log says why."""
    held = [*_holding("node", [ctx.node.pk]), *_holding("vm", ctx.vm_ids)]
    text = "Given up where it was, since the node “{node}” was forgotten. What it had done elsewhere stays."
    reason = Text(text, {"node": ctx.node.name})
    for task_id in sorted(set(held)):
        give_up(task_id, reason)
    return {"given_up": sorted(set(held))}


def _holding(kind: str, object_ids: list[int]) -> list[int]:
    tasks = Task.objects.filter(locks__kind=kind, locks__object_id__in=object_ids)
    return list(tasks.exclude(status__in=(Status.DONE, Status.FAILED, Status.CANCELLED)).values_list("pk", flat=True))


def note_leftovers(ctx: ForgetContext) -> dict[str, Any]:
    """It is written down what the host has of ours, if it still is anywhere."""
    left = [*OURS, *(each for part in parts.every().values() for each in part.leaves(ctx))]
    vms = list(ctx.node.vms.values_list("name", flat=True))
    for each in left:
        ctx.log(Text("May be left on the host: {thing}.", {"thing": each}), "warning")
    return {"result": {"left": [each.english for each in left], "vms": vms}}


def forget_parts(ctx: ForgetContext) -> None:
    """Its VMs and disks are not in the database; their names and addresses are free."""
    if ctx.find_node() is None:
        return
    with transaction.atomic():
        for part in reversed(parts.every().values()):
            part.forget(ctx)


class ForgetNode(Operation[ForgetNodeParams]):
    """Forget a node without speaking to its host, whatever state it is in; what may be left there is listed."""

    name = "node.forget"
    label = "Forget"
    permission = "cluster.manage"
    params = ForgetNodeParams
    context = ForgetContext
    on_failure = "stop"
    cancellable = "never"
    dangerous = True
    asks = True
    warning = (
        "The host is not spoken to: guests that run there run on, and what the panel put on it stays. "
        "Remove is right for a host that can still be reached."
    )
    locks = (exclusive("vm"), exclusive("node"))
    # No step has an undo: what is forgotten cannot be known again.
    steps = (
        Step(end_holders, "Give up what others do there", inline=True),
        Step(mark_removing, "Place no VM here any more", inline=True),
        Step(note_leftovers, "Note what may be left on the host"),
        Step(forget_parts, "Forget its VMs and storages"),
        Step(delete_record, "Forget the node"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Forget node {node}", {"node": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a node that has VMs, unless these are to be forgotten too; and one whose VM runs on another node."""
        vms = ctx.node.vms.order_by("name")
        names = [str(name) for name in vms.values_list("name", flat=True)]
        state = {"object": "node", "id": ctx.node.pk, "state": "in use"}
        if names and not ctx.params.forget_vms:
            count = Text(VMS if names[1:] else VM, {"count": len(names)})
            raise WrongState(
                Text(
                    "The node has {count}: {vms}. They are forgotten with it if you say so (forget_vms); what of "
                    "their disks is to be kept must be fetched from the host.",
                    {"count": count, "vms": _shown(names)},
                ),
                field="forget_vms",
                vms=names,
                **state,
            )
        if elsewhere := [str(name) for name in vms.filter(seen_elsewhere=True).values_list("name", flat=True)]:
            raise WrongState(
                Text("Another node runs {vms}: say first which one is right (settle).", {"vms": _shown(elsewhere)}),
                **state,
            )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if names[MOST_NAMES:] else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"
