"""What is really there: on a node, and inside its guests."""

from __future__ import annotations

import json
import subprocess

import httpx

from tests.lab.hosts import Node
from tests.stack import done


def remains(node: Node) -> dict[str, list[str]]:
    """What VMs could have left on a node: domains, volumes, seeds, interfaces in its bridges."""
    domains = node.run(["virsh", "-c", "qemu:///system", "list", "--all", "--name"]).stdout.split()
    files = node.run(
        ["find", "/var/lib/vmpanel/pool/volumes", "/var/lib/vmpanel/pool/seeds", "-type", "f"]
    ).stdout.split()
    uploads = node.run(["find", "/var/lib/vmpanel/pool/images", "-name", "*.upload"]).stdout.split()
    links = json.loads(node.run(["ip", "-j", "link"]).stdout)
    taps = [link["ifname"] for link in links if link["ifname"].startswith(("vnet", "tap"))]
    return {"domains": domains, "files": files, "uploads": uploads, "interfaces": taps}


NOTHING: dict[str, list[str]] = {"domains": [], "files": [], "uploads": [], "interfaces": []}


def ssh(node: Node, key: str, login: str, address: str, *command: str) -> str:
    """What a command prints inside a guest, reached from its node by ssh with the private key `key` (its text)."""
    argv = ["ssh", "-i", "/dev/stdin", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
    argv += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"]
    folder = "/run/guest-key"
    node.run(["install", "-d", "-m", "700", folder])
    node.run(["sh", "-c", f"umask 077; cat > {folder}/id"], input=key)
    argv[2] = f"{folder}/id"
    return node.run([*argv, f"{login}@{address}", *command]).stdout.strip()


def make_key(folder: str) -> tuple[str, str]:
    """A new ssh key pair: the private text and the public line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/id"], check=True)
    with open(f"{folder}/id", encoding="ascii") as private, open(f"{folder}/id.pub", encoding="ascii") as public:
        return private.read(), public.read().strip()


def add_node(api: httpx.Client, node: Node, **way: str) -> str:
    """Make a node of the panel's of a host, by its password or another `way`; answers its path."""
    raw = {"name": node.name, "address": node.address, "password": node.root_password, "virtualization": "qemu"}
    return f"nodes/{done(api, api.post('nodes', json=raw | way))['object_id']}"
