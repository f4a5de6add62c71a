"""The form of a VM's settings: which fields there are, with their values and choices."""

from __future__ import annotations

from typing import Any

from panel.vms.machine import Clock, CpuMode, Firmware, MachineType
from panel.vms.models import Vm

NUMBERS = (
    (("memory_mib", "Memory (MiB)"), ("max_memory_mib", "Memory it can grow to while it runs (MiB)")),
    (("vcpus", "CPUs"), ("max_vcpus", "CPUs it can have while it runs")),
    (("cpu_weight", "CPU weight"), ("cpu_limit_percent", "CPU limit (percent of one CPU)")),
    (("io_weight", "I/O weight"),),
)
ORDERS = ("disk", "cdrom\ndisk", "disk\nnetwork", "network\ndisk", "cdrom\ndisk\nnetwork")


def numbers(vm: Vm) -> list[list[dict[str, Any]]]:
    """The fields with a number, in pairs."""
    return [[{"name": name, "label": label, "value": getattr(vm, name)} for name, label in pair] for pair in NUMBERS]


def choices(vm: Vm) -> list[list[dict[str, Any]]]:
    """The fields with a choice, in pairs."""
    order = "\n".join(vm.boot_order)
    orders = [(each, each.replace("\n", ", then ")) for each in dict.fromkeys((*ORDERS, order))]
    modes = {"name": "cpu_mode", "label": "CPU", "value": vm.cpu_mode, "options": CpuMode.choices}
    boot = {"name": "boot_order", "label": "Boot from", "value": order, "options": orders, "list": True}
    machine = {"name": "machine", "label": "Machine type", "value": vm.machine, "options": MachineType.choices}
    firmware = {"name": "firmware", "label": "Firmware", "value": vm.firmware, "options": Firmware.choices}
    clock = {"name": "clock", "label": "Clock", "value": vm.clock, "options": Clock.choices}
    return [[modes, boot], [machine, firmware], [clock]]
