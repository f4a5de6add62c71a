"""How a VM's machine is built and what it may take: columns of Vm (models.py), and what is known of their effect."""

from __future__ import annotations

from typing import Any

from django.db import models

from panel.core.rows import QuickModel

LARGEST_KIBPS = 1024**3
"""What an interface may be limited to at most, in KiB a second."""
SPEEDS = ("inbound_kibps", "outbound_kibps")
"""An interface's limits, which operations on the VM itself take for its first one."""


class CpuMode(models.TextChoices):
    """Which CPU the guest sees."""

    DEFAULT = "", "What suits the node"
    HOST_MODEL = "host-model", "The host's model"
    HOST_PASSTHROUGH = "host-passthrough", "The host's CPU itself"
    MAXIMUM = "maximum", "All that QEMU can do"
    CUSTOM = "custom", "A named model"


class MachineType(models.TextChoices):
    """The chipset that QEMU shows."""

    Q35 = "q35", "Q35 (PCI Express)"
    PC = "pc", "i440FX"


class Firmware(models.TextChoices):
    """What starts the guest."""

    BIOS = "bios", "BIOS"
    UEFI = "uefi", "UEFI"


class Clock(models.TextChoices):
    """What the guest reads from its clock."""

    UTC = "utc", "UTC"
    LOCALTIME = "localtime", "The node's local time"


class BootDevice(models.TextChoices):
    """Kinds of device to boot from."""

    DISK = "disk", "Disks"
    CDROM = "cdrom", "CD-ROMs"
    NETWORK = "network", "Network"


def boot_from_disk() -> list[str]:
    """The usual order."""
    return [BootDevice.DISK.value]


class Machine(QuickModel):
    """The part of a VM that vm.configure changes, besides its memory and CPUs. 0 is no limit, or no more than now.

    `pending` are the differences of the running domain that its next start takes away ({field, now, then});
    `drift` those of its description on the node from what the panel wants ({field, node, stored}).
    """

    title = models.CharField(max_length=128, blank=True)
    description = models.TextField(max_length=4000, blank=True)
    max_memory_mib = models.PositiveIntegerField(default=0, help_text="How far memory can grow while it runs.")
    max_vcpus = models.PositiveIntegerField(default=0, help_text="How many CPUs it can have while it runs.")
    cpu_weight = models.PositiveIntegerField(default=0, help_text="Share of the CPUs beside other VMs.")
    cpu_limit_percent = models.PositiveIntegerField(default=0, help_text="Of one CPU, for the whole VM.")
    io_weight = models.PositiveIntegerField(default=0, help_text="Share of the disks beside other VMs.")
    cpu_mode = models.CharField(max_length=16, choices=CpuMode.choices, default=CpuMode.DEFAULT, blank=True)
    cpu_model = models.CharField(max_length=64, blank=True, help_text="The named model of the mode “custom”.")
    boot_order = models.JSONField(default=boot_from_disk)
    machine = models.CharField(max_length=8, choices=MachineType.choices, default=MachineType.Q35)
    firmware = models.CharField(max_length=8, choices=Firmware.choices, default=Firmware.BIOS)
    clock = models.CharField(max_length=16, choices=Clock.choices, default=Clock.UTC)

    pending = models.JSONField(default=list, blank=True)
    drift = models.JSONField(default=list, blank=True)
    drift_seen_at = models.DateTimeField(null=True, help_text="When it was last compared with its node.")

    class Meta:
        abstract = True


SETTINGS = (
    "memory_mib",
    "vcpus",
    "title",
    "description",
    "max_memory_mib",
    "max_vcpus",
    "cpu_weight",
    "cpu_limit_percent",
    "io_weight",
    "cpu_mode",
    "cpu_model",
    "boot_order",
    "machine",
    "firmware",
    "clock",
)
"""The columns that vm.configure changes and vm.adopt may take over."""

FACT_OF = {"boot_order": "boot"}
"""Names that a comparison with the node has for them, where they differ."""


FACTS = frozenset(FACT_OF.get(name, name) for name in SETTINGS)
"""The settings by the names that a comparison has for them."""


def may_adopt(drift: list[dict[str, Any]]) -> bool:
    """Whether the panel can take over any of these differences: devices, the name and being defined stay its own."""
    return any(each["field"] in FACTS for each in drift)


def settings_of(vm: Any) -> dict[str, Any]:
    """The settings of a VM by their names."""
    return {name: getattr(vm, name) for name in SETTINGS}
