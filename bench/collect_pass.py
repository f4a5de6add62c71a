"""Times one pass over the statistics of many domains: vmwatch's bulk call, and a loop of calls for each domain.

Runs on a node with the system's Python and its libvirt; argument 1: how many domains, each a real QEMU that
is paused, with one disk and one interface. Both ways must bring the counters of all of them.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time
import uuid

import libvirt

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from vmwatch import stats

PASSES = 5
DOMAIN = (
    "<domain type='qemu'><name>collect{0}</name><uuid>{1}</uuid><memory unit='MiB'>16</memory>"
    "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{2}/{0}.img'/>"
    "<target dev='vda' bus='virtio'/></disk>"
    "<interface type='ethernet'><target dev='bench{0}'/><model type='virtio'/></interface></devices></domain>"
)


def bulk(conn):
    """vmwatch's pass; how many domains it brought with a disk and an interface."""
    return sum(1 for each in stats.collect(conn) if each.disks and each.interfaces)


def loop(conn):
    """The same counters by calls for each domain."""
    count = 0
    for domain in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        number = domain.name()[len("collect") :]
        domain.info()
        domain.memoryStats()
        domain.blockStats("vda")
        domain.interfaceStats(f"bench{number}")
        count += 1
    return count


def daemon_seconds():
    """CPU time of libvirtd so far."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text(encoding="ascii").strip() == "libvirtd":
                fields = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
                # proc(5): utime and stime are the 14th and 15th field.
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    raise SystemExit("there is no libvirtd")


def timed(function, conn, count):
    """Mean wall time and CPU time (ours and libvirtd's) of a pass, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time() + daemon_seconds()
    for _ in range(PASSES):
        assert function(conn) == count, "a pass did not bring every counter"
    return (time.perf_counter() - wall) / PASSES, (time.process_time() + daemon_seconds() - cpu) / PASSES


def main():
    """Make the domains, measure, and remove them."""
    count = int(sys.argv[1])
    conn = libvirt.open("qemu:///system")
    domains = []
    with tempfile.TemporaryDirectory(dir="/var/lib/libvirt") as folder:
        try:
            for number in range(count):
                with open(f"{folder}/{number}.img", "wb") as image:
                    image.truncate(1 << 20)
                xml = DOMAIN.format(number, uuid.uuid4(), folder)
                domains.append(conn.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED))
            one, many = timed(bulk, conn, count), timed(loop, conn, count)
        finally:
            for domain in domains:
                domain.destroy()
    print(f"collecting the statistics of {count} real domains, mean of {PASSES} passes; CPU is ours and libvirtd's")
    print(f"  floor: a loop of calls   {many[0] * 1000:8.1f} ms, {many[1] * 1000:8.1f} ms of CPU")
    print(f"  the bulk call            {one[0] * 1000:8.1f} ms, {one[1] * 1000:8.1f} ms of CPU")
    ratios = many[0] / one[0], many[1] / max(one[1], 1e-9)
    verdict = "met" if min(ratios) >= 5 else "MISSED"
    print(f"  {ratios[0]:.1f} times less time, {ratios[1]:.1f} times less CPU; aim 5: {verdict}")


if __name__ == "__main__":
    main()
