"""The bridge that tests of networks make, a guarded guest on it, and how a node refuses or is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from nodeagent.protocol import host, network
from panel.core.errors import NodeError
from tests.contract.local_agent import until
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, code_of, make_spec

ENSURE = network.BridgeEnsure(name="vmbr-nat0", gateway="10.77.0.1/24", subnet="10.77.0.0/24")
THERE = network.BridgeState("vmbr-nat0", True, [], ENSURE.gateway, ENSURE.subnet, nat=True)
KNOCK = """
import errno, socket, sys
knock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
knock.settimeout(0.7)
sys.exit(knock.connect_ex((sys.argv[1], 9)) != errno.ECONNREFUSED)
"""
PORT = "tap525400123456"


def refusal(node: Subject, request: object) -> str:
    """The code with which the node refuses."""
    with pytest.raises(NodeError) as caught:
        node.call(request)  # type: ignore[arg-type]
    return code_of(caught.value)


def damage(node: Subject, fake: Callable[[FakeSubject], object], *commands: str) -> None:
    """What happens to the kernel's part behind the agent's back: to the fake, or by these commands."""
    if isinstance(node, FakeSubject):
        fake(node)
    elif isinstance(node, AgentSubject):
        for command in commands:
            node.agent.run_in_namespace(*command.split())


def guarded(node: Subject) -> host.DomainSpec:
    """A domain whose port is filtered."""
    spec = make_spec(node.pool)
    mine = replace(spec.interfaces[0], guarded=True, addresses=["10.77.0.11", "10.77.0.10"])
    spec = replace(spec, interfaces=[mine])
    node.call(host.HostCreate(spec=spec))
    return spec


class FarEnd:
    """A host at the other end of a wire from the agent's network namespace, in a namespace of its own."""

    def __init__(self, node: AgentSubject, near: str) -> None:
        self.agent = node.agent
        self.process = subprocess.Popen(["unshare", "--net", "--", "sleep", "60"])
        until(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        peer = ("peer", "name", "far0", "netns", str(self.process.pid))
        self.agent.run_in_namespace("ip", "link", "add", near, "type", "veth", *peer)
        self.agent.run_in_namespace("ip", "link", "set", near, "addrgenmode", "none")
        self.agent.run_in_namespace("ip", "link", "set", near, "up")
        self.run("ip", "link", "set", "far0", "up")

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program there."""
        inside = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *argv]
        return subprocess.run(inside, check=check, capture_output=True, text=True)

    def reaches(self, address: str) -> bool:
        """Whether somebody answers there, who takes no connection."""
        return self.run(sys.executable, "-c", KNOCK, address, check=False).returncode == 0


@contextmanager
def far_end(node: AgentSubject, near: str, *addresses: str) -> Iterator[FarEnd]:
    """Such a host with these addresses; its wire ends at the interface `near` of the agent's."""
    far = FarEnd(node, near)
    try:
        for address in addresses:
            far.run("ip", "address", "add", address, "dev", "far0", *(["nodad"] if ":" in address else []))
        yield far
    finally:
        far.process.kill()
        far.process.wait()
