"""The ssh connection to a node: host key pinned, channels, files. paramiko's errors are translated here alone.

The only command line that is ever sent is the porter's, a constant (porter.py).
"""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko

from panel.cluster import keys, porter
from panel.cluster.client import HEED_SECONDS, Heed, NodeAddress, Report
from panel.cluster.porter import Porter
from panel.core.errors import NodeRefused, NodeTimeout, NodeUnreachable
from panel.core.wording import Text

WINDOW = 16 * 1024 * 1024
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")

KEY_ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
"""By which algorithms a host proves that it has a key of each kind."""


class Connection:
    """One authenticated ssh connection; open() makes it."""

    def __init__(self, address: NodeAddress, transport: paramiko.Transport) -> None:
        self.address = address
        self.transport = transport

    @property
    def alive(self) -> bool:
        """Whether the connection still stands, as far as one can know."""
        return self.transport.is_active()

    @property
    def host_key(self) -> str:
        """The key that the node showed, as "ssh-ed25519 AAAA..."."""
        return _line(self.transport.get_remote_server_key())

    def start_porter(self) -> Porter:
        """A porter on the node that is root, for whoever closes it or makes it an agent."""
        started = self._start(porter.COMMAND)
        if self.address.user == "root" or started.look()["user"] == 0:
            return started
        started.close()
        return self._start(porter.SUDO + porter.COMMAND)

    def _start(self, command: str) -> Porter:
        with self.translated("start"):
            channel = self.transport.open_session(window_size=WINDOW, timeout=15)
            try:
                channel.exec_command(command)
                return Porter(self.address, channel, self.translated)
            except BaseException:
                channel.close()
                raise

    @contextlib.contextmanager
    def porter(self) -> Iterator[Porter]:
        """A porter on the node for the time of the block."""
        with contextlib.closing(self.start_porter()) as started:
            yield started

    def open_port(self, port: int) -> paramiko.Channel:
        """A stream to the node's own loopback port."""
        with self.translated("connect"):
            return self.transport.open_channel("direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=15)

    def start_agent(self, path: str, *arguments: str) -> paramiko.Channel:
        """The streams of one more agent, started with these arguments, beside the one that converses."""
        return self.start_porter().become_agent(path, *arguments)

    def upload(self, local: Path, remote: str, report: Report | None = None, heed: Heed | None = None) -> None:
        """Put a file at `remote`; what `heed` raises ends it."""
        with self.porter() as started, _heeding(started, heed):
            started.upload(local, remote, report)

    def close(self) -> None:
        """End the connection."""
        self.transport.close()

    @contextlib.contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Have paramiko's errors as ours, and a time that was over with the seconds that it truly took."""
        began = time.monotonic()
        try:
            yield
        except TimeoutError as error:
            seconds = round(time.monotonic() - began, 1)
            raise NodeTimeout(node=self.address.name, command=f"ssh: {doing}", seconds=seconds) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            lost = not self.transport.is_active() or not str(error)
            reason = "the connection was lost" if lost else str(error)
            raise NodeUnreachable(node=self.address.name, reason=reason) from error


def open_connection(address: NodeAddress, seconds: float = 10.0) -> Connection:
    """Connect and sign in, refusing any host key but the pinned one; without a pinned one any key is taken.

    Raises NodeUnreachable, NodeRefused.
    """
    transport = _negotiate(address, seconds)
    try:
        shown = _line(transport.get_remote_server_key())
        if address.host_key and shown != address.host_key:
            raise _another_key(address, keys.fingerprint(shown))
        _sign_in(transport, address)
    except BaseException:
        transport.close()
        raise
    return Connection(address, transport)


def _another_key(address: NodeAddress, found: str) -> NodeRefused:
    return NodeRefused(
        Text(
            "The node “{node}” shows the host key {found}, and {expected} is pinned. If it has a new one (on it, "
            "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints the same), reconnect it with that as host_key.",
            {"node": address.name, "found": found, "expected": keys.fingerprint(address.host_key)},
        ),
        node=address.name,
        reason="its host key is another one",
        fingerprint=found,
        field="host_key",
    )


def read_host_key(address: NodeAddress, seconds: float = 10.0, kind: str = "") -> str:
    """The key that the node shows, before anything is told to it; of this kind (as "ssh-rsa") where it has several."""
    transport = _negotiate(address, seconds, kind)
    with contextlib.closing(transport):
        return _line(transport.get_remote_server_key())


@contextlib.contextmanager
def _heeding(started: Porter, heed: Heed | None) -> Iterator[None]:
    """Ask `heed` while the block works, and end a block that waits for the node with what it raised."""
    over, raised = threading.Event(), list[BaseException]()

    def watch() -> None:
        while heed is not None and not over.wait(HEED_SECONDS):
            try:
                heed()
            except BaseException as error:
                raised.append(error)
                started.close()
                return

    watcher = threading.Thread(target=watch, name="heed", daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        if raised:
            raise raised[0] from error
        raise
    finally:
        over.set()
        watcher.join()


def find_host_key(address: NodeAddress, fingerprint: str, seconds: float = 10.0) -> str:
    """That of the node's host keys which has this fingerprint, before anything is told to it.

    Raises NodeRefused, NodeUnreachable.
    """
    shown = []
    for each in shown_keys(address, seconds):
        if keys.fingerprint(each) == fingerprint:
            return each
        shown.append(f"{keys.fingerprint(each)} ({each.split()[0]})")
    reason = f"its host keys are {', '.join(shown)}; the one that was given is none of them"
    raise NodeRefused(node=address.name, reason=reason, field="host_key")


def shown_keys(address: NodeAddress, seconds: float = 10.0) -> Iterator[str]:
    """The node's host keys, one of each kind that it has, its usual one first; nothing is told to it before.

    Raises NodeUnreachable.
    """
    first = read_host_key(address, seconds)
    yield first
    for kind in KEY_ALGORITHMS:
        if kind == first.split()[0]:
            continue
        try:
            other = read_host_key(address, seconds, kind)
        except NodeUnreachable:
            # A host that has no key of a kind ends the connection.
            continue
        yield other


def _negotiate(address: NodeAddress, seconds: float, kind: str = "") -> paramiko.Transport:
    """A connection that is not signed in to; the node shows its key of `kind`, else one of the pinned key's kind."""
    try:
        sock = socket.create_connection((address.address, address.port), timeout=seconds)
    except OSError as error:
        raise NodeUnreachable(node=address.name, reason=error.strerror or str(error) or "no answer") from error
    except UnicodeError as error:
        raise NodeUnreachable(node=address.name, reason=f"“{address.address}” is no host name") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # What is sent and not acknowledged for this long (ms) ends the connection, so a cut is noticed.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000)
    try:
        transport = paramiko.Transport(sock, default_window_size=WINDOW)
        transport.banner_timeout = seconds
        options = transport.get_security_options()
        options.ciphers = [name for name in FAST_CIPHERS if name in options.ciphers]
        first = KEY_ALGORITHMS.get(kind or address.host_key.partition(" ")[0], ())
        others = () if kind else tuple(name for name in options.key_types if name not in first)
        options.key_types = [*(name for name in first if name in options.key_types), *others]
        transport.start_client(timeout=seconds)
        if not transport.initial_kex_done:
            # paramiko says nothing when its time is over.
            transport.close()
            raise NodeUnreachable(node=address.name, reason="no ssh server answers")
    except (paramiko.SSHException, EOFError, OSError) as error:
        sock.close()
        raise NodeUnreachable(node=address.name, reason=str(error) or "no ssh server answers") from error
    except (ValueError, IndexError, struct.error) as error:
        # What paramiko's thread met in bytes that are not ssh's is raised here as it is.
        sock.close()
        raise NodeUnreachable(node=address.name, reason="what answers there does not speak ssh properly") from error
    return transport


def _sign_in(transport: paramiko.Transport, address: NodeAddress) -> None:
    try:
        if address.password is not None:
            transport.auth_password(address.user, address.password)
        elif address.key is not None:
            transport.auth_publickey(address.user, parse_key(address.key))
        elif address.key_path is not None:
            transport.auth_publickey(address.user, paramiko.Ed25519Key.from_private_key_file(address.key_path))
        else:
            raise NodeRefused(node=address.name, reason="there is neither a key nor a password to sign in with")
    except paramiko.AuthenticationException as error:
        raise NodeRefused(node=address.name, reason="it does not accept the key or password") from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise NodeUnreachable(node=address.name, reason=str(error) or "the connection was lost") from error


def parse_key(text: str) -> paramiko.PKey:
    """A private key in OpenSSH or PEM form; raises ValueError for what is none, or needs a passphrase."""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text))
        except (paramiko.SSHException, ValueError, IndexError):
            continue
    raise ValueError("is not a private key without a passphrase")


def _line(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"
