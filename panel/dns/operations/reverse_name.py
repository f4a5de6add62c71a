"""vm.set-reverse-name: what an address of the VM is called."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from panel.accounts.models import User
from panel.core.wording import Text
from panel.dns import names, services
from panel.tasks.operation import Operation, Params, Step
from panel.vms.context import VmContext


def _name(text: str) -> str:
    return names.host_name(text) if text else ""


class ReverseNameParams(Params):
    """Which address, and its name."""

    address: str = Field(max_length=45, description="One of the VM's addresses.")
    name: Annotated[str, AfterValidator(_name)] = Field(
        default="", max_length=253, description="A full host name, as mail.example.org; empty: the usual one again."
    )


def record_name(ctx: VmContext[ReverseNameParams]) -> dict[str, Any]:
    """The address has the name; the name server follows by itself."""
    services.set_name(ctx.vm, ctx.params.address, ctx.params.name)
    return {"result": {"address": ctx.params.address, "name": ctx.params.name}}


class SetReverseName(Operation[ReverseNameParams]):
    """Give an address of the VM a name (its PTR record), or the usual one again.

    The name server has it within seconds; while it does not answer, the name waits.
    """

    name = "vm.set-reverse-name"
    label = "Set reverse name"
    permission = "vms.change"
    params = ReverseNameParams
    context = VmContext
    placed = True
    on_failure = "stop"
    # No undo: it is the only step, done with the request. No lock: nothing of the VM itself changes.
    steps = (Step(record_name, "Record the name", inline=True),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Set the reverse name of {address}", {"address": ctx.params.address})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse an address that the VM has not, or no server has the names of, and names that are the panel's."""
        services.refuse_name(viewer, ctx.vm, ctx.params.address, ctx.params.name)
