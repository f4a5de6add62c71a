"""What root, and those who sign in beside root, find around them on a lab's host; each of it can be made odd."""

from __future__ import annotations

import re
import socket

from panel.cluster import session
from panel.cluster.client import NodeAddress
from tests.lab.hosts import Node
from tests.stack import wait_until


class Host:
    """A lab's host whose root can be given other surroundings; use() gives it those of a fresh host."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.sshd_config = self._read("/etc/ssh/sshd_config")
        self.keys = self._read("/root/.ssh/authorized_keys")

    def _read(self, path: str) -> str:
        return self.node.run(["cat", path]).stdout

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Have the file there, for root."""
        self.node.run(["cp", "/dev/stdin", path], input=text)
        self.node.run(["chmod", mode, path])

    def use(
        self, *, bashrc: str = "", sshrc: str = "", shell: str = "/bin/bash", sshd: str = "", key: str = ""
    ) -> None:
        """Give root these surroundings, and those of a fresh host for the rest."""
        self.write("/root/.bashrc", bashrc)
        self.write("/etc/ssh/sshrc", sshrc) if sshrc else self.node.run(["rm", "-f", "/etc/ssh/sshrc"])
        self.write("/root/.ssh/authorized_keys", f"{key} {self.keys}" if key else self.keys, "0600")
        self.node.run(["usermod", "--shell", shell, "root"])
        # The first of two lines counts, but for a subsystem, of which there may be one.
        own = [line for line in self.sshd_config.splitlines() if not (sshd and line.startswith("Subsystem"))]
        self._have_sshd("\n".join([*filter(None, [sshd]), *own, ""]))

    def _have_sshd(self, config: str) -> None:
        if self._read("/etc/ssh/sshd_config") == config:
            return
        self.write("/etc/ssh/sshd_config", config)
        pid = self._read("/run/sshd.pid").strip()
        umask = re.findall(r"^Umask:\t(\d+)$", self._read(f"/proc/{pid}/status"), re.MULTILINE)[0]
        self.node.kill(int(pid))
        script = 'umask "$1"; exec /usr/sbin/sshd -f /etc/ssh/sshd_config -E /var/log/lab-sshd.log'
        self.node.run(["sh", "-c", script, "sh", umask])
        wait_until(self._listens, "sshd listens", 10)

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.node.address, self.node.ssh_port), 1).close()
        except OSError:
            return False
        return True

    def have_host_keys(self, *kinds: str) -> list[str]:
        """Give the host keys of these kinds (as "rsa") and no others; answers their fingerprints."""
        kept = [line for line in self.sshd_config.splitlines() if not line.startswith("HostKey")]
        paths = [f"/etc/ssh/lab_host_{kind}" for kind in kinds]
        for kind, path in zip(kinds, paths, strict=True):
            if self.node.run(["ls", path], check=False).returncode:
                self.node.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path])
        self.sshd_config = "\n".join([*(f"HostKey {path}" for path in paths), *kept, ""])
        self._have_sshd(self.sshd_config)
        return [self.node.run(["ssh-keygen", "-l", "-f", path]).stdout.split()[1] for path in paths]

    def have_user(self, name: str, password: str) -> None:
        """Have a user who is not root."""
        if self.node.run(["id", name], check=False).returncode:
            self.node.run(["useradd", "--create-home", "--shell", "/bin/bash", name])
        self.node.run(["chpasswd"], input=f"{name}:{password}\n")

    def have_sudoer(self, name: str, password: str, rule: str) -> None:
        """Have a user whom sudo lets do that."""
        self.have_user(name, password)
        self.write("/etc/sudoers.d/lab", f"{name} {rule}\n", "0440")

    def session(self) -> session.Session:
        """A session of its own with the host, by key."""
        key = str(self.node.private_key_path)
        return session.Session(NodeAddress(self.node.name, self.node.address, self.node.ssh_port, key_path=key))
