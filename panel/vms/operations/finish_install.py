"""vm.finish-install: what follows when an installer has ended itself."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from nodeagent.protocol import host
from panel.accounts.models import User
from panel.core.errors import WrongState
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import services
from panel.vms.context import VmContext
from panel.vms.models import Installation, InstallStage, Vm
from panel.vms.operations.isos import empty_drive


class FinishInstallParams(Params):
    """Nothing to choose."""


def eject_installer(ctx: VmContext[Any]) -> None:
    """The ISO image that it was installed from is not in the drive any more: the VM starts from its disks."""
    if ctx.vm.boot_iso:
        empty_drive(ctx)


def start_installed(ctx: VmContext[Any]) -> None:
    """The installed system runs."""
    services.refuse_seen_elsewhere(ctx.look_again())
    services.refuse_suspended(ctx.vm)
    ctx.read_state(host.HostStart(uuid=str(ctx.vm.uuid)))


def record_installed(ctx: VmContext[Any]) -> None:
    """The VM's installation is over."""
    Installation.objects.filter(vm=ctx.vm).exclude(stage=InstallStage.DONE).update(
        stage=InstallStage.DONE, done_at=timezone.now()
    )


class FinishInstall(Operation[FinishInstallParams]):
    """Start the system that an installer has installed.

    The panel asks for it itself when the guest powers off or reboots; a person may when that was missed.
    """

    name = "vm.finish-install"
    label = "Finish installing"
    rare = True
    permission = "vms.power"
    params = FinishInstallParams
    context = VmContext
    on_failure = "stop"
    locks = (exclusive("vm"), shared("node"))
    steps = (
        Step(eject_installer, "Eject the installer"),
        Step(start_installed, "Start the installed system"),
        Step(record_installed, "Note that it is installed"),
    )

    def title(self, ctx: Any) -> str:
        """The task's title, for people."""
        return f"Finish installing VM {ctx.task.object_name}"

    def applies(self, obj: Vm) -> bool:
        """Only while something is being installed, and the VM may run."""
        return installing(obj) and not obj.suspended

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a VM on which nothing is being installed, a suspended one, and what must not or cannot be started."""
        services.refuse_suspended(ctx.vm)
        services.refuse_seen_elsewhere(ctx.vm)
        services.refuse_missing(ctx.vm)
        if not installing(ctx.vm):
            raise WrongState(object="vm", id=ctx.vm.pk, state="not being installed", field="id")


def installing(vm: Vm) -> bool:
    """Whether an installer is at work in the VM, or its end is."""
    found = Installation.objects.filter(vm=vm).exclude(stage=InstallStage.DONE)
    return found.exists()
