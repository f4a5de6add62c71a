"""A description that is there becomes another: only what the panel changes, all else of it survives.

What an administrator or libvirt has put into it is none of the panel's: pinning, tuning, devices, overlays. Where he
changed what is to be changed now, nothing is done (refuse()); whose word counts is for a person to say.
"""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import Any, Dict, List, Optional, Sequence

from nodeagent.errors import Drifted
from nodeagent.protocol.host import DomainSpec
from nodeagent.protocol.settings import Difference, MachineSettings
from nodeagent.xml import machine
from nodeagent.xml.builder import Element
from nodeagent.xml.describe import domain_of, port_name
from nodeagent.xml.domain import DISK_LIMITS, INTERFACE_LIMITS, Disk, Domain, Interface
from nodeagent.xml.facts import Facts, facts_of, place_of

SIZES = ("title", "description", "memory_mib", "max_memory_mib", "vcpus", "max_vcpus")
SHARES = ("cpu_weight", "cpu_limit_percent", "io_weight")
SYSTEM = ("machine", "firmware")
CPU = ("cpu_mode", "cpu_model")
SETTINGS = (*SIZES, *SHARES, *SYSTEM, *CPU, "clock", "boot")
DEVICES = ("disk ", "cdrom ", "interface ")
LIMITS = " limits"


def touched(before: DomainSpec, after: DomainSpec) -> List[str]:
    """The facts, by their names (facts.py), in which the two differ."""
    was, then = facts_of(domain_of(before)), facts_of(domain_of(after))
    return [name for name in {**was, **then} if was.get(name) != then.get(name)]


def refuse(now: Facts, before: DomainSpec, after: DomainSpec, names: Sequence[str]) -> None:
    """Raise Drifted where the node has something else than was, and than shall be, in what changes."""
    was, then = facts_of(domain_of(before)), facts_of(domain_of(after))
    # What lies in a drive is nobody's work that could be lost.
    names = [name for name in names if not name.startswith("cdrom ")]
    theirs = [name for name in names if now.get(name) not in (was.get(name), then.get(name))]
    if theirs:
        raise drifted([Difference(name, now.get(name), was.get(name)) for name in theirs])


def drifted(found: Sequence[Difference]) -> Drifted:
    """The error that names the differences: what the node has, and what the panel believed."""
    told = [{"field": each.field, "node": each.now, "stored": each.then} for each in found]
    names = ", ".join(each.field for each in found)
    return Drifted(f"Its description was changed by hand ({names}).", differences=told)


def change(domain: Domain, after: DomainSpec, before: Optional[DomainSpec] = None) -> None:
    """The description has what changes from `before` to `after`; from whatever it says, where that is None.

    Raises Drifted before anything is changed.
    """
    now = facts_of(domain)
    if before is None:
        then = facts_of(domain_of(after))
        names = [name for name in {**now, **then} if now.get(name) != then.get(name)]
    else:
        names = touched(before, after)
        refuse(now, before, after, names)
    change_settings(domain, after, now, [name for name in names if name != "boot"])
    _change_devices(domain, after, names)
    if "boot" in names or any(name.startswith(DEVICES) for name in names):
        _set_boot(domain, after, now, names)
    if before is None or before.ends_at_reboot != after.ends_at_reboot:
        domain.on_reboot = "destroy" if after.ends_at_reboot else "restart"
    for interface in after.interfaces:
        # An anti-spoofing filter knows a port by the name that is described; a domain that was imported has none.
        if interface.guarded and (found := find_interface(domain, interface.mac)) is not None:
            found.target_dev = port_name(interface.mac)


def change_settings(domain: Domain, after: DomainSpec, now: Facts, names: Sequence[str]) -> None:
    """The settings of these names are as in `after`; of the others what was described stays."""
    changes = set(names)
    spec = _keeping(after, now, changes)
    if "machine" in changes and machine.family(domain.machine) != machine.family(spec.machine):
        machine.forget_places(domain)
    if changes & {*SIZES, *SHARES}:
        machine.set_sizes(domain, spec)
    if changes & set(SYSTEM):
        machine.set_system(domain, spec)
    if changes & set(CPU):
        machine.set_cpu(domain, spec)
    if "clock" in changes:
        machine.set_clock(domain, spec)
    if "boot" in changes:
        machine.set_boot(domain, spec)


