"""The conversation: JSON lines on stdin and stdout, one thread a request.

Ends with its input, on SIGTERM, or when nothing was heard for SILENCE_SECONDS: a panel that is cut
off must not leave commands running that its successor will repeat. Everything still running is
cancelled first, and programs that it started are killed.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import Any, Dict, List, Optional, TextIO

from nodeagent import __version__, commands, fences, freezing, known, logs, network, overrides, paths, space, storage
from nodeagent.errors import AgentError, BrokenStorage, InvalidParams, NoSpace, ReadOnly, SystemRefused
from nodeagent.job import Job
from nodeagent.protocol import LONGEST_ANSWER, PROTOCOL_VERSION, REQUESTS, BadMessage, Fence, from_dict, to_dict

SILENCE_SECONDS = 30.0
LINE_LIMIT = 16 * 1024 * 1024
log = logging.getLogger("nodeagent")


class Server:
    """Serves one conversation."""

    def __init__(self, source: TextIO, sink: TextIO) -> None:
        self.source = source
        self.sink = sink
        self.jobs: Dict[int, Job] = {}
        self.threads: List[threading.Thread] = []
        self.heard = time.monotonic()
        self._writing = threading.Lock()
        self._over = threading.Event()

    def serve(self) -> int:
        """Greet, then serve requests until the conversation ends; answers the exit code."""
        if not self._greet():
            return 2
        threading.Thread(target=self._watch_silence, daemon=True).start()
        fences.purge()
        freezing.thaw_left_soon()
        try:
            while not self._over.is_set():
                line = self.source.readline(LINE_LIMIT)
                if not line:
                    break
                self.heard = time.monotonic()
                self._handle(line)
        finally:
            self.end()
        return 0

    def end(self) -> None:
        """Cancel what runs and give it a moment to stop; a task's command that cannot stop is waited for."""
        self._over.set()
        for job in list(self.jobs.values()):
            job.stopped.set()
        for thread in self.threads:
            thread.join(timeout=2.0)
        fences.wait_until_free()

    def _greet(self) -> bool:
        line = self.source.readline(LINE_LIMIT)
        try:
            theirs = json.loads(line)["hello"]["protocol"]
        except (ValueError, KeyError, TypeError):
            self._error(None, InvalidParams("The conversation must begin with a hello."))
            return False
        if theirs != PROTOCOL_VERSION:
            data = {"agent": PROTOCOL_VERSION, "panel": theirs}
            text = f"This agent speaks protocol {PROTOCOL_VERSION}, the panel {theirs}."
            self._write({"error": {"code": "version_mismatch", "message": text, "data": data}})
            return False
        self._write(
            {
                "hello": {
                    "protocol": PROTOCOL_VERSION,
                    "agent": __version__,
                    "python": sys.version.split()[0],
                    "pid": os.getpid(),
                    "commands": sorted(REQUESTS),
                    "overrides": overrides.names(),
                }
            }
        )
        return True

    def _handle(self, line: str) -> None:
        try:
            message = json.loads(line)
            if "ping" in message:
                self._write({"pong": message["ping"]})
                return
            number = int(message["id"])
        except (ValueError, KeyError, TypeError):
            self._error(None, InvalidParams("This line is not a request."))
            return
        if message.get("cancel"):
            if number in self.jobs:
                self.jobs[number].stopped.set()
            return
        deadline = message.get("deadline", 60.0)
        if not isinstance(deadline, (int, float)):
            self._error(number, InvalidParams("deadline: must be a number of seconds", field="deadline"))
            return
        job = Job(
            float(deadline),
            str(message.get("request_id", "-")),
            lambda done, total, text: self._write({"id": number, "progress": _progress(done, total, text)}),
        )
        self.jobs[number] = job
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        thread = threading.Thread(target=self._run, args=(number, message, job), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _run(self, number: int, message: Dict[str, Any], job: Job) -> None:
        command = str(message.get("command"))
        began = time.monotonic()
        outcome = "done"
        try:
            result = carry_out(command, message.get("params", {}), message.get("fence"), job, message.get("pools"))
            self._write({"id": number, "result": result})
        except AgentError as error:
            outcome = error.code
            self._error(number, error)
        except Exception:
            outcome = "internal"
            log.exception("%s %s broke", job.request_id, command)
            text = f"The agent met a fault of its own; {paths.LOG / 'nodeagent.log'} on the node says what."
            self._error(number, AgentError(text))
        finally:
            self.jobs.pop(number, None)
            log.info("%s %s: %s in %.3f s", job.request_id, command, outcome, time.monotonic() - began)

    def _error(self, number: Optional[int], error: AgentError) -> None:
        body = {"code": error.code, "message": error.message, "data": error.data}
        self._write({"error": body} if number is None else {"id": number, "error": body})

    def _write(self, message: Dict[str, Any]) -> None:
        line = json.dumps(message) + "\n"
        if len(line) > LONGEST_ANSWER:
            error = {
                "code": AgentError.code,
                "message": f"The answer is longer than {LONGEST_ANSWER >> 20} MiB.",
                "data": {},
            }
            line = json.dumps({"id": message.get("id"), "error": error}) + "\n"
        with self._writing:
            try:
                self.sink.write(line)
                self.sink.flush()
            except (BrokenPipeError, ValueError):
                self._over.set()

    def _watch_silence(self) -> None:
        while not self._over.wait(1.0):
            if time.monotonic() - self.heard > SILENCE_SECONDS:
                log.warning("nothing was heard for %s s: ending", SILENCE_SECONDS)
                self.end()
                os._exit(3)


def carry_out(command: str, params: Any, fence: Any, job: Job, pools: Any = None) -> Dict[str, Any]:
    """Carry out one request given as decoded JSON and answer its result as JSON-ready dictionary.

    `pools` are what the panel knows of the node's pools (known.py).

    Raises AgentError.
    """
    run = commands.handler(command)
    try:
        request = from_dict(REQUESTS[command], params)
        held = from_dict(Fence, fence) if fence is not None else None
        known_pools = known.from_message(pools)
    except BadMessage as error:
        raise InvalidParams(str(error), field=error.field) from error
    try:
        with known.told(known_pools), fences.held(held if request.MUTATES else None, job):
            return to_dict(run(request, job))
    except OSError as error:
        raise _of_system(error) from error


def _of_system(error: OSError) -> AgentError:
    """What the node's system refused to a command, in its own words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(space.sentence())
    where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, (str, bytes)) else ""
    if error.errno == errno.EROFS:
        return ReadOnly(f"The file system is mounted read-only{where}.")
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN):
        return BrokenStorage(f"The file system does not work{where}: {os.strerror(error.errno)}.")
    return SystemRefused(f"The node's system refused: {error.strerror or error}{where}.")


def _progress(done: float, total: float, text: str) -> Dict[str, Any]:
    return {"done": done, "total": total, "text": text}


def _log_to_file() -> None:
    try:
        logs.log_to(paths.LOG / "nodeagent.log", "%(asctime)s %(levelname)s %(process)d %(message)s")
    except OSError:
        # An agent that cannot log can still work; stdout belongs to the conversation.
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING)


def main() -> int:
    """Serve a conversation on stdin and stdout, or restore the network after the node's start."""
    parser = argparse.ArgumentParser(prog="nodeagent", description="The agent of vmpanel on a node.")
    parser.add_argument("--restore-network", action="store_true", help="make the remembered bridges again and end")
    parser.add_argument("--serial", action="store_true", help="be a domain's serial port on stdin and stdout")
    parser.add_argument("--mind-uplink", nargs=3, metavar=("BRIDGE", "TOKEN", "SECONDS"), help="give an uplink back")
    parser.add_argument("--mind-link", nargs=3, metavar=("NAME", "TOKEN", "SECONDS"), help="take an interface away")
    arguments = parser.parse_args()
    # What sshd or a start file makes of PATH is not for us to trust: ip and nft are in sbin.
    os.environ["PATH"] = paths.with_system_folders(os.environ.get("PATH", ""))
    _log_to_file()
    if arguments.serial:
        from nodeagent import serial

        # At once: libvirt takes the port back as this process ends.
        os._exit(serial.serve())
    if arguments.mind_uplink:
        from nodeagent import uplinks

        bridge, token, seconds = arguments.mind_uplink
        uplinks.mind(bridge, token, float(seconds))
        return 0
    if arguments.mind_link:
        from nodeagent import host_links

        name, token, seconds = arguments.mind_link
        host_links.mind(name, token, float(seconds))
        return 0
    if arguments.restore_network:
        from nodeagent import kvm
        from nodeagent.commands.bridges import restore

        network.load_own()
        job = Job(deadline=120.0)
        # Before libvirtd looks at QEMU; where udev runs there is nothing to do.
        kvm.open_to_qemu(job)
        restore(job)
        return 0
    # Before anything is said: the file that it is read from may be replaced by a newer one while this agent works.
    commands.load()
    storage.load_own()
    network.load_own()
    # A copy of stdout is kept for the conversation; whatever else prints goes to stderr.
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = Server(io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8"), sink)

    def end() -> None:
        server.end()
        os._exit(0)

    def stop(_number: int, _frame: Any) -> None:
        # The main thread sits in readline(), so ending happens beside it.
        threading.Thread(target=end).start()

    signal.signal(signal.SIGTERM, stop)
    code = server.serve()
    # Threads that do not heed their cancellation (a hung libvirt call) must not keep the process.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
