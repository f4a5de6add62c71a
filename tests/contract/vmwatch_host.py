"""A program: the real vmwatch-node, and in the same process a hand that changes libvirt's test driver.

The test driver's domains live in one process, so what changes them must be in vmwatch-node's. Reads
commands from stdin, a line each: define NAME UUID, create|suspend|resume|destroy|undefine NAME, lose.
Runs with the system's Python and its libvirt; imports the package under test from PYTHONPATH.
"""

from __future__ import annotations

import sys
import threading
from xml.sax.saxutils import quoteattr

import libvirt

from vmwatch import libvirt_events, node

URI = "test:///default"
watchers = []


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
                f"<os><type>hvm</type></os><description>{quoteattr(name)}</description></domain>"
            )
        elif word == "lose":
            watchers[0]._closed(None, libvirt.VIR_CONNECT_CLOSE_REASON_EOF, None)
        else:
            getattr(conn.lookupByName(rest[0]), word)()
        print("done", flush=True)


if __name__ == "__main__":
    node.Watcher = Watcher
    threading.Thread(target=obey, daemon=True).start()
    sys.exit(node.main())
