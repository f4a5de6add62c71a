"""vm.autostart: whether the VM starts when its node does."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from nodeagent.protocol import host
from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms.context import VmContext
from panel.vms.models import Vm


class AutostartParams(Params):
    """Whether it shall."""

    enabled: bool = Field(default=True, description="Whether the VM starts when its node does.")


def remember_autostart(ctx: VmContext[AutostartParams]) -> dict[str, Any]:
    """What was so is in the task; nothing has changed."""
    return {"before": ctx.vm.autostart}


def change_autostart(ctx: VmContext[AutostartParams]) -> None:
    """The VM's row says whether it starts with its node, and libvirt does so."""
    Vm.objects.filter(pk=ctx.vm.pk).update(autostart=ctx.params.enabled)
    set_autostart(ctx)


def change_autostart_back(ctx: VmContext[AutostartParams]) -> None:
    """Row and libvirt are as before."""
    if ctx.find_vm() is not None:
        Vm.objects.filter(pk=ctx.vm.pk).update(autostart=ctx.output(remember_autostart)["before"])
        set_autostart(ctx)


def set_autostart(ctx: VmContext[Any]) -> None:
    """libvirt does what the VM's row says, but never for a suspended VM; a missing domain has nothing to be set."""
    vm = Vm.objects.get(pk=ctx.vm.pk)
    if ctx.agent.call(host.HostInfo(uuid=str(vm.uuid))).exists:
        ctx.agent.call(host.HostAutostart(uuid=str(vm.uuid), enabled=vm.autostart and not vm.suspended))


class AutostartVm(Operation[AutostartParams]):
    """Have the VM start whenever its node does, or not any more."""

    name = "vm.autostart"
    label = "Autostart"
    permission = "vms.power"
    params = AutostartParams
    context = VmContext
    placed = True
    locks = (exclusive("vm"), shared("node"))
    steps = (
        # No undo: it changes nothing.
        Step(remember_autostart, "Look what it is"),
        Step(change_autostart, "Tell libvirt", undo=change_autostart_back),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        template = "Start VM {vm} with its node" if ctx.params.enabled else "Do not start VM {vm} with its node"
        return Text(template, {"vm": ctx.task.object_name})
