"""A domain's serial port on this process's own stdin and stdout: `nodeagent --serial`, one process a console.

The panel asks in one line of JSON and is answered in one; what comes then is the guest's, either way, until the panel's
end or the domain's. libvirt gives the port to one at a time and takes it back when its connection, this process's own,
ends: so nothing is left of a console whose panel is gone.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any, Callable, Dict

from nodeagent import libvirtd
from nodeagent.commands.hosts import find
from nodeagent.errors import AgentError, GuestStopped, InvalidParams, LibvirtError, NoSerial, SerialTaken
from nodeagent.xml.domain import Domain

BLOCK = 16384
LONGEST_REQUEST = 4096
WAIT = -2
"""What libvirt's streams answer where one would have to wait."""
log = logging.getLogger("nodeagent")


def serve(source: int = 0, sink: int = 1) -> int:
    """Answer the request and be the port; the exit code is 0 where it was one."""
    libvirt = libvirtd.bindings()
    # Before the connection is made, which belongs to this loop then.
    libvirt.virEventRegisterDefaultImpl()
    try:
        request = _read_request(source)
        stream = attach(str(request.get("uuid")), take=request.get("take") is True)
    except AgentError as error:
        _answer(sink, {"error": {"code": error.code, "message": error.message, "data": error.data}})
        return 1
    log.info("%s serial port of %s: opened", request.get("request_id", "-"), request.get("uuid"))
    _answer(sink, {"result": {}})
    Relay(libvirt, stream, source, sink).run()
    log.info("%s serial port of %s: closed", request.get("request_id", "-"), request.get("uuid"))
    return 0


def _read_request(source: int) -> Dict[str, Any]:
    """The first line, and no byte of what follows it."""
    line = b""
    while not line.endswith(b"\n"):
        sign = os.read(source, 1)
        if not sign or len(line) > LONGEST_REQUEST:
            raise InvalidParams("This is no request.")
        line += sign
    try:
        request = json.loads(line)
    except ValueError as error:
        raise InvalidParams("This is no request.") from error
    if not isinstance(request, dict):
        raise InvalidParams("This is no request.")
    return request


def _answer(sink: int, message: Dict[str, Any]) -> None:
    _write(sink, json.dumps(message).encode() + b"\n")


def _write(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]


def attach(uuid: str, *, take: bool) -> Any:
    """A stream to the domain's first serial port; with `take` whoever has it loses it.

    Raises GuestStopped, NoSerial, SerialTaken, NoSuchDomain, InvalidParams, LibvirtError.
    """
    libvirt = libvirtd.bindings()
    with libvirtd.translated() as conn:
        domain = find(conn, uuid)
        if not domain.isActive():
            raise GuestStopped("The VM does not run.", state="shut off")
        described = Domain.parse(domain.XMLDesc(0))
        if not described.serials and not described.consoles:
            raise NoSerial("The domain has no serial port.")
        stream = conn.newStream(libvirt.VIR_STREAM_NONBLOCK)
        try:
            domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE if take else 0)
        except libvirt.libvirtError as error:
            # libvirt has no code of its own for it (virChrdevOpen).
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_FAILED and not take:
                raise SerialTaken("Somebody else has the serial port.") from error
            raise LibvirtError(error.get_error_message(), libvirt_code=error.get_error_code()) from error
    return stream


class Relay:
    """Bytes both ways, by libvirt's event loop; the panel is read only when the guest took what came before."""

    def __init__(self, libvirt: Any, stream: Any, source: int, sink: int) -> None:
        self.libvirt, self.stream, self.sink = libvirt, stream, sink
        self.over = False
        self.typed = b""
        self.ends = libvirt.VIR_EVENT_HANDLE_HANGUP | libvirt.VIR_EVENT_HANDLE_ERROR
        ended = libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
        self.guest = libvirt.VIR_STREAM_EVENT_READABLE | ended
        self.watch = libvirt.virEventAddHandle(
            source, libvirt.VIR_EVENT_HANDLE_READABLE | self.ends, self._from_panel, None
        )
        stream.eventAddCallback(self.guest, self._from_guest, None)

    def run(self) -> None:
        """Until either side ends."""
        while not self.over:
            self.libvirt.virEventRunDefaultImpl()

    def _from_panel(self, _watch: int, source: int, _events: int, _opaque: Any) -> None:
        def take() -> None:
            data = os.read(source, BLOCK)
            self.over = not data
            self.typed += data
            self._send()

        self._do(take)

    def _from_guest(self, _stream: Any, events: int, _opaque: Any) -> None:
        if events & self.libvirt.VIR_STREAM_EVENT_WRITABLE:
            self._do(self._send)
        if events & self.libvirt.VIR_STREAM_EVENT_READABLE:
            self._do(self._receive)
        elif events & (self.libvirt.VIR_STREAM_EVENT_ERROR | self.libvirt.VIR_STREAM_EVENT_HANGUP):
            self.over = True

    def _do(self, act: Callable[[], None]) -> None:
        """Act; libvirt's loop would print what is raised, and go on."""
        try:
            act()
        except (self.libvirt.libvirtError, OSError):
            self.over = True

    def _receive(self) -> None:
        data = self.stream.recv(BLOCK)
        if data == WAIT:
            return
        self.over = not data
        _write(self.sink, data)

    def _send(self) -> None:
        """Give the guest what was typed; what it does not take now waits, and the panel with it."""
        while self.typed and (sent := self.stream.send(self.typed)) != WAIT:
            self.typed = self.typed[sent:]
        reads = 0 if self.typed else self.libvirt.VIR_EVENT_HANDLE_READABLE
        self.libvirt.virEventUpdateHandle(self.watch, reads | self.ends)
        writes = self.libvirt.VIR_STREAM_EVENT_WRITABLE if self.typed else 0
        self.stream.eventUpdateCallback(self.guest | writes)
