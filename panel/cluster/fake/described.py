"""A description in memory becomes another, as nodeagent/xml/edit.py has it for libvirt's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

from nodeagent.protocol.host import DomainSpec
from nodeagent.protocol.settings import MachineSettings
from nodeagent.xml.domain import DISK_LIMITS
from nodeagent.xml.edit import SETTINGS

OF_SPEC = ("title", "memory_mib", "vcpus", "machine")


def changed_spec(there: DomainSpec, before: DomainSpec, after: DomainSpec, names: Collection[str]) -> DomainSpec:
    """What is there, with what has these names (of facts) from `after`; all else of it stays."""
    touched = {name.removesuffix(" limits") for name in names}
    disks = {each.target: each for each in there.disks}
    disks |= {each.target: each for each in after.disks if f"disk {each.target}" in names}
    disks |= {
        each.target: replace(disks[each.target], **{name: getattr(each, name) for name in DISK_LIMITS})
        for each in after.disks
        if f"disk {each.target} limits" in names
    }
    ports = {each.mac.lower(): each for each in there.interfaces}
    # Guards are no part of a description.
    ports |= {each.mac.lower(): each for each in after.interfaces if each.mac.lower() in ports}
    ports |= {each.mac.lower(): each for each in after.interfaces if f"interface {each.mac.lower()}" in touched}
    places, macs = [each.target for each in after.disks], [each.mac.lower() for each in after.interfaces]
    gone = {name for name in touched if name.partition(" ")[2] not in (*places, *macs)}
    spec = changed_settings(there, after, [name for name in touched if name != "boot"])
    if any(name.startswith("cdrom ") for name in touched):
        spec = replace(spec, cdroms=after.cdroms, iso=after.iso)
    if "boot" in touched:
        spec = replace(spec, boot_iso=after.boot_iso, settings=replace(spec.settings, boot=after.settings.boot))
    own = {name: getattr(after, name) for name in ("autostart", "ends_at_reboot") if _differ(before, after, name)}
    return replace(
        spec,
        disks=[disks[name] for name in _in_order(disks, places) if f"disk {name}" not in gone],
        interfaces=[ports[name] for name in _in_order(ports, macs) if f"interface {name}" not in gone],
        **own,
    )


def changed_settings(there: DomainSpec, after: DomainSpec, names: Collection[str]) -> DomainSpec:
    """What is there, with the settings of these names from `after`."""
    of_settings = {field.name for field in fields(MachineSettings)} & set(names) & set(SETTINGS)
    settings = replace(there.settings, **{name: getattr(after.settings, name) for name in of_settings})
    own = {name: getattr(after, name) for name in OF_SPEC if name in names}
    if own.keys() & {"memory_mib", "vcpus"}:
        # As far as they can grow is said by both together.
        most = ("max_memory_mib", "max_vcpus")
        settings = replace(settings, **{name: getattr(after.settings, name) for name in most})
    return replace(there, settings=settings, **own)


def _in_order(there: Collection[str], wanted: list[str]) -> list[str]:
    return [*[name for name in wanted if name in there], *[name for name in there if name not in wanted]]


def _differ(before: DomainSpec, after: DomainSpec, name: str) -> Any:
    return getattr(before, name) != getattr(after, name)
