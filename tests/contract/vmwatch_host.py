"""A program: the real vmwatch-node, and in the same process a hand that changes libvirt's test driver.

The test driver's domains live in one process, so what changes them must be in vmwatch-node's; with --hand
it is the hand alone, for domains that a libvirtd has. Reads commands from stdin, a line each: define NAME UUID,
create|suspend|resume|destroy|undefine|save|discard NAME, lose, storm NAME COUNT, and happen NAME WHAT for what
the test driver does not do by itself (one of HAPPENINGS).
Runs with the system's Python and its libvirt; imports the package under test from PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
import threading
from xml.sax.saxutils import quoteattr

import libvirt

from vmwatch import libvirt_events, node

URI = os.environ["VMPANEL_LIBVIRT_URI"]
watchers = []
# What libvirt calls, and with what, between the domain and the last argument.
HAPPENINGS = {
    "reboot": ("_rebooted", ()),
    "io-error": ("_io_error", ("/pool/7.qcow2", "ua-root", libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE, "enospc")),
    "watchdog": ("_watchdog", (libvirt.VIR_DOMAIN_EVENT_WATCHDOG_RESET,)),
    "block-job": ("_block_job", ("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY, libvirt.VIR_DOMAIN_BLOCK_JOB_READY)),
    "iteration": ("_iteration", (3,)),
    "agent": ("_agent", (libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED, 1)),
    "arrive": ("_lifecycle", (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED)),
}


class Watcher(libvirt_events.Watcher):
    """Remembered, so that its connection can be lost on command: the test driver never loses one."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        watchers.append(self)


def obey() -> None:
    """Carry out the commands; says done after each."""
    conn = libvirt.open(URI)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "define":
            name, uuid = rest
            conn.defineXML(
                f"<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>1024</memory>"
                f"<os><type>hvm</type></os><description>{quoteattr(name)}</description>"
                "<devices><disk type='file'><source file='/pool/7.qcow2'/><target dev='vda'/>"
                "<alias name='ua-root'/></disk></devices></domain>"
            )
        elif word == "save":
            conn.lookupByName(rest[0]).managedSave(0)
        elif word == "discard":
            conn.lookupByName(rest[0]).managedSaveRemove(0)
        elif word == "happen":
            function, arguments = HAPPENINGS[rest[1]]
            getattr(watchers[0], function)(None, conn.lookupByName(rest[0]), *arguments, None)
        elif word == "storm":
            domain = conn.lookupByName(rest[0])
            for number in range(int(rest[1])):
                (domain.resume if number % 2 else domain.suspend)()
        elif word == "lose":
            watchers[0]._closed(None, libvirt.VIR_CONNECT_CLOSE_REASON_EOF, None)
        else:
            getattr(conn.lookupByName(rest[0]), word)()
        print("done", flush=True)


if __name__ == "__main__":
    if "--hand" in sys.argv:
        sys.exit(obey())
    node.Watcher = Watcher
    threading.Thread(target=obey, daemon=True).start()
    sys.exit(node.main())
