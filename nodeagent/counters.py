"""What a running domain has counted, read before it ends: libvirt forgets it then.

Nothing here asks QEMU, which may hang when it is to be ended: libvirt reads these by itself.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional

from nodeagent import libvirtd
from nodeagent.job import Job
from nodeagent.protocol import host

SHUTDOWN, PAUSED = 4, 3
"""virDomainState: on its way off, which its guest is already; halted."""


def read(domain: Any, job: Job, *, ends_now: bool = False) -> Optional[host.LastCounters]:
    """The domain's counters; None when it does not run any more, or libvirt does not say.

    They are final when nothing happens after them: its CPUs stand still, or whoever asks ends it next (`ends_now`).
    """
    libvirt = libvirtd.bindings()
    what = libvirt.VIR_DOMAIN_STATS_CPU_TOTAL | libvirt.VIR_DOMAIN_STATS_INTERFACE
    clock, after = time.monotonic(), job.lasted
    try:
        still = domain.state()[0] in (SHUTDOWN, PAUSED)
        told = domain.connect().domainListGetStats([domain], what)
        run = domain.ID()
    except libvirt.libvirtError:
        return None
    if run < 0 or not told:
        return None
    found = told[0][1]
    interfaces = _interfaces(found)
    if any(each.tx_bytes is None for each in interfaces or ()):
        # They are gone already: what was read before is the last.
        return None
    return host.LastCounters(
        uuid=domain.UUIDString(),
        run=run,
        final=still or ends_now,
        after=after,
        clock=clock,
        boot=libvirtd.boot_id(),
        cpu_ns=found.get("cpu.time"),
        interfaces=interfaces,
    )


def _interfaces(found: Dict[str, Any]) -> Optional[List[host.InterfaceCounts]]:
    if "net.count" not in found:
        return None
    counted = ("rx.bytes", "rx.pkts", "tx.bytes", "tx.pkts")
    return [
        host.InterfaceCounts(str(found.get(f"{each}.name", "")), *(found.get(f"{each}.{name}") for name in counted))
        for each in (f"net.{number}" for number in range(found["net.count"]))
    ]
