"""vmwatch-node: pushes every change of a domain's state, and a full picture now and then, to the master.

Ends with 3 when the connection to libvirt is lost (its service manager starts it again), 2 for a
bad configuration, 0 on SIGTERM. SIGHUP reads the configuration again.
"""

from __future__ import annotations

import argparse
import logging
import queue
import signal
import sys
import time
from pathlib import Path
from typing import Any, List, Optional

import libvirt
import zmq

from vmwatch import wire
from vmwatch.config import NODE_CONF, BadConfig, NodeConfig, read_node
from vmwatch.libvirt_events import Watcher
from vmwatch.logs import log_to

LOST_LIBVIRT = 3
QUEUE_LENGTH = 10_000
"""Messages kept while the master is away; the next picture says what the dropped ones would have."""
LINGER_MS = 1000
log = logging.getLogger("vmwatch-node")


class Node:
    """The daemon: libvirt's thread puts events into a queue, the main thread speaks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config: NodeConfig = read_node(path)
        self.epoch = time.time_ns()
        self.sequence = 0
        self.events: queue.Queue[Optional[wire.DomainState]] = queue.Queue(QUEUE_LENGTH)
        self.over = False
        self.reload = False
        self.socket: Any = None

    def run(self) -> int:
        """Watch until told to end or until libvirt is lost; answers the exit code."""
        try:
            watcher = Watcher(self._put)
        except libvirt.libvirtError as error:
            log.error("no connection to libvirt: %s", error)
            return LOST_LIBVIRT
        self._connect()
        log.info("watching as node %s, for %s", self.config.node_id, self.config.connect)
        next_picture = 0.0
        while not self.over:
            if self.reload:
                self._read_again()
                next_picture = 0.0
            if time.monotonic() >= next_picture:
                if not self._send_picture(watcher):
                    break
                next_picture = time.monotonic() + self.config.resync
            event = self._next_event(next_picture - time.monotonic())
            if event is not None:
                self._send(wire.EVENT, [event])
            if watcher.lost.is_set():
                log.error("the connection to libvirt is lost")
                break
        self.socket.close(LINGER_MS)
        return 0 if self.over else LOST_LIBVIRT

    def stop(self, *_: Any) -> None:
        """End at the next moment."""
        self.over = True
        self._put(None)

    def hang_up(self, *_: Any) -> None:
        """Read the configuration again at the next moment."""
        self.reload = True
        self._put(None)

    def _put(self, event: Optional[wire.DomainState]) -> None:
        try:
            self.events.put_nowait(event)
        except queue.Full:
            log.warning("an event was dropped; the next picture makes up for it")

    def _next_event(self, seconds: float) -> Optional[wire.DomainState]:
        try:
            # Waking once a second is how a lost libvirt is noticed by this thread.
            return self.events.get(timeout=min(max(seconds, 0.0), 1.0))
        except queue.Empty:
            return None

    def _connect(self) -> None:
        if self.socket is not None:
            self.socket.close(LINGER_MS)
        self.socket = zmq.Context.instance().socket(zmq.PUSH)
        self.socket.setsockopt(zmq.SNDHWM, QUEUE_LENGTH)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        # A master that vanished without a word (a cut network) is noticed, and connected to anew.
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 6000)
        self.socket.connect(self.config.connect)

    def _read_again(self) -> None:
        self.reload = False
        try:
            self.config = read_node(self.path)
        except BadConfig as error:
            log.error("the configuration is kept as it was: %s", error)
            return
        self._connect()
        log.info("configuration read again: node %s, for %s", self.config.node_id, self.config.connect)

    def _send_picture(self, watcher: Watcher) -> bool:
        try:
            # Events up to here are in the picture; those that come while it is taken follow it.
            domains = watcher.picture()
        except libvirt.libvirtError as error:
            log.error("libvirt does not answer: %s", error)
            return False
        self._send(wire.PICTURE, domains)
        return True

    def _send(self, kind: str, domains: List[wire.DomainState]) -> None:
        self.sequence += 1
        message = wire.Message(self.config.node_id, self.epoch, self.sequence, time.time(), kind, domains)
        try:
            self.socket.send_multipart(wire.encode(message, self.config.secret), zmq.DONTWAIT)
        except zmq.Again:
            log.warning("the master takes no more messages; the next picture makes up for it")
        for domain in domains if kind == wire.EVENT else []:
            log.info("%s (%s): %s, %s", domain.name, domain.uuid, domain.detail, domain.state)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="vmwatch-node", description="Sends the states of a node's VMs to the panel.")
    parser.add_argument("--config", type=Path, default=NODE_CONF, help="configuration file (%(default)s)")
    parser.add_argument("--log", type=Path, default=Path("/var/log/vmpanel/vmwatch-node.log"), help="log file")
    arguments = parser.parse_args()
    log_to(arguments.log)
    try:
        node = Node(arguments.config)
    except BadConfig as error:
        log.error("%s", error)
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, node.stop)
    signal.signal(signal.SIGINT, node.stop)
    signal.signal(signal.SIGHUP, node.hang_up)
    return node.run()


if __name__ == "__main__":
    sys.exit(main())
