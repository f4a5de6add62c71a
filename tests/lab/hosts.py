"""The lab: hosts of our own on this machine, each with its address, sshd, disk tree and (if asked) libvirtd.

A node is a network namespace joined by a veth pair to the lab's bridge, and a tree of processes whose
PID 1 is node_init.py. What a run made stands in RECORDS while it exists; clean_dead() removes what an
earlier run left when it died. Only processes that a lab started itself are ever ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

RECORDS = Path("/run/vmpanel-lab")
INIT = Path(__file__).with_name("node_init.py")
DEFAULT_BASE = Path(__file__).resolve().parents[2] / "var" / "lab"
SYSTEM_PYTHON = "/usr/bin/python3"
START_SECONDS = 60.0
SHARED = "/srv/shared"
"""Where the nodes of a lab see a folder that they share."""


class LabError(Exception):
    """The lab cannot do what was asked; the text says why."""


def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program of this machine; raises LabError with its words."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done


def started_at(pid: int) -> int | None:
    """When the process was started, in the kernel's ticks: with the pid it names one process for good. None: gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


@dataclasses.dataclass
class Node:
    """One host of the lab. Times to wait are the methods' own; all return when it is so."""

    lab: Lab
    number: int
    name: str
    address: str
    root_password: str
    host_uuid: str
    ssh_port: int = 22
    start_libvirt: bool = False
    as_debian: bool = False
    kvm: str = "udev"
    """Its /dev/kvm: as "udev" leaves it, as the "kernel" makes it (root's alone), or so and "fixed"."""
    pid: int = 0
    ticks: int = 0
    keeper: int = 0
    keeper_ticks: int = 0
    at_boot: list[Callable[[Node], None]] = dataclasses.field(default_factory=list)
    """What gives it further interfaces, whenever it is turned on: its cables, and its own configuration of them."""

    @property
    def private_key_path(self) -> Path:
        """A private key that opens root's account."""
        return self.lab.folder / "id_ed25519"

    @property
    def netns(self) -> str:
        """The name of the node's network namespace."""
        return f"vmpanel-lab-{self.lab.id}-{self.number}"

    @property
    def link(self) -> str:
        """The end of the node's cable that is in the bridge."""
        return f"vl{self.lab.id}n{self.number}"

    def mac(self, interface: str) -> str:
        """The MAC address of an interface that the node has at its start: the same at each."""
        digest = hashlib.sha256(f"{self.netns}{interface}".encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))

    @property
    def folder(self) -> Path:
        """Where the node's disk tree is."""
        return self.lab.folder / self.name

    @property
    def running(self) -> bool:
        """Whether the node is on."""
        return bool(self.pid) and started_at(self.pid) == self.ticks

    @property
    def host_key(self) -> str:
        """The node's ssh host key as "ssh-ed25519 AAAA..."."""
        words = self.run(["cat", "/etc/ssh/lab_host_ed25519.pub"]).stdout.split()
        return " ".join(words[:2])

    @property
    def description(self) -> dict[str, Any]:
        """What node_init.py is told of the node."""
        return {
            "name": self.name,
            "address": self.address,
            "port": self.ssh_port,
            "password": self.root_password,
            "public_key": Path(f"{self.private_key_path}.pub").read_text(encoding="ascii").strip(),
            "host_uuid": self.host_uuid,
            "start_libvirt": self.start_libvirt,
            "as_debian": self.as_debian,
            "kvm": self.kvm,
            "folder": str(self.folder),
            "shared": str(self.lab.shared),
            "interpreter": sys.base_prefix,
        }

    def start(self) -> None:
        """Turn the node on, with the disk tree that it had and the network of a new start; raises LabError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.unplug()
        self.plug()
        command = ["ip", "netns", "exec", self.netns, "unshare", "-m", "-p", "-f", "-u", "--kill-child"]
        with (self.lab.folder / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, SYSTEM_PYTHON, str(INIT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.keeper, self.keeper_ticks = process.pid, started_at(process.pid) or 0
        self.lab.save()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(self.description).encode())
        with process.stdout:
            ready = process.stdout.readline()
        if ready != b"ready\n":
            process.wait()
            log_text = (self.lab.folder / f"{self.name}.log").read_text(encoding="utf-8", errors="replace")
            raise LabError(f"{self.name} did not start: {log_text[-2000:]}")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        self.pid = int(children[0])
        self.ticks = started_at(self.pid) or 0
        self.lab.processes[self.name] = process
        self.lab.save()

    def argv(self, argv: Sequence[str]) -> list[str]:
        """What runs `argv` inside the node when run here."""
        if not self.running:
            raise LabError(f"{self.name} is off.")
        spaces = ["--mount", "--uts", "--net", "--pid", "--root"]
        clean = ["env", "-i", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=xterm"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", "--target", str(self.pid), *spaces, *clean, path, *argv]

    def run(
        self, argv: Sequence[str], *, check: bool = True, input: str | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside the node; raises LabError with its words when it fails and `check`."""
        done = subprocess.run(
            self.argv(argv),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            input=input,
            timeout=timeout,
            stdin=subprocess.DEVNULL if input is None else None,
        )
        if check and done.returncode:
            raise LabError(f"{self.name}: {' '.join(argv)}: {done.stderr.strip() or done.returncode}")
        return done

    def pids(self, name: str) -> list[int]:
        """The node's own numbers of its processes of this (short) name."""
        script = 'for f in /proc/[0-9]*/comm; do read -r n < $f && [ "$n" = "$1" ] && echo $f; done 2>/dev/null; true'
        shown = self.run(["sh", "-c", script, "sh", name]).stdout.split()
        return sorted(int(path.split("/")[2]) for path in shown)

    def kill(self, *pids: int, signal_name: str = "KILL") -> None:
        """Send a signal to processes of the node, by the node's own numbers."""
        if pids:
            script = 's=$1; shift; kill -s "$s" "$@" 2>/dev/null; true'
            self.run(["sh", "-c", script, "sh", signal_name, *(str(pid) for pid in pids)])

    def kill_libvirtd(self) -> None:
        """libvirtd dies at once, as if it had crashed; its guests run on."""
        self.kill(*self.pids("libvirtd"))

    def ensure_libvirt(self) -> None:
        """libvirtd answers, started when it did not."""
        if self.run(["virsh", "-c", "qemu:///system", "version"], check=False).returncode:
            if not self.pids("virtlogd"):
                self.run(["/usr/sbin/virtlogd", "-d"])
            if not self.pids("libvirtd"):
                # Not checked: a panel that looks after this node may have started it just now.
                self.run(["/usr/sbin/libvirtd", "-d"], check=False)
            self.wait_for(["virsh", "-c", "qemu:///system", "version"])

    def wait_for(self, argv: Sequence[str], seconds: float = 30.0) -> None:
        """Return when the command succeeds inside the node; raises LabError when it did not in time."""
        until = time.monotonic() + seconds
        while (done := self.run(argv, check=False)).returncode:
            if time.monotonic() > until:
                raise LabError(f"{self.name}: {' '.join(argv)}: {done.stderr.strip()}")
            time.sleep(0.1)

    def cut(self) -> None:
        """Pull the node's cable."""
        run("ip", "link", "set", self.link, "down")

    def heal(self) -> None:
        """Plug the node's cable in again."""
        run("ip", "link", "set", self.link, "up")

    def stop(self) -> None:
        """The node is off, as after a power cut; start() turns it on again."""
        end_process(self.pid, self.ticks)
        end_process(self.keeper, self.keeper_ticks)
        if process := self.lab.processes.pop(self.name, None):
            process.wait()
        self.pid = self.ticks = self.keeper = self.keeper_ticks = 0

    def plug(self) -> None:
        """The node has the network that its own configuration gives it, and nothing that was made in it later."""
        run("ip", "netns", "add", self.netns)
        peer = ("peer", "name", f"{self.link}i", "address", self.mac("eth0"))
        run("ip", "link", "add", self.link, "type", "veth", *peer)
        run("ip", "link", "set", f"{self.link}i", "netns", self.netns, "name", "eth0")
        run("ip", "link", "set", self.link, "master", self.lab.bridge, "up")
        for words in (
            ("addr", "add", f"{self.address}/{self.lab.subnet.prefixlen}", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", self.lab.panel_address),
        ):
            run("ip", "-n", self.netns, *words)
        for each in self.at_boot:
            each(self)

    def unplug(self) -> None:
        """Of a node that is off, nothing is left in this machine's network."""
        run("ip", "link", "del", self.link, check=False)
        run("ip", "netns", "del", self.netns, check=False)


def end_process(pid: int, ticks: int) -> None:
    """Kill this very process, if it is still there, and wait for its end."""
    if not pid or started_at(pid) != ticks:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 20
    while started_at(pid) == ticks:
        if time.monotonic() > until:
            raise LabError(f"Process {pid} does not end.")
        time.sleep(0.01)


class Lab:
    """A bridge with the panel's address, and the nodes at it. A context manager; close() removes everything."""

    def __init__(self, lab_id: str, folder: Path, subnet: str, owner: tuple[int, int] | None) -> None:
        self.id = lab_id
        self.folder = folder
        self.subnet = ipaddress.IPv4Network(subnet)
        self.owner = owner
        self.nodes: list[Node] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def create(
        cls,
        count: int,
        *,
        start_libvirt: bool = False,
        base: Path | None = None,
        keep: bool = False,
        ssh_port: int = 22,
    ) -> Lab:
        """A lab of `count` nodes that are on. `keep`: it may outlive this process (script/lab up).

        Removes what dead runs left first. Raises LabError, with nothing left behind.
        """
        if os.geteuid() != 0:
            raise LabError("The lab needs root: it makes network namespaces and mounts.")
        clean_dead()
        lab_id = secrets.token_hex(3)
        folder = writable_base(base or DEFAULT_BASE) / lab_id
        owner = None if keep else (os.getpid(), started_at(os.getpid()) or 0)
        with _reserving() as taken:
            lab = cls(lab_id, folder, free_subnet(taken), owner)
            lab.save()
        try:
            lab.make_network()
            for number in range(1, count + 1):
                lab.add_node(number, start_libvirt=start_libvirt, ssh_port=ssh_port)
        except BaseException:
            lab.close()
            raise
        return lab

    @property
    def panel_address(self) -> str:
        """The address of this machine that the nodes can reach."""
        return str(self.subnet[1])

    @property
    def shared(self) -> Path:
        """A folder of which all nodes see the same files, as SHARED."""
        return self.folder / "shared"

    @property
    def bridge(self) -> str:
        """The lab's bridge."""
        return f"vl{self.id}"

    def make_network(self) -> None:
        """The bridge, and a key for all nodes."""
        self.folder.mkdir(parents=True, mode=0o700)
        self.shared.mkdir()
        self.shared.chmod(0o711)
        key = self.folder / "id_ed25519"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(key))
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.panel_address}/{self.subnet.prefixlen}", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def add_node(
        self,
        number: int | None = None,
        *,
        start_libvirt: bool = False,
        ssh_port: int = 22,
        as_debian: bool = False,
        kvm: str = "udev",
        kernel: str = "",
    ) -> Node:
        """One more node, on. `as_debian`: its QEMU runs as a user of its own, and root's umask is 077.

        `kernel`: "uml" has a kernel of its own (uml.py), else it is this machine's.
        """
        from tests.lab.uml import UmlNode

        number = number or max((node.number for node in self.nodes), default=0) + 1
        made = UmlNode if kernel == "uml" else Node
        node = made(
            lab=self,
            number=number,
            name=f"node{number}",
            address=str(self.subnet[10 + number]),
            root_password=secrets.token_urlsafe(12),
            host_uuid=str(uuid.uuid4()),
            ssh_port=ssh_port,
            start_libvirt=start_libvirt,
            as_debian=as_debian,
            kvm=kvm,
        )
        self.nodes.append(node)
        self.save()
        node.start()
        return node

    def remove_node(self, node: Node) -> None:
        """A host that a test made is gone, and the next one may have its number."""
        node.stop()
        node.unplug()
        shutil.rmtree(node.folder, ignore_errors=True)
        self.nodes.remove(node)
        self.save()

    def save(self) -> None:
        """Write down what exists, so that another process can list and remove it."""
        fields = ("number", "name", "address", "root_password", "host_uuid", "ssh_port", "start_libvirt")
        fields += ("pid", "ticks", "keeper", "keeper_ticks")
        record: dict[str, Any] = {
            "id": self.id,
            "folder": str(self.folder),
            "subnet": str(self.subnet),
            "owner": self.owner,
            "nodes": [{name: getattr(node, name) for name in fields} for node in self.nodes],
        }
        RECORDS.mkdir(mode=0o700, exist_ok=True)
        partial = RECORDS / f"{self.id}.part"
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(record), encoding="utf-8")
        partial.rename(RECORDS / f"{self.id}.json")

    @classmethod
    def load(cls, record: Path) -> Lab:
        """The lab that a record tells of."""
        told = json.loads(record.read_text(encoding="utf-8"))
        lab = cls(told["id"], Path(told["folder"]), told["subnet"], tuple(told["owner"]) if told["owner"] else None)
        lab.nodes = [Node(lab=lab, **fields) for fields in told["nodes"]]
        return lab

    @property
    def dead(self) -> bool:
        """Whether the process that made the lab, and should have removed it, is gone."""
        return self.owner is not None and started_at(self.owner[0]) != self.owner[1]

    def close(self) -> None:
        """Nothing of the lab is left; may be called again."""
        for node in self.nodes:
            node.stop()
        for node in self.nodes:
            node.unplug()
        # What was put around the nodes too (provider.py).
        for each in json.loads(run("ip", "-j", "netns", "list").stdout or "[]"):
            if each["name"].startswith(f"vmpanel-lab-{self.id}-"):
                run("ip", "netns", "del", each["name"], check=False)
        run("ip", "link", "del", self.bridge, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()
        (RECORDS / f"{self.id}.json").unlink(missing_ok=True)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def labs() -> list[Lab]:
    """Every lab on this machine, dead ones included."""
    return [Lab.load(record) for record in sorted(RECORDS.glob("*.json"))]


def clean_dead() -> None:
    """Remove what labs left whose owners died."""
    for lab in labs():
        if lab.dead:
            lab.close()


@contextlib.contextmanager
def _reserving() -> Iterator[set[str]]:
    """Hold the lock under which a lab takes a subnet; gives those that other labs have."""
    import fcntl

    RECORDS.mkdir(mode=0o700, exist_ok=True)
    with (RECORDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield {str(lab.subnet) for lab in labs()}


def free_subnet(taken: set[str]) -> str:
    """A /24 of 10.0.0.0/8 that no interface, no route and no other lab of this machine uses."""
    used = [ipaddress.IPv4Network(text) for text in taken]
    for route in json.loads(run("ip", "-j", "-4", "route", "show", "table", "all").stdout or "[]"):
        with contextlib.suppress(ValueError):
            used.append(ipaddress.IPv4Network(route["dst"], strict=False))
    for second in range(201, 255):
        for third in range(256):
            candidate = ipaddress.IPv4Network(f"10.{second}.{third}.0/24")
            if not any(candidate.overlaps(other) for other in used):
                return str(candidate)
    raise LabError("This machine uses all of 10.201.0.0 to 10.254.255.0 already.")


def writable_base(wanted: Path) -> Path:
    """`wanted`, or a folder in memory where it lies on an overlay, which cannot carry another overlay's upper part."""
    wanted.mkdir(parents=True, exist_ok=True)
    kind = run("stat", "-f", "-c", "%T", str(wanted)).stdout.strip()
    if not kind.startswith("overlay"):
        return wanted
    memory = Path("/dev/shm/vmpanel-lab")
    memory.mkdir(mode=0o700, exist_ok=True)
    return memory
