"""vm.finish-install: what follows when an installer has ended itself."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from nodeagent.protocol import host
from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.tasks.requirements import demand
from panel.vms.context import VmContext
from panel.vms.models import Installation, InstallStage
from panel.vms.operations.isos import empty_drive
from panel.vms.requirements import FINISHED, NOT_ELSEWHERE, NOT_MISSING, NOT_SUSPENDED, requirement


class FinishInstallParams(Params):
    """Nothing to choose."""


def eject_installer(ctx: VmContext[Any]) -> None:
    """The ISO image that it was installed from is not in the drive any more: the VM starts from its disks."""
    if ctx.vm.boot_iso:
        empty_drive(ctx)


def start_installed(ctx: VmContext[Any]) -> None:
    """The installed system runs."""
    demand(ctx.look_again(), NOT_ELSEWHERE, NOT_SUSPENDED)
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
    requires = (
        NOT_SUSPENDED,
        NOT_ELSEWHERE,
        FINISHED,
        NOT_MISSING,
        requirement("being installed", lambda vm: vm.installing, "not being installed").when_asked,
    )
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

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Finish installing VM {vm}", {"vm": ctx.task.object_name})
