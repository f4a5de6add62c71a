"""A VM that nobody but this file touches: what a skilled person does with virsh and qemu-img, and how long it takes."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.hosts import Node

FOLDER = "/var/lib/byhand"
POOL = "/var/lib/vmpanel/pool"
NAME, COPY = "byhand", "byhand-copy"
DISK, SEED = f"{FOLDER}/disk.qcow2", f"{FOLDER}/seed.iso"
KEY = "/root/.ssh/byhand"
COPY_MAC = "52:54:00:00:be:02"


class Hand:
    """A domain made after the panel's own, with the same devices, that the panel does not know."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.node = nodes[0]
        self.size_gib = 1
        self.seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the block."""
        began = time.monotonic()
        yield
        self.seconds = time.monotonic() - began

    def virsh(self, *words: str, node: Node | None = None) -> str:
        """What virsh says."""
        return (node or self.node).run(["virsh", "-q", "-c", "qemu:///system", *words]).stdout

    def prepare(self, model: str) -> None:
        """Have the domain on the first node, made after the panel's VM `model`, which is off and stays so.

        It takes over the model's address with its seed, and has its MAC for that.
        """
        for node in self.nodes:
            node.run(["mkdir", "-p", FOLDER])
        xml = self.virsh("dumpxml", "--inactive", "--security-info", model)
        volume, seed = (re.search(rf"{POOL}/{each}/[^']*", xml) for each in ("volumes", "seeds"))
        assert volume and seed
        self.node.run(["cp", "--sparse=always", volume[0], DISK])
        self.node.run(["cp", seed[0], SEED])
        xml = (
            xml.replace(volume[0], DISK).replace(seed[0], SEED).replace(f"<name>{model}</name>", f"<name>{NAME}</name>")
        )
        self._define(re.sub(r"<uuid>.*?</uuid>", f"<uuid>{uuid.uuid4()}</uuid>", xml), NAME)
        self._trust()

    def _define(self, xml: str, name: str) -> None:
        self.node.run(["sh", "-c", f"cat > {FOLDER}/{name}.xml"], input=xml)
        self.virsh("define", f"{FOLDER}/{name}.xml")

    def _trust(self) -> None:
        """Let root of each node in at the other, as whoever moves VMs by hand has it."""
        for node in self.nodes:
            node.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY])
        for node in self.nodes:
            public = node.run(["cat", f"{KEY}.pub"]).stdout
            for other in self.nodes:
                if other is not node:
                    other.run(["sh", "-c", "cat >> /root/.ssh/authorized_keys"], input=public)
                    known = f"{other.address} {other.host_key}\n"
                    node.run(["sh", "-c", "cat >> /root/.ssh/known_hosts"], input=known)

    @property
    def other(self) -> Node:
        """The node that it is not on."""
        return next(node for node in self.nodes if node is not self.node)

    def start(self) -> None:
        """Start it."""
        with self.timed():
            self.virsh("start", NAME)

    def force_off(self) -> None:
        """Cut its power."""
        with self.timed():
            self.virsh("destroy", NAME)

    def snapshot(self) -> None:
        """Take one, with memory while it runs; it is removed when the time is taken."""
        with self.timed():
            self.virsh("snapshot-create-as", NAME, "before")
        self.virsh("snapshot-delete", NAME, "before")

    def grow_off(self) -> None:
        """A GiB more, while it is off."""
        self.size_gib += 1
        with self.timed():
            self.node.run(["qemu-img", "resize", "-q", DISK, f"{self.size_gib}G"])

    def grow_live(self) -> None:
        """A GiB more, while it runs."""
        self.size_gib += 1
        with self.timed():
            self.virsh("blockresize", NAME, DISK, f"{self.size_gib}G")

    def clone(self) -> None:
        """A second VM from its disk, with a name, a MAC and a seed of its own, that runs; removed afterwards."""
        disk, seed = f"{FOLDER}/copy.qcow2", f"{FOLDER}/copy.iso"
        content = f"{FOLDER}/content"
        self.node.run(["sh", "-c", f"mkdir -p {content} && cd {content} && echo a > meta-data && echo b > user-data"])
        with self.timed():
            self.node.run(["cp", "--reflink=auto", "--sparse=always", DISK, disk])
            self.node.run(["genisoimage", "-quiet", "-o", seed, "-V", "cidata", "-J", "-r", content])
            xml = self.virsh("dumpxml", "--inactive", "--security-info", NAME)
            xml = re.sub(r"<uuid>.*?</uuid>", "", xml).replace(f"<name>{NAME}</name>", f"<name>{COPY}</name>")
            xml = re.sub(r"<mac address='.*?'/>", f"<mac address='{COPY_MAC}'/>", xml)
            # A port is called after the MAC; two cannot be called the same.
            xml = re.sub(r"<target dev='(?!vd|sd)[^']*'/>", "", xml)
            self._define(xml.replace(DISK, disk).replace(SEED, seed), COPY)
            self.virsh("start", COPY)
        self.virsh("destroy", COPY)
        self.virsh("undefine", COPY)
        self.node.run(["rm", "-f", disk, seed])

    def migrate(self) -> int:
        """It runs on the other node, with its disk, and nothing of it is left here; libvirt's downtime in ms."""
        source, target = self.node, self.other
        there = f"root@{target.address}"
        ssh = ["-i", KEY, "-o", "BatchMode=yes", "-p", str(target.ssh_port)]
        with self.timed():
            source.run(["ssh", *ssh, there, f"qemu-img create -q -f qcow2 {DISK} {self.size_gib}G"])
            source.run(["scp", "-q", "-i", KEY, "-P", str(target.ssh_port), SEED, f"{there}:{SEED}"])
            uri = f"qemu+ssh://{there}:{target.ssh_port}/system?keyfile={KEY}"
            flags = ["--live", "--p2p", "--copy-storage-all", "--persistent", "--undefinesource"]
            flags += ["--auto-converge", "--abort-on-error"]
            self.virsh("migrate", *flags, NAME, uri, f"tcp://{target.address}")
            source.run(["rm", "-f", DISK, SEED])
        self.node = target
        told = self.virsh("domjobinfo", "--completed", NAME)
        found = re.search(r"Total downtime:\s+(\d+)", told)
        return int(found[1]) if found else 0
