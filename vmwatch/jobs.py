"""What libvirt has under way with domains that is no change of their state: backups, migrations, copies of disks.

Looked at now and then, in the collector's thread, since libvirt tells nobody when one begins. Nothing waits for a QEMU
that hangs.
"""

from __future__ import annotations

import re
from typing import Any, Dict

import libvirt

from vmwatch import wire

FREE = 0
"""VIR_DOMAIN_CONTROL_OK: no command waits for QEMU, which may hang; backups and migrations are none."""
_MIRROR = re.compile(r"<disk [^>]*>(?:(?!</disk>).)*<mirror[ >]", re.DOTALL)


def look(conn: Any) -> Dict[str, str]:
    """The domains with which something is under way, by their UUIDs, and what; raises libvirt.libvirtError."""
    found: Dict[str, str] = {}
    for domain in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            job = _of(domain)
        except libvirt.libvirtError:
            # It has ended, or this libvirt has no jobs.
            continue
        if job:
            found[domain.UUIDString()] = job
    return found


def _of(domain: Any) -> str:
    if domain.controlInfo()[0] == FREE:
        told = domain.jobStats()
        operation = told.get(libvirt.VIR_DOMAIN_JOB_OPERATION) if told.get("type") else None
        if operation == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
            return wire.MIGRATION
        if operation == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
            return wire.BACKUP
    return wire.BLOCK_JOB if _MIRROR.search(domain.XMLDesc()) else ""
