"""node.evacuate: all VMs of a node are moved away, each by a vm.migrate of its own, a few at a time."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from panel.accounts.models import User
from panel.cluster import services
from panel.cluster.context import NodeContext
from panel.cluster.models import NodeState
from panel.core.errors import OperationFailed, PanelError, Reschedule, WrongState, text_of
from panel.core.wording import Text, from_row, in_row, joined
from panel.tasks import registry
from panel.tasks.models import OPEN, Status, Task
from panel.tasks.operation import Operation, Params, Step
from panel.vms.models import Migration, Vm

LOOK_AGAIN_SECONDS = 1.0


class EvacuateParams(Params):
    """How fast."""

    parallel: int = Field(default=2, ge=1, le=20, description="How many VMs are moved at a time.")
    bandwidth_mib: int = Field(default=0, ge=0, le=1_000_000, description="At most so many MiB/s a VM; 0: no limit.")


def begin_maintenance(ctx: NodeContext[Any]) -> None:
    """No VM is placed on the node or moved to it any more."""
    services.set_maintenance(ctx.node, True)


def move_vms(ctx: NodeContext[EvacuateParams]) -> dict[str, Any]:
    """Every VM has its answer: moved, or why not. Raises Reschedule while some are on their way."""
    refused = {name: from_row(each) for name, each in ctx.checkpoint.get("refused", {}).items()}
    prefix = f"evacuate-{ctx.task.pk}-"
    asked = {task.object_id: task for task in Task.objects.filter(idempotency_key__startswith=prefix).order_by("pk")}
    others = [vm for vm in Vm.objects.filter(node=ctx.node) if vm.pk not in asked and vm.name not in refused]
    # Somebody may have begun to move one; whether it left is seen when that is over.
    moves = Migration.objects.filter(vm__in=others, ended_at=None)
    on_its_way = dict(moves.values_list("vm_id", "task_id"))
    # A move that could not be undone is over when a person has looked at it: nobody waits for that.
    stuck = set(Task.objects.filter(pk__in=moves.values("task_id"), status=Status.STUCK).values_list("pk", flat=True))
    for vm in [vm for vm in others if on_its_way.get(vm.pk) in stuck]:
        _stays(ctx, vm, Text("Its move is stuck: see task {task}.", {"task": on_its_way.pop(vm.pk)}), refused)
    left = [vm for vm in others if vm.pk not in on_its_way and vm.name not in refused]
    under_way = sum(task.is_open for task in asked.values()) + len(on_its_way)
    while left and under_way < ctx.params.parallel:
        vm = left.pop(0)
        try:
            asked[vm.pk] = _ask(ctx, vm, f"{prefix}{vm.pk}")
            under_way += 1
        except PanelError as error:
            _stays(ctx, vm, error.text, refused)
    total = len(asked) + len(refused) + len(left) + len(on_its_way)
    if under_way:
        done = total - len(left) - under_way
        ctx.progress(done / total, Text("{done} of {total} VMs", {"done": done, "total": total}))
        raise Reschedule(LOOK_AGAIN_SECONDS, {"refused": {name: in_row(each) for name, each in refused.items()}})
    return _answer(ctx, list(asked.values()), refused)


def _stays(ctx: NodeContext[Any], vm: Vm, reason: Text, refused: dict[str, Text]) -> None:
    refused[vm.name] = reason
    ctx.log(Text("VM “{vm}” cannot be moved: {reason}", {"vm": vm.name, "reason": reason}), "warning")


def _ask(ctx: NodeContext[EvacuateParams], vm: Vm, key: str) -> Task:
    """Ask for a VM's move; the key makes a repeated step ask once."""
    viewer = ctx.task.created_by
    assert viewer is not None
    raw = {"bandwidth_mib": ctx.params.bandwidth_mib}
    return registry.get("vm.migrate").submit(viewer, raw, object_id=vm.pk, idempotency_key=key, queue=True)


def _answer(ctx: NodeContext[Any], asked: list[Task], refused: dict[str, Text]) -> dict[str, Any]:
    """One answer each; raises OperationFailed naming those that stay."""
    stay = dict(refused)
    for task in asked:
        if task.status != Status.DONE:
            stay[task.object_name] = text_of(task.error) if task.error else Text(task.get_status_display())
    moved = [task.object_name for task in asked if task.status == Status.DONE]
    for name, reason in sorted(stay.items()):
        ctx.log(Text("VM “{vm}” stays: {reason}", {"vm": name, "reason": reason}), "error")
    if stay:
        told = joined(Text("{vm}: {reason}", {"vm": name, "reason": reason}) for name, reason in sorted(stay.items()))
        raise OperationFailed(
            Text(
                "{moved} VMs were moved, {count} stay. {reasons}",
                {"moved": len(moved), "count": len(stay), "reasons": told},
            ),
            step=ctx.step_name,
            moved=moved,
            stay={name: reason.english for name, reason in stay.items()},
        )
    return {"result": {"moved": moved, "stay": {}}}


class EvacuateNode(Operation[EvacuateParams]):
    """Begin the node's maintenance and move all its VMs away, to wherever each fits best.

    Ends as failed, with a reason for each, when some cannot move. Cancelled, moves that have begun go on.
    """

    name = "node.evacuate"
    label = "Evacuate"
    permission = "cluster.manage"
    params = EvacuateParams
    context = NodeContext
    on_failure = "stop"
    dangerous = True
    # No undo: what was moved is well where it is. No lock: each move takes its own.
    steps = (
        Step(begin_maintenance, "Place no VM here any more", inline=True),
        Step(move_vms, "Move the VMs"),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Evacuate node {node}", {"node": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a node that cannot be reached, and one that is being evacuated."""
        if ctx.node.state != NodeState.READY:
            raise WrongState(object="node", id=ctx.node.pk, state=ctx.node.get_state_display().lower())
        under_way = Task.objects.filter(operation=self.name, object_id=ctx.node.pk, status__in=OPEN)
        if under_way.exists():
            raise WrongState(object="node", id=ctx.node.pk, state="being evacuated")