def find_interface(domain: Domain, mac: Optional[str]) -> Optional[Interface]:
    """The interface with this MAC address."""
    return next((each for each in domain.interfaces if (each.mac or "").lower() == (mac or "").lower()), None)


def _keeping(after: DomainSpec, now: Facts, changes: set[str]) -> DomainSpec:
    """The spec with what is described, in all settings that do not change."""
    kept = {name: now[name] for name in SETTINGS if name not in changes and name != "boot"}
    of_settings = {field.name for field in fields(MachineSettings)}
    settings = replace(after.settings, **{name: value for name, value in kept.items() if name in of_settings})
    own: Dict[str, Any] = {name: kept[name] for name in ("title", "memory_mib", "vcpus", "machine") if name in kept}
    return replace(after, settings=settings, **own)


def _set_boot(domain: Domain, after: DomainSpec, now: Facts, names: Sequence[str]) -> None:
    """What may be booted from has its number, unless somebody else gave numbers of his own."""
    if "boot" in names or now["boot"] == facts_of(domain_of(after))["boot"]:
        machine.set_boot(domain, after)


def _change_devices(domain: Domain, after: DomainSpec, names: Sequence[str]) -> None:
    wanted = _devices(domain_of(after))
    devices = [name for name in names if name.startswith(DEVICES)]
    whole = [name for name in devices if not name.endswith(LIMITS)]
    limited = [name[: -len(LIMITS)] for name in devices if name.endswith(LIMITS)]
    for name in limited:
        there, new = _devices(domain).get(name), wanted.get(name)
        if there is not None and new is not None:
            _set_limits(there, new)
    for name in whole:
        there, new = _devices(domain).get(name), wanted.get(name)
        if there is not None and (new is None or not _become(there, new)):
            _parent(domain).remove(there.node)
            there = None
        if there is None and new is not None:
            _add(domain, new)


def _devices(domain: Domain) -> Dict[str, Element]:
    """The disks, drives and interfaces, by the names of their facts."""
    found: Dict[str, Element] = {f"{each.device or 'disk'} {each.target_dev}": each for each in domain.disks}
    found.update({f"interface {(each.mac or '').lower()}": each for each in domain.interfaces})
    return found


def _become(there: Element, new: Element) -> bool:
    """Have what is described be as the new one, as far as it can stay; false for one of another kind or place."""
    if isinstance(there, Interface) and isinstance(new, Interface):
        if (there.type, there.model) != (new.type, new.model):
            return False
        there.bridge = new.bridge
        return True
    if isinstance(there, Disk) and isinstance(new, Disk):
        if (there.type, there.target_bus, there.device or "disk") != (new.type, new.target_bus, new.device):
            return False
        there.driver_type = new.driver_type
        if place_of(there) != place_of(new):
            _forget_source(there)
            there.source = new.source
        if there.device != "cdrom":
            there.cache = new.cache
        return True
    return False


def _set_limits(there: Element, new: Element) -> None:
    names = INTERFACE_LIMITS if isinstance(there, Interface) else DISK_LIMITS
    there.set(**{name: getattr(new, name) for name in names})


def _forget_source(disk: Disk) -> None:
    """Nothing of the file that it had before: neither what it builds upon nor how it was opened."""
    for tag in ("source", "backingStore", "mirror"):
        for node in disk.node.findall(tag):
            disk.node.remove(node)


def _add(domain: Domain, new: Element) -> None:
    node = copy.deepcopy(new.node)
    for boot in node.findall("boot"):
        node.remove(boot)
    if isinstance(new, Disk) and new.target_bus == "scsi" and all(each.type != "scsi" for each in domain.controllers):
        domain.controllers.add(type="scsi", model="virtio-scsi")
    _parent(domain).append(node)


def _parent(domain: Domain) -> Any:
    devices = domain.node.find("devices")
    assert devices is not None
    return devices
