"""vmwatch-master: receives the nodes' messages, believes those that prove themselves, hands them to the panel.

While the panel is away messages wait in memory and on disk (spool.py). Ends with 4 at once while its
configuration says disabled=yes (with --wait it waits instead), 2 for a bad one, 5 when it cannot listen.
SIGHUP reads the configuration again; a file beside the process id says which one it works with.
"""

from __future__ import annotations

import argparse
import collections
import errno
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Counter, List, Optional

import zmq

from vmwatch import wire
from vmwatch.alive import Alive
from vmwatch.config import BadConfig, MasterConfig, beat_of, digest, mark_of, read_master
from vmwatch.logs import log_to
from vmwatch.memory import give_back_memory
from vmwatch.order import Order
from vmwatch.panel_client import PanelAway, PanelClient, PanelRefused
from vmwatch.spool import Spool

BAD_CONFIG = 2
DISABLED = 4
CANNOT_LISTEN = 5
SPOOL_NAME = "vmwatch-master.waiting"
HANDED_BY_ZEROMQ = 100
"""Messages of one sender that ZeroMQ may be ahead: all of them may be as large as 8 MiB, and lies."""
BATCH = 1000
BATCH_BYTES = 2 * 1024 * 1024
"""A batch ends with the message that reaches this."""
ALIVE_SECONDS = 5.0
"""How long the panel hears nothing of this daemon at most."""
BIND_SECONDS = 5.0
RETRY_SECONDS = 0.5
COUNT_SECONDS = 60.0
WAIT_SECONDS = 0.5
log = logging.getLogger("vmwatch-master")


class Master:
    """The daemon: one loop that receives, checks, and delivers."""

    def __init__(self, path: Path, spool: Path, mark: Optional[Path] = None, alive: Optional[Alive] = None) -> None:
        self.path = path
        self._alive = alive or Alive()
        self._mark = mark
        # Before it is read: of a file that is replaced meanwhile, the older one is said.
        self._digest = digest(path)
        self.config: MasterConfig = read_usable(path)
        self.order = Order()
        self.spool: Spool
        self._spool_path = spool
        self.refused: Counter[str] = collections.Counter()
        self.over = False
        self.reload = False
        self.socket: Any = None
        self._trust: wire.Trust
        self.panel: Optional[PanelClient] = None
        self._try_again_at = self._spoken_at = self._count_at = 0.0
        self._away = ""
        self._batch = BATCH
        self._refusal = ""

    def run(self) -> int:
        """Serve until told to end; answers the exit code."""
        if self.config.disabled:
            log.error("disabled=yes in %s: not running", self.path)
            return DISABLED
        if not self._listen():
            return CANNOT_LISTEN
        # Not before it listens: another master that runs already has the file.
        self.spool = Spool(self._spool_path, self.order.has_seen)
        self._say_read()
        code = self._serve()
        self._finish()
        return code

    def _serve(self) -> int:
        while not self.over:
            self._alive()
            if self.reload and (code := self._read_again()):
                return code
            if self.socket.poll(self._idle_ms()):
                self._receive()
            self._deliver()
            self._report_refused()
        return 0

    def _finish(self) -> None:
        """Take what has arrived, hand over what the panel takes now, and leave the rest to the next run."""
        self._drain()
        self.socket.close(0)
        if len(self.spool):
            # First to the disk: whoever wants this process to end may not wait for the panel.
            self.spool.panel_away()
        while self._deliver():
            pass
        self._report_refused(now=True)

    def _drain(self) -> None:
        while not self.socket.closed and self._receive():
            pass

    def _idle_ms(self) -> int:
        """Milliseconds until there is something to do, if nothing arrives."""
        due = self._try_again_at if len(self.spool) else max(self._spoken_at + ALIVE_SECONDS, self._try_again_at)
        # Not longer than a second: a signal does not end the wait.
        return int(1000 * min(1.0, max(0.0, due - time.monotonic())))

    def stop(self, *_: Any) -> None:
        """End at the next moment."""
        self.over = True

    def hang_up(self, *_: Any) -> None:
        """Read the configuration again at the next moment."""
        self.reload = True

    def _listen(self) -> bool:
        """Listen as the configuration says; False when that cannot be."""
        if self.socket is not None:
            self._drain()
            self.socket.close(0)
        self.socket = zmq.Context.instance().socket(zmq.PULL)
        if self.config.curve_secret_key:
            self.socket.setsockopt(zmq.CURVE_SERVER, 1)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, self.config.curve_secret_key.encode())
        self.socket.setsockopt(zmq.MAXMSGSIZE, wire.LARGEST_MESSAGE)
        self.socket.setsockopt(zmq.RCVHWM, HANDED_BY_ZEROMQ)
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
        """Speak to the panel, and believe the nodes, that the configuration names."""
        if self.panel is not None:
            self.panel.close()
        self.panel = PanelClient(self.config.panel, self.config.certificate, self.config.secret)
        held = self.config
        self._trust = wire.Trust(held.secret, held.previous_secret, held.shared_secret, held.nodes)
        log.info("listening on %s, for the panel at %s", self.config.listen, self.config.panel)

    def _read_again(self) -> int:
        """Read the configuration again; answers an exit code when the daemon must end, else 0."""
        self.reload = False
        read = digest(self.path)
        try:
            config = read_usable(self.path)
        except BadConfig as error:
            log.error("the configuration is kept as it was: %s", error)
            return 0
        if config.disabled:
            log.error("disabled=yes in %s: ending", self.path)
            return DISABLED
        elsewhere = (config.listen, config.curve_secret_key) != (self.config.listen, self.config.curve_secret_key)
        self.config, self._digest = config, read
        if not elsewhere:
            self._know_panel()
        elif not self._listen():
            return CANNOT_LISTEN
        self._say_read()
        return 0

    def _say_read(self) -> None:
        if self._mark is not None:
            try:
                self._mark.write_text(self._digest, encoding="ascii")
            except OSError as error:
                log.warning("%s cannot be written: %s", self._mark, error)

    def _receive(self) -> bool:
        """Take what has arrived, up to one batch; answers whether there may be more."""
        for _ in range(BATCH):
            try:
                frames = self._frames()
            except zmq.Again:
                return False
            try:
                message = wire.decode(frames, self._trust, time.time())
                self.order.accept(message)
            except wire.Refused as refused:
                self.refused[refused.reason] += 1
                continue
            self.spool.add(message, frames[0])
        return True

    def _frames(self) -> List[bytes]:
        """The next message's frames; of one that has too many only the first three. Raises zmq.Again."""
        frames = [self.socket.recv(zmq.DONTWAIT)]
        while self.socket.getsockopt(zmq.RCVMORE):
            frame = self.socket.recv(zmq.DONTWAIT)
            if len(frames) < 3:
                frames.append(frame)
        return frames

    def _deliver(self) -> bool:
        """Hand over a batch, or say that there is nothing, when it is time; answers whether there may be more."""
        now = time.monotonic()
        batch = self.spool.first(self._batch, BATCH_BYTES)
        if now < self._try_again_at or not (batch or now >= self._spoken_at + ALIVE_SECONDS):
            return False
        assert self.panel is not None
        try:
            self.panel.deliver([held.body for held in batch], [held.waited for held in batch])
        except PanelRefused as error:
            if len(batch) > 1:
                # One message must not take the others with it: it is looked for by halves.
                self._batch = len(batch) // 2
                return True
            self._refusal = str(error)
            if batch:
                self.refused["refused by the panel"] += 1
        except PanelAway as error:
            if not self._away:
                log.warning("the panel does not take messages: %s", error)
            self._away = str(error)
            self._try_again_at = time.monotonic() + RETRY_SECONDS
            self.spool.panel_away()
            return False
        else:
            self._batch = min(BATCH, 2 * self._batch)
        self._spoken_at = time.monotonic()
        self.spool.done(len(batch))
        if self._away:
            log.info("the panel takes messages again")
            self._away = ""
        return bool(len(self.spool))

    def _report_refused(self, now: bool = False) -> None:
        """Log what was dropped: at once after a quiet minute, else once a minute, however much it is."""
        if self.spool.dropped:
            self.refused["no room"] += self.spool.dropped
            self.spool.dropped = 0
        if not (self.refused or self._refusal) or not (now or time.monotonic() >= self._count_at):
            return
        if self.refused:
            log.warning("dropped: %s", ", ".join(f"{count} {reason}" for reason, count in self.refused.items()))
        if self._refusal:
            log.error("the panel refuses what it was given: %s", self._refusal)
        self.refused.clear()
        self._refusal = ""
        self._count_at = time.monotonic() + COUNT_SECONDS


