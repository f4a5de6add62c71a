"""The bridge that tests of networks make, a guarded guest on it, and how a node refuses or is damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nodeagent.protocol import host, network
from panel.core.errors import NodeError
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, code_of, make_spec

ENSURE = network.BridgeEnsure(name="vmbr-nat0", gateway="10.77.0.1/24", subnet="10.77.0.0/24")
THERE = network.BridgeState("vmbr-nat0", True, [], ENSURE.gateway, ENSURE.subnet, nat=True)
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
