"""What somebody else has under way with a running domain, and libvirt changes little beside."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from nodeagent import backups, libvirtd
from nodeagent.protocol import host

FREE = 0
"""VIR_DOMAIN_CONTROL_OK: no command waits for QEMU, which may hang; backups and migrations are none."""


def by_hand(domain: Any) -> str:
    """One of host.JOBS: a backup that is not ours, a migration, a copy or commit of one of its disks; "" for none.

    Where a task of the panel moves the domain or copies its disks, nobody asks meanwhile.
    """
    libvirt = libvirtd.bindings()
    if not domain.isActive():
        return ""
    if backups.by_hand(domain):
        return host.BACKUP
    try:
        return _moved(domain) or _copied(domain)
    except libvirt.libvirtError as error:
        # The test driver has no jobs; a domain that has ended meanwhile has none either.
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID):
            raise
        return ""


def _moved(domain: Any) -> str:
    libvirt = libvirtd.bindings()
    if domain.controlInfo()[0] != FREE:
        return ""
    told = domain.jobStats()
    operation = told.get(libvirt.VIR_DOMAIN_JOB_OPERATION) if told.get("type") else None
    return host.MIGRATION if operation == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT else ""


def _copied(domain: Any) -> str:
    return host.BLOCK_JOB if ET.fromstring(domain.XMLDesc(0)).find("./devices/disk/mirror") is not None else ""
