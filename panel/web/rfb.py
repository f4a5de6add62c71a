"""The first words of VNC (RFC 6143, 7.1): as a client to QEMU, as a server to the browser."""

from __future__ import annotations

import asyncio

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from panel.cluster.client import Channel

VERSION = b"RFB 003.008\n"
NONE = 1
VNC = 2


class Refused(Exception):
    """The other side does not let us in, or does not speak VNC."""


def sign_in(channel: Channel, password: str) -> None:
    """Go through QEMU's handshake up to the point where the client would say ClientInit; raises Refused."""
    if not _read(channel, 12).startswith(b"RFB 003."):
        raise Refused("this is no VNC server")
    channel.sendall(VERSION)
    count = _read(channel, 1)[0]
    if count == 0:
        raise Refused(_reason(channel))
    kinds = _read(channel, count)
    if VNC not in kinds:
        raise Refused("the server does not ask for a password")
    channel.sendall(bytes([VNC]))
    channel.sendall(response(_read(channel, 16), password))
    if _read(channel, 4) != b"\0\0\0\0":
        raise Refused(_reason(channel))


def response(challenge: bytes, password: str) -> bytes:
    """The answer to a challenge: it encrypted with DES, the password's bytes as key with their bits reversed."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    # Three times the same key is plain DES.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()


def _read(channel: Channel, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = channel.recv(size - len(data))
        if not block:
            raise Refused("the server ended the connection")
        data += block
    return data


def _reason(channel: Channel) -> str:
    length = int.from_bytes(_read(channel, 4), "big")
    return _read(channel, min(length, 1024)).decode(errors="replace")


class BrowserHandshake:
    """The server's side of the handshake, offering no password; what follows it belongs to the guest."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self._buffer = b""
        self._version_heard = False

    def greeting(self) -> bytes:
        """What a server says first."""
        return VERSION

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take in bytes from the browser; answers what to tell it, and what is for the guest."""
        if self.done.is_set():
            return b"", data
        self._buffer += data
        answer = b""
        if not self._version_heard and len(self._buffer) >= len(VERSION):
            self._buffer = self._buffer[len(VERSION) :]
            self._version_heard = True
            answer += bytes([1, NONE])
        if self._version_heard and self._buffer:
            # Its choice can only be the one that was offered; 4 zero bytes say that it is let in.
            self._buffer, rest = b"", self._buffer[1:]
            answer += b"\0\0\0\0"
            self.done.set()
            return answer, rest
        return answer, b""
