"""vm.configure-guest: another password, ssh keys or host name inside a VM that exists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field, SecretStr, field_validator

from nodeagent.protocol import guest
from panel.accounts.models import User
from panel.core.errors import MissingValue, WrongState
from panel.core.wording import Text
from panel.tasks.locks import exclusive, shared
from panel.tasks.operation import Operation, Params, Step
from panel.vms import drift
from panel.vms.audit import refuse_drift
from panel.vms.context import VmContext
from panel.vms.models import ON, Vm
from panel.vms.operations.create import check_name
from panel.vms.operations.deploying import check_keys, check_password, hash_of
from panel.vms.requirements import FINISHED, NOT_ELSEWHERE, NOT_IN_RESCUE, NOT_MISSING, requirement
from panel.vms.spec import guest_identity, guest_network, uses_seed

CUSTOMIZE_SECONDS = 600.0


class ConfigureGuestParams(Params):
    """What shall be another; what is not named stays."""

    password: SecretStr | None = Field(default=None, description="Password of the image's login.")
    ssh_keys: list[str] | None = Field(
        default=None, max_length=50, description="All keys that the image's login lets in; others go."
    )
    hostname: str | None = Field(default=None, max_length=63, description="Host name: a-z, 0-9 and hyphens.")

    @field_validator("ssh_keys")
    @classmethod
    def _public_keys(cls, value: list[str] | None) -> list[str] | None:
        return None if value is None else check_keys(value)

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr | None) -> SecretStr | None:
        return check_password(value)

    @field_validator("hostname")
    @classmethod
    def _host_name(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value)


def ask_agent(ctx: VmContext[ConfigureGuestParams]) -> dict[str, Any]:
    """A running guest whose agent answers has the change."""
    vm = ctx.vm
    if vm.status not in ON:
        return {"answered": False}
    request = guest.GuestConfigure(uuid=str(vm.uuid), login=login_of(vm), change=_change(ctx))
    answered = ctx.agent.call(request).answered
    if not answered and not uses_seed(vm):
        raise WrongState(
            "The guest's agent does not answer. Shut the VM down first.", object="vm", id=vm.pk, state=vm.status
        )
    return {"answered": answered}


def change_seed_or_disk(ctx: VmContext[ConfigureGuestParams]) -> dict[str, Any]:
    """The guest has the change from its next start on, unless its agent has made it already."""
    answered = bool(ctx.output(ask_agent).get("answered"))
    if answered and not uses_seed(ctx.vm):
        return {"result": {"applied": "now"}}
    # What the agent has done is not done again: cloud-init repeats itself for an instance that is new to it.
    instance = None if answered else f"{ctx.vm.uuid}-{ctx.task.pk}"
    change_at_rest(ctx, _change(ctx), instance)
    if not answered and ctx.vm.status in ON:
        ctx.log("The guest's agent does not answer: the guest has the change when it is shut down and started.")
    return {"result": {"applied": "now" if answered else "at next start"}}


def change_at_rest(ctx: VmContext[Any], change: guest.GuestChange, instance_id: str | None = None) -> None:
    """The seed, or the disk of a VM whose image has no cloud-init, says what changes."""
    vm = ctx.vm
    if uses_seed(vm):
        restore_seed(ctx)
        if change.network is None and vm.interfaces.exists():
            # What it says of the network may be of before an interface was changed.
            change = replace(change, network=guest_network(vm))
        request = guest.SeedChange(vm.seed_ref, change=change, instance_id=instance_id)
        ctx.agent.call(request)
    elif vm.image is not None:
        refuse_drift(ctx.vm, ctx.agent, drift.own_disk)
        system = ctx.volumes()[0]
        ctx.agent.call(
            guest.VolumeReconfigure(system.ref, login_of(vm), change, format=system.format),
            deadline=CUSTOMIZE_SECONDS,
        )


def restore_seed(ctx: VmContext[Any]) -> None:
    """The guest has a seed, also where somebody deleted it: without it the VM does not start.

    What only the seed knew, password and keys, the guest has and keeps. Without an interface there is no identity
    to tell a guest of.
    """
    vm = ctx.vm
    if not (vm.installed and uses_seed(vm) and vm.interfaces.exists()):
        return
    identity = replace(guest_identity(vm, login_of(vm), password_hash="", ssh_keys=[]), keeps_password=True)
    ctx.agent.call(guest.SeedRestore(vm.seed_ref, instance_id=f"{vm.uuid}-{ctx.task.pk}", guest=identity))


def login_of(vm: Vm) -> str:
    """Whose password and keys the VM's guest was given."""
    return vm.image.login if vm.image else "root"


def _change(ctx: VmContext[ConfigureGuestParams]) -> guest.GuestChange:
    asked = ctx.params
    return guest.GuestChange(
        hostname=asked.hostname,
        password_hash=hash_of(asked.password) if asked.password else None,
        ssh_keys=asked.ssh_keys,
    )


AGENT_OR_IMAGE = requirement(
    "running, or of an image",
    lambda vm: vm.image is not None or vm.status in ON,
    "without an image",
    "The VM's image is not known any more: only a running guest's agent can be asked.",
)


class ConfigureGuest(Operation[ConfigureGuestParams]):
    """Set the password, ssh keys or host name of a guest.

    At once where its guest agent answers; else when it is started next, from its seed or, where the image has no
    cloud-init, its disk.
    """

    name = "vm.configure-guest"
    label = "Password and keys"
    requires = (NOT_ELSEWHERE, FINISHED, NOT_MISSING, NOT_IN_RESCUE, AGENT_OR_IMAGE)
    placed = True
    permission = "vms.change"
    params = ConfigureGuestParams
    context = VmContext
    # The password that a guest had is known to nobody, so there is no way back.
    on_failure = "stop"
    locks = (exclusive("vm"), shared("node"))
    steps = (
        Step(ask_agent, "Ask the guest's agent"),
        Step(change_seed_or_disk, "Change what the guest reads at its start", weight=2),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Configure the guest of VM {vm}", {"vm": ctx.task.object_name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse nothing to change, and a VM that is missing, in rescue mode, or of no known image."""
        if all(value is None for value in (ctx.params.password, ctx.params.ssh_keys, ctx.params.hostname)):
            raise MissingValue("Name a password, ssh keys or a host name.", field="password")
