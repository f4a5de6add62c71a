"""An sshd on a loopback port with its own host key, home, password file and /usr/lib/vmpanel.

It runs in a mount namespace, so the panel can put its agent and its key on "the node" and nothing of
this machine changes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from passlib.hash import sha512_crypt

from panel.cluster.client import NodeAddress
from tests.contract.local_agent import until

SSHD = "/usr/sbin/sshd"
PASSWORD = "open sesame"
# Constant; what differs comes as arguments. The upper folder of an overlay must not lie on an overlay: hence tmpfs.
START = """
set -e
mount -t tmpfs tmpfs "$1/over"
mkdir "$1/over/upper" "$1/over/work"
mount -t overlay overlay -o "lowerdir=/usr/lib,upperdir=$1/over/upper,workdir=$1/over/work" /usr/lib
mount --bind "$1/home" /root
mount --bind "$1/shadow" /etc/shadow
mount -t tmpfs tmpfs /run
mkdir /run/sshd
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"""


@dataclass(frozen=True)
class Sshd:
    """A running sshd; `key_path` is a key that it does not know yet."""

    folder: Path
    port: int
    host_key: str
    key_path: Path
    process: subprocess.Popen[bytes]

    def address(self, **changes: object) -> NodeAddress:
        """How it is reached, by password unless `changes` says otherwise."""
        values: dict[str, object] = {"password": PASSWORD, "host_key": self.host_key, **changes}
        return NodeAddress(name="private", address="127.0.0.1", port=self.port, **values)  # type: ignore[arg-type]

    @property
    def public_key(self) -> str:
        """The line for authorized_keys."""
        return Path(f"{self.key_path}.pub").read_text().strip()

    @property
    def authorized_keys(self) -> list[str]:
        """The lines of authorized_keys."""
        path = self.folder / "home/.ssh/authorized_keys"
        return path.read_text().splitlines() if path.exists() else []


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Sshd]:
    """Start an sshd and end it with all its sessions."""
    for name in ("home", "over", "root"):
        (folder / name).mkdir()
    (folder / "home").chmod(0o700)
    (folder / "libvirt.xml").write_text("<node/>")
    (folder / "shadow").write_text(f"root:{sha512_crypt.using(rounds=1000).hash(PASSWORD)}:19000:0:99999:7:::\n")
    for name in ("host_key", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(folder / name)], check=True
        )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
        "PermitRootLogin yes\nPasswordAuthentication yes\nSubsystem sftp internal-sftp\nAllowTcpForwarding yes\n"
        f"SetEnv VMPANEL_NODE_ROOT={folder}/root VMPANEL_LIBVIRT_URI=test://{folder}/libvirt.xml\n"
    )
    with open(folder / "sshd.log", "wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", START, "start", str(folder)], stderr=log, start_new_session=True
        )
    try:
        until(lambda: _answers(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "sshd.log").read_text()
        host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
        yield Sshd(folder, port, host_key, folder / "key", process)
    finally:
        for child in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 15)
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
