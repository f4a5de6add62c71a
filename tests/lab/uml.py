"""A lab node with a kernel of its own: User-mode Linux, which has what this machine's kernel may lack.

VLANs, bonds, sfq and police among it. The kernel is one process of this machine with one CPU. Its memory, and the disk
tree that the node writes, are in memory, so that the node begins anew when it is stopped and started.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.hosts import INIT, LabError, Node, run, started_at

PROGRAM = "linux.uml"
FIRST = Path(__file__).with_name("uml_init")
MEMORY = "1024M"
PRESENT = shutil.which(PROGRAM) is not None
"""Whether this machine has it: Debian's package user-mode-linux."""


class UmlNode(Node):
    """Such a node. What is run in it is run over ssh."""

    def start(self) -> None:
        """Turn the node on; raises LabError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.unplug()
        self.plug()
        description = self.lab.folder / f"{self.name}.json"
        description.touch(mode=0o600)
        network = {"address": f"{self.address}/{self.lab.subnet.prefixlen}", "gateway": self.lab.panel_address}
        description.write_text(json.dumps({**self.description, "network": network}), encoding="utf-8")
        process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", PROGRAM, *self._kernel(description)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Its memory is a file there.
            env={**os.environ, "TMPDIR": "/dev/shm"},
        )
        self.keeper, self.keeper_ticks = process.pid, started_at(process.pid) or 0
        self.lab.save()
        self._wait_until_ready(process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        self.pid = int(children[0])
        self.ticks = started_at(self.pid) or 0
        self.lab.processes[self.name] = process
        self.lab.save()

    def _kernel(self, description: Path) -> list[str]:
        card = f"vec0:transport=tap,ifname={self.link},depth=64,gro=1,mac={self.mac('eth0')}"
        root = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={FIRST}"]
        ours = [f"lab.description={description}", f"lab.folder={self.folder}", f"lab.init={INIT}"]
        console = ["con=null", "con0=null,fd:1", "ssl=null", "quiet", f"uml_dir={self.folder}", "umid=uml"]
        return [f"mem={MEMORY}", *root, card, *console, *ours]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.decode(errors="replace").strip())
            if said[-1] == "ready":
                return
        raise LabError(f"{self.name} did not start: {' / '.join(said[-20:])}")

    def argv(self, argv: Sequence[str]) -> list[str]:
        """What runs `argv` inside the node when run here."""
        if not self.running:
            raise LabError(f"{self.name} is off.")
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        ssh = ["ssh", "-i", str(self.private_key_path), *(word for each in options for word in ("-o", each))]
        return [*ssh, f"root@{self.address}", "LC_ALL=C.UTF-8", shlex.join(argv)]

    def plug(self) -> None:
        """Its cable is there; what is at its other end the node makes itself."""
        run("ip", "tuntap", "add", self.link, "mode", "tap")
        run("ip", "link", "set", self.link, "master", self.lab.bridge, "up")

    def unplug(self) -> None:
        """Of a node that is off, nothing is left in this machine's network."""
        with contextlib.suppress(LabError):
            run("ip", "link", "del", self.link)
