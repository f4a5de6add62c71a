"""vmwatch-node: pushes every change of a domain's state, and a full report now and then, to the master.

Ends with 3 when the connection to libvirt is lost (its service manager starts it again), 2 for a
bad configuration, 0 on SIGTERM. SIGHUP reads the configuration again.
"""

from __future__ import annotations

import getopt
import logging
import queue
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Union

import libvirt
import zmq

from vmwatch import jobs, wire
from vmwatch.config import NODE_CONF, BadConfig, NodeConfig, read_node
from vmwatch.journal import TOLD_SECONDS, Journal
from vmwatch.libvirt_events import Watcher
from vmwatch.links import LinkWatcher
from vmwatch.logs import log_to
from vmwatch.memory import give_back_memory
from vmwatch.outbox import Outbox, Reading
from vmwatch.readings import Readings
from vmwatch.stats import Collector

BAD_CONFIG = 2
LOST_LIBVIRT = 3
EPOCH_FILE = Path("/run/vmpanel/vmwatch-node.epoch")
JOURNAL_NAME = "vmwatch-node.recent"
"""Beside the epoch's file."""
ALIVE_SECONDS = 5.0
"""How long the daemon is silent at most; a third of the resync interval where that is less."""
BUSY_SECONDS = 0.2
SETTLE_SECONDS = 0.05
"""How much later than a full report libvirt may still tell of what happened before it."""
QUEUE_LENGTH = 10_000
"""Events that libvirt's thread may be ahead of the main thread."""
log = logging.getLogger("vmwatch-node")


def new_epoch(path: Path) -> int:
    """A number for this run of the daemon, larger than any before, also when the clock was set back.

    Not than one of a clock that was more than a day ahead: nobody believed what that run said.
    """
    try:
        last = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        last = 0
    if not wire.begun(last):
        last = 0
    epoch = max(time.time_ns(), last + 1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # As a whole: after a death in the midst of it a clock that was set back would give a smaller number.
        partial = path.with_name(path.name + ".part")
        partial.write_text(str(epoch), encoding="ascii")
        partial.rename(path)
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error)
    return epoch


class Happened(NamedTuple):
    """An event, and when libvirt told it (time.monotonic()); with what a domain that ended had counted."""

    at: float
    domain: wire.DomainState
    last: Optional[Reading] = None


class Links(NamedTuple):
    """All interfaces of the node, of which something changed."""

    links: List[wire.LinkState]


Queued = Union[Happened, Links, List[wire.DomainStatistics], None]


