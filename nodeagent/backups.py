"""A backup that is being made of a running domain: the panel's own copying of its disks, or somebody's by hand."""

from __future__ import annotations

from typing import Any, List, Optional

from nodeagent import libvirtd
from nodeagent.xml.backup import Backup

PARTIAL = ".part"
"""What the names of our own copies end with while they are made."""


def targets(domain: Any) -> Optional[List[Optional[str]]]:
    """Where the backup goes that is being made of the domain; None when none is."""
    if not hasattr(domain, "backupGetXMLDesc"):
        return None
    libvirt = libvirtd.bindings()
    try:
        told = domain.backupGetXMLDesc()
    except libvirt.libvirtError as error:
        none = (libvirt.VIR_ERR_NO_DOMAIN_BACKUP, libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_SUPPORT)
        if error.get_error_code() not in none:
            raise
        return None
    return [disk.target_file for disk in Backup.parse(told).disks]


def by_hand(domain: Any) -> bool:
    """Whether somebody else makes a backup of the domain (virsh backup-begin, or a backup program)."""
    found = targets(domain)
    return found is not None and not any(each and each.endswith(PARTIAL) for each in found)
