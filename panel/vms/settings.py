"""A VM's settings as they are asked for: the same in vm.create, vm.clone and vm.configure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import InvalidValue, MissingValue
from panel.core.validation import Params
from panel.core.wording import Text
from panel.images.selectors import flavor_named
from panel.vms.machine import BootDevice, Clock, CpuMode, Firmware, MachineType, settings_of
from panel.vms.models import Vm

CPU_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
NEED_A_RIGHT = frozenset(
    {"max_memory_mib", "max_vcpus", "cpu_weight", "cpu_limit_percent", "io_weight", "cpu_mode", "cpu_model"}
)
"""Settings of a VM that is yet to be made which whoever may make it does not choose by that alone."""
OF_THE_HOST = (CpuMode.HOST_MODEL, CpuMode.HOST_PASSTHROUGH)
"""Modes in which the guest has the host's own CPU, which a node that emulates cannot pass on."""


class Settings(Params):
    """Those that are named; others are as they were, or as usual. 0 is no limit."""

    flavor: str | None = Field(default=None, max_length=64, description="Name of a flavor, for its memory and CPUs.")
    memory_mib: int | None = Field(default=None, ge=64, le=4 * 1024 * 1024)
    max_memory_mib: int | None = Field(
        default=None, ge=0, le=4 * 1024 * 1024, description="How far memory can grow while it runs; 0: no farther."
    )
    vcpus: int | None = Field(default=None, ge=1, le=512)
    max_vcpus: int | None = Field(
        default=None, ge=0, le=512, description="How many CPUs it can have while it runs; 0: no more."
    )
    cpu_weight: int | None = Field(
        default=None, ge=0, le=262144, description="Share of the CPUs beside other VMs, 2 to 262144; 0: the usual."
    )
    cpu_limit_percent: int | None = Field(
        default=None, ge=0, le=51200, description="Percent of one CPU for the whole VM; 0: no limit."
    )
    io_weight: int | None = Field(
        default=None, ge=0, le=1000, description="Share of the disks beside other VMs, 100 to 1000; 0: the usual."
    )
    cpu_mode: CpuMode | None = Field(default=None, description="Empty: what suits the node.")
    cpu_model: str | None = Field(default=None, max_length=64, description="The model, with cpu_mode “custom”.")
    boot_order: list[BootDevice] | None = Field(default=None, min_length=1, max_length=3)
    machine: MachineType | None = None
    firmware: Firmware | None = None
    clock: Clock | None = None
    title: str | None = Field(default=None, max_length=128)
    description: str | None = Field(default=None, max_length=4000)

    @field_validator("cpu_weight")
    @classmethod
    def _cpu_weight(cls, value: int | None) -> int | None:
        if value == 1:
            raise ValueError("must be 0, or 2 to 262144")
        return value

    @field_validator("cpu_limit_percent")
    @classmethod
    def _cpu_limit(cls, value: int | None) -> int | None:
        if value is not None and 0 < value < 5:
            raise ValueError("must be 0, or at least 5")
        return value

    @field_validator("io_weight")
    @classmethod
    def _io_weight(cls, value: int | None) -> int | None:
        if value is not None and 0 < value < 100:
            raise ValueError("must be 0, or 100 to 1000")
        return value

    @field_validator("cpu_model")
    @classmethod
    def _cpu_model(cls, value: str | None) -> str | None:
        if value and not CPU_MODEL.match(value):
            raise ValueError("must be the name of a CPU model, such as qemu64 or Skylake-Server")
        return value

    @field_validator("boot_order")
    @classmethod
    def _boot_order(cls, value: list[BootDevice] | None) -> list[BootDevice] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("must name each kind of device once")
        return value

    def asked(self) -> dict[str, Any]:
        """The values of those that are named, by the VM's columns; raises NotFound for an unknown flavor."""
        named = self.model_dump(mode="json", exclude_none=True, include=set(Settings.model_fields))
        if (name := named.pop("flavor", None)) is not None:
            flavor = flavor_named(name)
            named = {"memory_mib": flavor.memory_mib, "vcpus": flavor.vcpus, **named}
        if named.get("cpu_mode", CpuMode.CUSTOM) != CpuMode.CUSTOM:
            named["cpu_model"] = ""
        return named


def require_rights(viewer: User, asked: Mapping[str, Any], like: Vm) -> None:
    """Raise AccessDenied for settings other than those of `like` that need the right to change a VM's.

    Whoever may make VMs chooses their sizes, which are limited, and what the guest sees; not its share of the node.
    """
    now = settings_of(like)
    if any(asked[name] != now[name] for name in NEED_A_RIGHT & asked.keys()):
        permissions.require(viewer, "vms.configure")


def check_settings(wanted: Vm, changes: Mapping[str, Any]) -> None:
    """Refuse settings that contradict each other or the image, before anything is touched.

    `wanted` is the VM with all its settings, `changes` those that are asked for. Raises InvalidValue, MissingValue.
    """
    image = wanted.image
    if image is not None and "memory_mib" in changes and wanted.memory_mib < image.min_memory_mib:
        raise InvalidValue(
            Text(
                "“{image}” needs at least {memory_mib} MiB of memory.",
                {"image": image.title, "memory_mib": image.min_memory_mib},
            ),
            field="memory_mib",
            minimum=image.min_memory_mib,
        )
    for most, now in (("max_memory_mib", "memory_mib"), ("max_vcpus", "vcpus")):
        if 0 < getattr(wanted, most) < getattr(wanted, now):
            raise InvalidValue(
                Text(
                    "“{most}” must not be less than “{now}” ({value}), or 0.",
                    {"most": most, "now": now, "value": getattr(wanted, now)},
                ),
                field=most if most in changes else now,
            )
    if wanted.cpu_mode == CpuMode.CUSTOM and not wanted.cpu_model:
        raise MissingValue("“cpu_model” is required with the mode “custom”.", field="cpu_model")
    if wanted.cpu_model and wanted.cpu_mode != CpuMode.CUSTOM:
        raise InvalidValue("A CPU model goes with the mode “custom”.", field="cpu_model")


def emulates() -> InvalidValue:
    """The refusal of a host's CPU where the node emulates it."""
    return InvalidValue("The VM's node emulates CPUs; it cannot pass the host's on.", field="cpu_mode")
