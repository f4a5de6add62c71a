"""The ssh connection to a node: host key pinned, files, channels. paramiko's errors are translated here alone.

Nothing that came from outside is ever put into a command line: run_constant() takes the few
constants that are needed before an agent is there.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import paramiko

from panel.cluster import keys
from panel.cluster.client import HEED_SECONDS, Heed, NodeAddress, Progress, Report
from panel.core.errors import NodeRefused, NodeTimeout, NodeUnreachable

AUTHORIZED_KEYS = ".ssh/authorized_keys"
WINDOW = 16 * 1024 * 1024
PACKET = 32 * 1024
ANSWER_SECONDS = 60.0
"""How long a node may take to answer one request about a file."""
NO_STATUS = -1
"""paramiko's exit status where none came."""
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")

Constant = Literal[
    "cat /etc/os-release",
    "/usr/bin/python3 -c 'import sys; print(sys.version_info[0], sys.version_info[1])'",
    "virsh -c qemu:///system capabilities",
    "cat /var/lib/vmpanel/node.json",
    "sha256sum /usr/lib/vmpanel/nodeagent.pyz /usr/lib/vmpanel/vmwatch.pyz",
    "/usr/bin/python3 /usr/lib/vmpanel/nodeagent.pyz",
    "/usr/bin/python3 -I -c 'import json, sys; exec((m := json.load(sys.stdin))[\"program\"], m)'",
]
BARE: Constant = "/usr/bin/python3 -I -c 'import json, sys; exec((m := json.load(sys.stdin))[\"program\"], m)'"
"""Runs a program of ours that comes with its request on stdin, and leaves nothing on the host (bare.py)."""


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

    def open_session(self, command: Constant) -> paramiko.Channel:
        """Start one of the constant commands; its streams are the channel's."""
        with self._translated():
            channel = self.transport.open_session(window_size=WINDOW, timeout=15)
            channel.exec_command(command)
            return channel

    def run_constant(self, command: Constant, seconds: float = 30.0, stdin: bytes = b"") -> tuple[int, str]:
        """Exit code and output of one of the constant commands, which reads `stdin`."""
        channel = self.open_session(command)
        with self._translated(), contextlib.closing(channel):
            channel.settimeout(seconds)
            if stdin:
                channel.sendall(stdin)
                channel.shutdown_write()
            output = b""
            while block := channel.recv(65536):
                output += block
            code = channel.recv_exit_status()
            if code == NO_STATUS:
                # It was killed, or the connection ended before it did: what it would have said is not known.
                raise EOFError(f"“{command.split()[0]}” was ended there before it could answer")
            return code, output.decode(errors="replace")

    def open_port(self, port: int) -> paramiko.Channel:
        """A stream to the node's own loopback port."""
        with self._translated():
            return self.transport.open_channel("direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=15)

    def upload(self, local: Path, remote: str, report: Report | None = None, heed: Heed | None = None) -> None:
        """Put a file at `remote`, several writes under way at a time; what `heed` raises ends it."""
        total = local.stat().st_size
        with (
            self._translated(),
            self._sftp() as sftp,
            _heeding(sftp, heed),
            open(local, "rb") as source,
            sftp.open(remote, "wb") as target,
        ):
            target.set_pipelined(True)
            done = 0
            while block := source.read(PACKET):
                target.write(block)
                done += len(block)
                if report is not None:
                    report(Progress(done, total, f"{done >> 20} of {total >> 20} MiB sent"))

    def put(self, content: bytes, remote: str, mode: int) -> bool:
        """Have a small file with this content at `remote`, put in place as a whole; True when it was not there so."""
        with self._translated(), self._sftp() as sftp:
            if _content(sftp, remote) == content:
                return False
            _make_folders(sftp, str(Path(remote).parent))
            # Of its own name: another worker may be putting the same file there.
            partial = f"{remote}.{secrets.token_hex(4)}.part"
            with sftp.open(partial, "wb") as file:
                file.write(content)
            sftp.chmod(partial, mode)
            sftp.posix_rename(partial, remote)
            return True

    def why_no_files(self) -> str:
        """Why files cannot be put on the node; empty when they can."""
        try:
            with self._sftp() as sftp:
                sftp.stat("/")
        except (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError) as error:
            if not self.transport.is_active():
                raise NodeUnreachable(node=self.address.name, reason="the connection was lost") from error
            return str(error) or "no answer"
        return ""

    def authorize_key(self, public_key: str) -> None:
        """The key's holder may sign in as this user; a second time changes nothing."""
        with self._translated(), self._sftp() as sftp:
            with contextlib.suppress(OSError):
                sftp.mkdir(".ssh", 0o700)
            there = _content(sftp, AUTHORIZED_KEYS) or b""
            if public_key.encode() in there.splitlines():
                return
            # What somebody wrote by hand need not end with a newline.
            between = "\n" if there and not there.endswith(b"\n") else ""
            with sftp.open(AUTHORIZED_KEYS, "ab") as file:
                file.write(f"{between}{public_key}\n".encode())
            sftp.chmod(AUTHORIZED_KEYS, 0o600)

    def deauthorize_key(self, public_key: str) -> None:
        """The key's holder may not sign in any more."""
        with self._translated(), self._sftp() as sftp:
            lines = (_content(sftp, AUTHORIZED_KEYS) or b"").splitlines(keepends=True)
            kept = [line for line in lines if line.rstrip(b"\r\n") != public_key.encode()]
            if len(kept) != len(lines):
                with sftp.open(AUTHORIZED_KEYS, "wb") as file:
                    file.write(b"".join(kept))

    def close(self) -> None:
        """End the connection."""
        self.transport.close()

    @contextlib.contextmanager
    def _sftp(self) -> Iterator[paramiko.SFTPClient]:
        channel = self.transport.open_session(window_size=WINDOW, max_packet_size=PACKET, timeout=15)
        channel.settimeout(ANSWER_SECONDS)
        channel.invoke_subsystem("sftp")
        with contextlib.closing(paramiko.SFTPClient(channel)) as client:
            try:
                yield client
            except OSError as error:
                # A dying transport closes its channels a moment before it says itself that it is not active.
                if channel.closed:
                    raise EOFError("the connection was lost") from error
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except TimeoutError as error:
            took = time.monotonic() - began
            raise NodeTimeout(node=self.address.name, command="ssh", seconds=round(took, 1)) from error
        except (paramiko.SSHException, paramiko.SFTPError, EOFError, ConnectionError) as error:
            raise NodeUnreachable(node=self.address.name, reason=str(error) or "the connection was lost") from error
        except OSError as error:
            if not self.transport.is_active():
                raise NodeUnreachable(node=self.address.name, reason="the connection was lost") from error
            raise NodeRefused(node=self.address.name, reason=error.strerror or str(error)) from error


def open_connection(address: NodeAddress, seconds: float = 10.0) -> Connection:
    """Connect and sign in, refusing any host key but the pinned one; without a pinned one any key is taken.

    Raises NodeUnreachable, NodeRefused.
    """
    transport = _negotiate(address, seconds)
    try:
        shown = _line(transport.get_remote_server_key())
        if address.host_key and shown != address.host_key:
            reason = f"its host key is {keys.fingerprint(shown)}, not the pinned {keys.fingerprint(address.host_key)}; "
            raise NodeRefused(node=address.name, reason=f"{reason}if the new one is right, reconnect the node with it")
        _sign_in(transport, address)
    except BaseException:
        transport.close()
        raise
    return Connection(address, transport)


def read_host_key(address: NodeAddress, seconds: float = 10.0) -> str:
    """The key that the node shows, before anything is told to it."""
    transport = _negotiate(address, seconds)
    with contextlib.closing(transport):
        return _line(transport.get_remote_server_key())


@contextlib.contextmanager
def _heeding(sftp: paramiko.SFTPClient, heed: Heed | None) -> Iterator[None]:
    """Ask `heed` while the block works, and end a block that waits for the node with what it raised."""
    over, raised = threading.Event(), list[BaseException]()

    def watch() -> None:
        while heed is not None and not over.wait(HEED_SECONDS):
            try:
                heed()
            except BaseException as error:
                raised.append(error)
                sftp.close()
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


def _negotiate(address: NodeAddress, seconds: float) -> paramiko.Transport:
    try:
        sock = socket.create_connection((address.address, address.port), timeout=seconds)
    except OSError as error:
        raise NodeUnreachable(node=address.name, reason=error.strerror or str(error) or "no answer") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # What is sent and not acknowledged for this long (ms) ends the connection, so a cut is noticed.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000)
    try:
        transport = paramiko.Transport(sock, default_window_size=WINDOW)
        transport.banner_timeout = seconds
        options = transport.get_security_options()
        options.ciphers = [name for name in FAST_CIPHERS if name in options.ciphers]
        if address.host_key:
            kind = address.host_key.split()[0]
            options.key_types = [kind, *(name for name in options.key_types if name != kind)]
        transport.start_client(timeout=seconds)
        if not transport.initial_kex_done:
            # paramiko says nothing when its time is over.
            transport.close()
            raise NodeUnreachable(node=address.name, reason="no ssh server answers")
    except (paramiko.SSHException, EOFError, OSError) as error:
        sock.close()
        raise NodeUnreachable(node=address.name, reason=str(error) or "no ssh server answers") from error
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


def _content(sftp: paramiko.SFTPClient, path: str) -> bytes | None:
    try:
        with sftp.open(path, "rb") as file:
            file.prefetch()
            return file.read()
    except FileNotFoundError:
        return None


def _make_folders(sftp: paramiko.SFTPClient, path: str) -> None:
    for folder in [*reversed(Path(path).parents), Path(path)]:
        try:
            sftp.stat(str(folder))
        except FileNotFoundError:
            sftp.mkdir(str(folder), 0o755)
