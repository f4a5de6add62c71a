"""What of a domain we compare: the same facts of what the panel wants and of what libvirt has.

libvirt adds much by itself (addresses, aliases, controllers, versions of machine types); none of
that is a fact.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from nodeagent.protocol.settings import Difference
from nodeagent.xml.builder import Element
from nodeagent.xml.domain import DISK_LIMITS, INTERFACE_LIMITS, Disk, Domain
from nodeagent.xml.machine import family, has_uefi

Facts = Dict[str, Any]

BOOT_KINDS = {"hd": "disk", "cdrom": "cdrom", "network": "network"}
DEFAULT_WEIGHTS = (100, 1024)
"""Of the two generations of cgroups; a running domain shows them where none was asked for."""


def facts_of(domain: Domain) -> Facts:
    """The facts by their names: those of vm.configure, and `disk vda`, `cdrom sda`, `interface 52:54:…`.

    One that is limited has its limits beside it, as `disk vda limits`.
    """
    most_mib = (domain.memory or 0) // 1024
    now_mib = most_mib if domain.current_memory is None else domain.current_memory // 1024
    most_vcpus = domain.vcpus or 1
    facts: Facts = {
        "name": domain.name or "",
        "title": domain.title or "",
        "description": domain.description or "",
        "memory_mib": now_mib,
        "max_memory_mib": most_mib,
        "vcpus": domain.vcpus_now or most_vcpus,
        "max_vcpus": most_vcpus,
        "cpu_weight": domain.cpu_shares or 0,
        "cpu_limit_percent": _percent(domain.cpu_quota, domain.cpu_period),
        "io_weight": domain.io_weight or 0,
        "cpu_mode": domain.cpu_mode or "",
        "cpu_model": (domain.cpu_model or "") if domain.cpu_mode == "custom" else "",
        "boot": _boot(domain),
        "machine": family(domain.machine),
        "firmware": "uefi" if has_uefi(domain) else "bios",
        "clock": domain.clock_offset or "utc",
    }
    for disk in domain.disks:
        name = f"{disk.device or 'disk'} {disk.target_dev}"
        facts |= {name: _disk(disk), **_limits(name, disk, DISK_LIMITS)}
    for interface in domain.interfaces:
        source = interface.bridge or interface.type
        name = f"interface {(interface.mac or '').lower()}"
        model = f"{source}, {interface.model or 'default model'}"
        facts |= {name: model, **_limits(name, interface, INTERFACE_LIMITS)}
    return facts


def drift(node: Facts, wanted: Facts) -> List[Difference]:
    """What the node's description says otherwise than the panel's."""
    return _differences(node, wanted)


def pending(running: Facts, persistent: Facts) -> List[Difference]:
    """What a running domain becomes with its next start."""
    return [each for each in _differences(running, persistent) if not _is_the_same_running(each)]


def _is_the_same_running(each: Difference) -> bool:
    # What the guest ejected comes back with the next start; a host's model is spelt out while it runs.
    return (
        each.field.startswith("cdrom ")
        or (each.field == "cpu_weight" and each.then == 0 and each.now in DEFAULT_WEIGHTS)
        or (each.field == "cpu_mode" and (each.now, each.then) == ("custom", "host-model"))
        or (each.field == "cpu_model" and each.then == "")
    )


def _differences(now: Facts, then: Facts) -> List[Difference]:
    names = [*then, *(name for name in now if name not in then)]
    return [Difference(name, now.get(name), then.get(name)) for name in names if now.get(name) != then.get(name)]


def _percent(quota: Optional[int], period: Optional[int]) -> int:
    if not quota or quota < 0 or not period:
        return 0
    return round(quota * 100 / period)


def _disk(disk: Disk) -> str:
    source = place_of(disk)
    if disk.device == "cdrom":
        return source
    return ", ".join([source, disk.target_bus or "", disk.driver_type or "raw", f"cache {disk.cache or 'default'}"])


def _limits(name: str, device: Element, limits: Sequence[str]) -> Facts:
    found = [f"{limit} {value}" for limit in limits if (value := getattr(device, limit))]
    return {f"{name} limits": ", ".join(found)} if found else {}


def place_of(disk: Disk) -> str:
    """Where its content is; "" for nothing."""
    return disk.source.place if disk.source else ""


def _boot(domain: Domain) -> List[str]:
    devices = [(disk.boot_order, disk.device or "disk") for disk in domain.disks]
    devices += [(interface.boot_order, "network") for interface in domain.interfaces]
    kinds = [kind for _number, kind in sorted((number, kind) for number, kind in devices if number)]
    if not kinds:
        kinds = [BOOT_KINDS.get(boot.dev or "", boot.dev or "") for boot in domain.os_boots]
    # What libvirt does where nothing is said.
    return list(dict.fromkeys(kinds)) or ["disk"]