def read_usable(path: Path) -> MasterConfig:
    """Read the configuration, and see that this ZeroMQ can do what it says; raises BadConfig."""
    config = read_master(path)
    if config.curve_secret_key:
        if not zmq.has("curve"):
            raise BadConfig(f"{path}: “curve_secret_key” is there, but this ZeroMQ has no CURVE")
        try:
            public = zmq.curve_public(config.curve_secret_key.encode()).decode()
        except zmq.ZMQError as error:
            raise BadConfig(f"{path}: “curve_secret_key” is no key") from error
        if public != config.curve_public_key:
            raise BadConfig(f"{path}: “curve_public_key” is not that of “curve_secret_key”")
    return config


def wait_until_enabled(path: Path, alive: Alive) -> None:
    """Return once the configuration is there and does not say disabled=yes.

    For supervisors that would start a program that ends again and again.
    """
    while True:
        alive()
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
    parser.add_argument("--spool", type=Path, help="file of what waits for the panel (beside the configuration)")
    parser.add_argument("--wait", action="store_true", help="wait while there is no configuration or it says disabled")
    parser.add_argument("--pid-file", type=Path, help="where to write the process id")
    arguments = parser.parse_args()
    give_back_memory()
    log_to(arguments.log)
    # Before anybody knows this process' number: the signal's default would end it.
    hung_up: List[int] = []
    signal.signal(signal.SIGHUP, lambda number, _frame: hung_up.append(number))
    mark = mark_of(arguments.pid_file) if arguments.pid_file else None
    if mark is not None:
        # An earlier run's, which was killed.
        mark.unlink(missing_ok=True)
        arguments.pid_file.write_text(str(os.getpid()), encoding="ascii")
    alive = Alive(beat_of(arguments.pid_file) if arguments.pid_file else None)
    if arguments.wait:
        wait_until_enabled(arguments.config, alive)
    try:
        master = Master(arguments.config, arguments.spool or arguments.config.with_name(SPOOL_NAME), mark, alive)
    except BadConfig as error:
        log.error("%s", error)
        print(error, file=sys.stderr)
        return BAD_CONFIG
    signal.signal(signal.SIGTERM, master.stop)
    signal.signal(signal.SIGINT, master.stop)
    signal.signal(signal.SIGHUP, master.hang_up)
    master.reload |= bool(hung_up)
    try:
        return master.run()
    finally:
        if mark is not None:
            # A number left there could be another process' one day.
            arguments.pid_file.unlink(missing_ok=True)
            mark.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
