"""A program for a node: changes its domains on command, and writes down every change that libvirt tells of.

Reads lines from stdin (`start NAME`, `destroy NAME`, `suspend NAME`, `resume NAME`, `undefine NAME`,
`define NAME UUID`, `states`), answers each with one line. Its own connection and its own event loop make the
file it writes (argument 1: a line `NAME STATE` for each event) a witness that is independent of vmwatch.
Runs with the node's system Python.
"""

from __future__ import annotations

import sys
import threading
import time

import libvirt

URI = "qemu:///system"
STATE_AFTER = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: "running",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "paused",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "running",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "shut off",
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "shut off",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "missing",
}
XML = (
    "<domain type='qemu'><name>{}</name><uuid>{}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><memballoon model='none'/></devices></domain>"
)


class Hand:
    """The connection that changes and the one that listens; both are made anew when libvirtd was killed."""

    def __init__(self, path):
        self.path = path
        self.conn = None
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._loop, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()

    def _loop(self):
        while True:
            libvirt.virEventRunDefaultImpl()

    def _listen(self):
        with open(self.path, "a", encoding="utf-8", buffering=1) as truth:
            while True:
                lost = threading.Event()
                try:
                    conn = libvirt.openReadOnly(URI)
                    conn.setKeepAlive(2, 2)
                    conn.registerCloseCallback(lambda *_, gone=lost: gone.set(), None)

                    def told(_conn, domain, event, _detail, _opaque):
                        if event in STATE_AFTER:
                            truth.write(f"{domain.name()} {STATE_AFTER[event]}\n")

                    conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, told, None)
                    lost.wait()
                except libvirt.libvirtError:
                    time.sleep(0.1)

    def obey(self, line):
        """Carry out one command; answers what happened."""
        word, *rest = line.split()
        if self.conn is None or not self.conn.isAlive():
            self.conn = libvirt.open(URI)
        if word == "states":
            found = self.conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
            names = {1: "running", 3: "paused", 5: "shut off"}
            return ";".join(f"{domain.name()}={names[each['state.state']]}" for domain, each in found)
        domain = self._find(rest[0])
        if word == "define":
            if domain is not None:
                return "refused: it is there"
            self.conn.defineXML(XML.format(*rest))
            return "done"
        if domain is None or (word == "undefine" and domain.isActive()):
            # A running domain that is undefined would be there without a definition: not what we play here.
            return "refused: not now"
        if word == "start":
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        else:
            getattr(domain, word)()
        return "done"

    def _find(self, name):
        try:
            return self.conn.lookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise


def main():
    """Obey until stdin ends."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    hand = Hand(sys.argv[1])
    for line in sys.stdin:
        try:
            answer = hand.obey(line)
        except libvirt.libvirtError as error:
            hand.conn = None if error.get_error_code() in (1, 38, 39) else hand.conn
            answer = f"refused: {error}".replace("\n", " ")
        print(answer, flush=True)


if __name__ == "__main__":
    main()
