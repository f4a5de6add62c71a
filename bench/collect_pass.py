"""Times one pass over the statistics of many domains: vmwatch's bulk call, and a loop of calls for each domain.

Runs with the system's Python and its libvirt; argument 1: how many domains. They are those of libvirt's test
driver behind a libvirtd, so that every call is a message to another process, as it is on a node.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import uuid

import libvirt

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from vmwatch import stats

PASSES = 5
DOMAIN = (
    "<domain type='test'><name>d{0}</name><uuid>{1}</uuid><memory>1024</memory><os><type>hvm</type></os>"
    "<devices><disk type='file' device='disk'><source file='/d{0}'/><target dev='vda'/></disk>"
    "<interface type='network'><source network='default'/><target dev='vnet0'/></interface></devices></domain>"
)


def loop(conn):
    """What a collector without the bulk call does: several calls a domain."""
    for domain in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        domain.info()
        domain.maxMemory()
        for call in (domain.blockStats, domain.interfaceStats):
            # The test driver's own first domain has neither.
            with contextlib.suppress(libvirt.libvirtError):
                call("vda" if call == domain.blockStats else "vnet0")


def timed(function, conn):
    """The least wall time and CPU time of some passes, in seconds."""
    best = (9e9, 9e9)
    for _ in range(PASSES):
        wall, cpu = time.perf_counter(), time.process_time()
        function(conn)
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu))
    return best


def main():
    """Start a libvirtd, make the domains, measure."""
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        conf = pathlib.Path(folder) / "libvirtd.conf"
        conf.write_text(f'unix_sock_dir = "{folder}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n', encoding="ascii")
        # Its own /run, so that it has nothing to do with a libvirtd of this machine.
        start = 'mount -t tmpfs none /run && exec libvirtd --config "$1" --pid-file "$2"'
        argv = ["unshare", "--mount", "sh", "-c", start, "sh", str(conf), f"{folder}/pid"]
        daemon = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        try:
            path = f"{folder}/libvirt-sock"
            until = time.monotonic() + 20
            while not os.path.exists(path) and time.monotonic() < until:
                time.sleep(0.05)
            libvirt.registerErrorHandler(lambda *_: None, None)
            conn = libvirt.open(f"test+unix:///default?socket={path}")
            for number in range(count - 1):
                conn.createXML(DOMAIN.format(number, uuid.uuid4()), 0)
            bulk, single = timed(stats.collect, conn), timed(loop, conn)
            print(f"collecting the statistics of {len(stats.collect(conn))} domains, best of {PASSES} passes")
            print(f"  floor: a loop of calls   {single[0] * 1000:8.1f} ms, {single[1] * 1000:8.1f} ms of CPU")
            print(f"  the bulk call            {bulk[0] * 1000:8.1f} ms, {bulk[1] * 1000:8.1f} ms of CPU")
            ratios = single[0] / bulk[0], single[1] / bulk[1]
            verdict = "met" if min(ratios) >= 5 else "MISSED"
            print(f"  {ratios[0]:.1f} times less time, {ratios[1]:.1f} times less CPU; aim 5: {verdict}")
        finally:
            daemon.terminate()
            daemon.wait(20)


if __name__ == "__main__":
    main()