class Node:
    """The daemon: libvirt's thread puts events into a queue, the main thread speaks."""

    def __init__(self, path: Path, epoch_file: Path = EPOCH_FILE) -> None:
        self.path = path
        self.config: NodeConfig = read_node(path)
        self.epoch = new_epoch(epoch_file)
        self.journal = Journal(epoch_file.with_name(JOURNAL_NAME))
        self._set_told_seconds()
        # Unlike queue.Queue it may be put to by a signal handler that interrupts its own get().
        self.events: queue.SimpleQueue[Queued] = queue.SimpleQueue()
        self.readings = Readings()
        self.collector = Collector(self.config.node_id, self.events.put, self._look, self.config.resync)
        self.links = LinkWatcher(lambda found: self.events.put(Links(found)))
        self._watcher: Optional[Watcher] = None
        self.over = False
        self.reload = False
        self._statistics_owed = False

    def run(self) -> int:
        """Watch until told to end or until libvirt is lost; answers the exit code."""
        try:
            watcher = self._watcher = Watcher(self._put, self._wake, self.readings)
        except libvirt.libvirtError as error:
            log.error("no connection to libvirt: %s", error)
            return LOST_LIBVIRT
        try:
            outbox = Outbox(self.config, self.epoch)
        except BadConfig as error:
            log.error("%s: %s", self.path, error)
            return BAD_CONFIG
        except zmq.ZMQError as error:
            log.error("%s: cannot connect to %s: %s", self.path, self.config.connect, error)
            return BAD_CONFIG
        log.info("watching as node %s, for %s", self.config.node_id, self.config.connect)
        self.collector.start(self.config.statistics)
        self.links.start()
        next_report = 0.0
        while not self.over:
            if self.reload:
                self._read_again(outbox)
                next_report = 0.0
            if watcher.over.is_set():
                watcher.over.clear()
                next_report = 0.0
            if time.monotonic() >= next_report:
                # Before the full report, so that what happened before it is not told after it.
                self._pass_on(outbox, self.events.qsize())
                if not self._send_report(watcher, outbox):
                    break
                # While events wait for a master that is there but slow, the full report was not said.
                busy = len(outbox) and not outbox.away
                next_report = time.monotonic() + (
                    BUSY_SECONDS if busy else self.config.resync / self.journal.full_reports
                )
            self._pass_on(outbox, 1, next_report - time.monotonic())
            outbox.flush()
            self.journal.look(there=not outbox.away)
            if outbox.came_back():
                log.info("the master is there")
                if self._statistics_owed:
                    self._statistics_owed = False
                    self.collector.soon()
                next_report = 0.0
            elif not outbox.away and time.monotonic() - outbox.sent_at >= self._alive_seconds:
                outbox.put(wire.ALIVE)
            if watcher.lost.is_set():
                log.error("the connection to libvirt is lost")
                break
            if not wire.begun(self.epoch):
                # The service manager starts it again, with a number that the master believes.
                log.error("the clock was set back by more than a day; starting anew")
                break
        outbox.close()
        self.journal.close()
        return 0 if self.over else LOST_LIBVIRT

    @property
    def _alive_seconds(self) -> float:
        return min(ALIVE_SECONDS, self.config.resync / 3)

    def _set_told_seconds(self) -> None:
        # Two full reports at least tell each event again.
        self.journal.told_seconds = max(TOLD_SECONDS, 2 * self.config.resync)

    def stop(self, *_: Any) -> None:
        """End at the next moment."""
        self.over = True
        self._wake()

    def hang_up(self, *_: Any) -> None:
        """Read the configuration again at the next moment."""
        self.reload = True
        self._wake()

    def _wake(self) -> None:
        self.events.put(None)

    def _put(self, event: wire.DomainState, last: Optional[Reading]) -> None:
        if self.events.qsize() < QUEUE_LENGTH:
            self.events.put(Happened(time.monotonic(), event, last))
        else:
            log.warning("an event was dropped; the next full report makes up for it")

    def _look(self) -> None:
        if self._watcher is not None:
            self.readings.look(self._watcher.conn)
            self._watcher.jobs = jobs.look(self._watcher.conn)

    def _settle(self, outbox: Outbox) -> Dict[str, wire.DomainState]:
        """Send the events that come within a moment; answers the last one of each domain."""
        until = time.monotonic() + SETTLE_SECONDS
        last: Dict[str, wire.DomainState] = {}
        while (left := until - time.monotonic()) > 0 and not self.over:
            last.update(self._pass_on(outbox, 1, left))
        return last

    def _pass_on(self, outbox: Outbox, count: int, seconds: float = 0.0) -> Dict[str, wire.DomainState]:
        """Send up to so many events, waiting for the first one; answers the last one of each domain."""
        last: Dict[str, wire.DomainState] = {}
        for _ in range(count):
            try:
                # Waking now and then is how this thread notices that the master is there again.
                longest = 0.1 if outbox.away else min(1.0, self._alive_seconds / 2)
                event = self.events.get(timeout=min(max(seconds, 0.0), longest))
            except queue.Empty:
                break
            if isinstance(event, Happened):
                at, domain, counted = event
                last[domain.uuid] = domain
                log.info("%s (%s): %s, %s", domain.name, domain.uuid, domain.detail, domain.state)
                # Remembered first: what was sent when the process dies may not have left.
                self.journal.remember(self.epoch, outbox.sequence + 1, domain, at)
                outbox.put_event(domain, at, counted)
            elif isinstance(event, Links):
                # Where the master is away the next full report tells of them.
                outbox.put(wire.ALIVE, links=event.links)
            elif event is not None and not outbox.put(wire.STATISTICS, statistics=event):
                log.info("statistics are not sent: the master is away")
                self._statistics_owed = True
        return last

    def _read_again(self, outbox: Outbox) -> None:
        self.reload = False
        try:
            config = read_node(self.path)
            outbox.connect(config)
        except BadConfig as error:
            log.error("the configuration is kept as it was: %s", error)
            return
        except zmq.ZMQError as error:
            log.error("the configuration is kept as it was: cannot connect to %s: %s", config.connect, error)
            outbox.connect(self.config)
            return
        self.config = config
        self._set_told_seconds()
        self.collector.look_seconds = config.resync
        self.collector.change(config.statistics)
        log.info("configuration read again: node %s, for %s", self.config.node_id, self.config.connect)

    def _send_report(self, watcher: Watcher, outbox: Outbox) -> bool:
        looked_at = time.monotonic()
        try:
            domains = watcher.full_report()
        except libvirt.libvirtError as error:
            log.error("libvirt does not answer: %s", error)
            return False
        outbox.put(
            wire.FULL_REPORT,
            with_events(domains, self._settle(outbox)),
            self.journal.recent(),
            looked_at=looked_at,
            links=self.links.now(),
        )
        if outbox.dropped:
            log.warning("%d events were dropped while the master was away", outbox.dropped)
            outbox.dropped = 0
        return True


def with_events(full_report: List[wire.DomainState], last: Dict[str, wire.DomainState]) -> List[wire.DomainState]:
    """The full report as it is after events that came while it was made.

    Their messages go before the full report's, so a state that the full report has from before them, or from after
    the first of them, would be a change that never was.
    """
    told = [
        replace(each, state=last[each.uuid].state) if each.uuid in last else each
        for each in full_report
        if each.uuid not in last or last[each.uuid].state != wire.MISSING
    ]
    there = {each.uuid for each in full_report}
    told += [
        wire.DomainState(each.uuid, each.name, each.state)
        for each in last.values()
        if each.uuid not in there and each.state != wire.MISSING
    ]
    return told


USAGE = "vmwatch-node [--config FILE] [--log FILE] [--epoch-file FILE]: sends the states of a node's VMs to the panel"


def main() -> int:
    """The program."""
    files = {"--config": NODE_CONF, "--log": Path("/var/log/vmpanel/vmwatch-node.log"), "--epoch-file": EPOCH_FILE}
    try:
        # argparse would take half a megabyte.
        told, rest = getopt.getopt(sys.argv[1:], "h", ["help", "config=", "log=", "epoch-file="])
    except getopt.GetoptError as error:
        print(f"{error}; {USAGE}", file=sys.stderr)
        return BAD_CONFIG
    if rest or any(name in ("-h", "--help") for name, _ in told):
        print(USAGE)
        return BAD_CONFIG if rest else 0
    files.update({name: Path(value) for name, value in told})
    give_back_memory()
    log_to(files["--log"])
    try:
        node = Node(files["--config"], files["--epoch-file"])
    except BadConfig as error:
        log.error("%s", error)
        print(error, file=sys.stderr)
        return BAD_CONFIG
    signal.signal(signal.SIGTERM, node.stop)
    signal.signal(signal.SIGINT, node.stop)
    signal.signal(signal.SIGHUP, node.hang_up)
    return node.run()


if __name__ == "__main__":
    sys.exit(main())
