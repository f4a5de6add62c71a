"""A door before a libvirtd that holds its slow questions up: python3 slow_libvirt.py LISTEN LIBVIRTD SECONDS.

What a libvirtd answers from its knowledge of QEMU (capabilities, QEMU's version) reaches it late, everything else at
once, as with one that looks at QEMU anew for each question. Runs on the system's Python; nothing of libvirt's is needed
but the head of its messages (rpc/virnetprotocol.x: length, program, version, procedure, type, serial, status).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading
from pathlib import Path

HEAD = struct.Struct(">IIIIiII")
REMOTE = 0x20008086
CALL = 0
SLOW = {4: "getVersion", 7: "getCapabilities", 342: "getDomainCapabilities"}
"""Procedures of remote_protocol.x."""


class Door:
    """Listens at `listen` for whoever wants the libvirtd that listens at `libvirtd`; notes who was held up."""

    def __init__(self, listen: Path, libvirtd: Path, seconds: float) -> None:
        self.libvirtd = libvirtd
        self.seconds = seconds
        self.held: list[str] = []
        listen.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            listen.unlink()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(listen))
        os.chmod(listen, 0o777)
        self._server.listen()

    def serve(self) -> None:
        """Until close()."""
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            there = socket.socket(socket.AF_UNIX)
            try:
                there.connect(str(self.libvirtd))
            except OSError:
                # As a libvirtd that ends: the caller hears nothing.
                caller.close()
                continue
            for pair in ((caller, there), (there, caller)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        writing = threading.Lock()

        def pass_on(message: bytes) -> None:
            with contextlib.suppress(OSError), writing:
                target.sendall(message)

        stream = source.makefile("rb")
        with contextlib.suppress(OSError):
            while len(size := stream.read(4)) == 4:
                message = size + stream.read(struct.unpack(">I", size)[0] - 4)
                _, program, _, procedure, kind, _, _ = HEAD.unpack_from(message)
                if program == REMOTE and kind == CALL and procedure in SLOW:
                    self.held.append(SLOW[procedure])
                    threading.Timer(self.seconds, pass_on, (message,)).start()
                else:
                    pass_on(message)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    Door(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])).serve()
