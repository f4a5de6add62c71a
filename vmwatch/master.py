"""vmwatch-master: receives the nodes' messages, believes those that prove themselves, hands them to the panel.

While the panel is away messages wait in memory, at most WAITING of them; a node's newer picture makes
its older messages needless. Ends with 4 at once while its configuration says disabled=yes (with --wait it
waits instead), 2 for a bad one, 5 when it cannot listen. SIGHUP reads the configuration again.
"""

from __future__ import annotations

import argparse
import collections
import errno
import itertools
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Counter, Deque, List, Optional, Tuple

import zmq

from vmwatch import wire
from vmwatch.config import BadConfig, MasterConfig, read_master
from vmwatch.logs import log_to
from vmwatch.panel_client import PanelAway, PanelClient, PanelRefused

BAD_CONFIG = 2
DISABLED = 4
CANNOT_LISTEN = 5
WAITING = 20_000
BATCH = 500
BATCH_BYTES = 1024 * 1024
"""A batch ends with the message that reaches this."""
BIND_SECONDS = 5.0
RETRY_SECONDS = 0.5
COUNT_SECONDS = 60.0
WAIT_SECONDS = 0.5
log = logging.getLogger("vmwatch-master")


class Master:
    """The daemon: one loop that receives, checks, and delivers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config: MasterConfig = read_master(path)
        self.order = wire.Order()
        self.waiting: Deque[Tuple[int, bytes]] = collections.deque()
        self.refused: Counter[str] = collections.Counter()
        self.over = False
        self.reload = False
        self.socket: Any = None
        self.panel: Optional[PanelClient] = None
        self._try_again_at = 0.0
        self._count_at = time.monotonic() + COUNT_SECONDS
        self._away = ""
        self._one_by_one = 0

    def run(self) -> int:
        """Serve until told to end; answers the exit code."""
        if self.config.disabled:
            log.error("disabled=yes in %s: not running", self.path)
            return DISABLED
        if not self._listen():
            return CANNOT_LISTEN
        while not self.over:
            if self.reload and (code := self._read_again()):
                return code
            if self.socket.poll(1000 if not self.waiting else 50):
                self._receive()
            self._deliver()
            self._report_refused()
        self._deliver()
        self.socket.close(0)
        return 0

    def stop(self, *_: Any) -> None:
        """End at the next moment."""
        self.over = True

    def hang_up(self, *_: Any) -> None:
        """Read the configuration again at the next moment."""
        self.reload = True

    def _listen(self) -> bool:
        """Listen as the configuration says; False when that cannot be."""
        if self.socket is not None:
            self.socket.close(0)
        self.socket = zmq.Context.instance().socket(zmq.PULL)
        self.socket.setsockopt(zmq.MAXMSGSIZE, wire.LARGEST_MESSAGE)
        self.socket.setsockopt(zmq.RCVHWM, WAITING)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 6000)
        until = time.monotonic() + BIND_SECONDS
        while True:
            try:
                self.socket.bind(self.config.listen)
                break
            except zmq.ZMQError as error:
                # ZeroMQ closes in the background, so the address may be ours for a moment longer.
                if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                    log.error("%s: cannot listen on %s: %s", self.path, self.config.listen, error)
                    return False
                time.sleep(0.05)
        self._know_panel()
        return True

    def _know_panel(self) -> None:
        if self.panel is not None:
            self.panel.close()
        self.panel = PanelClient(self.config.panel, self.config.certificate, self.config.secret)
        log.info("listening on %s, for the panel at %s", self.config.listen, self.config.panel)

    def _read_again(self) -> int:
        """Read the configuration again; answers an exit code when the daemon must end, else 0."""
        self.reload = False
        try:
            config = read_master(self.path)
        except BadConfig as error:
            log.error("the configuration is kept as it was: %s", error)
            return 0
        if config.disabled:
            log.error("disabled=yes in %s: ending", self.path)
            return DISABLED
        elsewhere = config.listen != self.config.listen
        self.config = config
        if elsewhere:
            return 0 if self._listen() else CANNOT_LISTEN
        self._know_panel()
        return 0

    def _receive(self) -> None:
        """Take what has arrived, up to one batch."""
        for _ in range(BATCH):
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                message = wire.decode(frames, self.config.secret, time.time())
                self.order.accept(message)
            except wire.Refused as refused:
                self.refused[refused.reason] += 1
                continue
            if message.kind == wire.PICTURE and self._away:
                # A picture says all that the node's waiting pictures would have; its events are history, and stay.
                self._drop_pictures(message.node_id)
            if len(self.waiting) < WAITING:
                self.waiting.append((message.node_id, frames[0]))
            else:
                self.refused["no room"] += 1

    def _drop_pictures(self, node_id: int) -> None:
        marker = b'"kind":"picture"'
        kept = [(node, body) for node, body in self.waiting if node != node_id or marker not in body]
        self.waiting = collections.deque(kept)

    def _deliver(self) -> None:
        while self.waiting and time.monotonic() >= self._try_again_at:
            batch = self._next_batch()
            assert self.panel is not None
            try:
                self.panel.deliver(batch)
            except PanelRefused as error:
                if len(batch) > 1:
                    # One message must not take the others with it.
                    self._one_by_one = len(batch)
                    continue
                log.error("the panel refuses a message, which is dropped: %s", error)
                self.refused["refused by the panel"] += 1
            except PanelAway as error:
                if not self._away:
                    log.warning("the panel does not take messages: %s", error)
                self._away = str(error)
                self._try_again_at = time.monotonic() + RETRY_SECONDS
                return
            for _ in batch:
                self.waiting.popleft()
            self._one_by_one = max(0, self._one_by_one - len(batch))
            if self._away:
                log.info("the panel takes messages again")
                self._away = ""

    def _next_batch(self) -> List[bytes]:
        """The bodies to hand over next; they stay waiting until the panel has them."""
        batch: List[bytes] = []
        size = 0
        for _, body in itertools.islice(self.waiting, 1 if self._one_by_one else BATCH):
            batch.append(body)
            size += len(body)
            if size >= BATCH_BYTES:
                break
        return batch

    def _report_refused(self) -> None:
        if self.refused and time.monotonic() >= self._count_at:
            log.warning("dropped: %s", ", ".join(f"{count} {reason}" for reason, count in self.refused.items()))
            self.refused.clear()
        if time.monotonic() >= self._count_at:
            self._count_at = time.monotonic() + COUNT_SECONDS


def wait_until_enabled(path: Path) -> None:
    """Return once the configuration is there and does not say disabled=yes.

    For supervisors that would start a program that ends again and again.
    """
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    while True:
        try:
            if not read_master(path).disabled:
                return
        except BadConfig:
            pass
        time.sleep(WAIT_SECONDS)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="vmwatch-master", description="Receives the states of VMs for the panel.")
    parser.add_argument("--config", type=Path, default=Path("/var/lib/vmpanel/etc/vmwatch-master.conf"))
    parser.add_argument("--log", type=Path, default=Path("/var/log/vmpanel/vmwatch-master.log"), help="log file")
    parser.add_argument("--wait", action="store_true", help="wait while there is no configuration or it says disabled")
    parser.add_argument("--pid-file", type=Path, help="where to write the process id")
    arguments = parser.parse_args()
    log_to(arguments.log)
    if arguments.pid_file:
        arguments.pid_file.write_text(str(os.getpid()), encoding="ascii")
    if arguments.wait:
        wait_until_enabled(arguments.config)
    try:
        master = Master(arguments.config)
    except BadConfig as error:
        log.error("%s", error)
        print(error, file=sys.stderr)
        return BAD_CONFIG
    signal.signal(signal.SIGTERM, master.stop)
    signal.signal(signal.SIGINT, master.stop)
    signal.signal(signal.SIGHUP, master.hang_up)
    try:
        return master.run()
    finally:
        if arguments.pid_file:
            # A number left there could be another process' one day.
            arguments.pid_file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
