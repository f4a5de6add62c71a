"""Bridges."""

from __future__ import annotations

import ipaddress
import re

from nodeagent.protocol import Nothing, network
from panel.cluster.client import Report
from panel.cluster.fake.base import Node
from panel.cluster.fake.state import STATES_ON, AgentRefusal


class Bridges(Node):
    """Bridges, and the interfaces of running domains on them."""

    def _bridge_state(self, name: str) -> network.BridgeState:
        ports = [
            interface.mac
            for domain in self.domains.values()
            if domain.state in STATES_ON
            for interface in domain.now.interfaces
            if interface.bridge == name
        ]
        return network.BridgeState(name=name, exists=name in self.bridges, ports=ports)

    def _check_bridge(self, name: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", name):
            raise AgentRefusal("invalid_params", "A bridge has another kind of name.", field="name")

    def _bridge_ensure(self, request: network.BridgeEnsure, _report: Report | None) -> network.BridgeState:
        self._check_bridge(request.name)
        try:
            gateway, subnet = ipaddress.IPv4Interface(request.gateway), ipaddress.IPv4Network(request.subnet)
        except ValueError as error:
            raise AgentRefusal("invalid_params", f"This is not a network: {error}.", field="subnet") from error
        if gateway.ip not in subnet:
            raise AgentRefusal("invalid_params", "The gateway does not lie in the subnet.", field="gateway")
        self.bridges[request.name] = request
        return self._bridge_state(request.name)

    def _bridge_remove(self, request: network.BridgeRemove, _report: Report | None) -> Nothing:
        self._check_bridge(request.name)
        if self._bridge_state(request.name).ports:
            raise AgentRefusal("in_use", "The bridge still has interfaces.")
        self.bridges.pop(request.name, None)
        return Nothing()

    def _bridges_read(self, request: network.BridgesRead, _report: Report | None) -> network.BridgeList:
        return network.BridgeList(bridges=[self._bridge_state(name) for name in sorted(self.bridges)])
