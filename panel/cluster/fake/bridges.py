"""Bridges, and the anti-spoofing filters of ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nodeagent import forwards, security_groups
from nodeagent import network as networks
from nodeagent.protocol import Nothing, network, to_dict
from nodeagent.protocol.host import InterfaceSpec, Security
from nodeagent.xml.describe import port_name
from panel.cluster.client import Report
from panel.cluster.fake.base import Node
from panel.cluster.fake.state import STATES_ON, AgentRefusal
from panel.cluster.fake.volumes import refusing


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
        wanted = self.bridges.get(name)
        if wanted is None:
            return network.BridgeState(name, name in self.links, ports, remembered=False)
        there = self.links.get(name)
        if refusing(networks.of, wanted).hosts_own:
            there = wanted if name in self.host_bridges else None
        return network.BridgeState(
            name,
            there is not None,
            ports,
            wanted.gateway,
            wanted.subnet,
            wanted.nat,
            lacks=_lacks(there, wanted),
            kept_from=wanted.kept_from,
            kind=wanted.kind,
            options=wanted.options,
            further=wanted.further,
            confirm_within=self.trials.get(name, 0.0),
        )

    def _bridge_ensure(self, request: network.BridgeEnsure, _report: Report | None) -> network.BridgeState:
        # What can be asked for of a kind, its driver says; what comes of it is the same for all of them here.
        driver = refusing(networks.checked, request)
        alone = [ipaddress.ip_network(each.subnet) for each in request.every_subnet() if driver.ALONE]
        used = [each.how for each in self.host_networks if any(map(_overlap(each.network), alone))]
        if used and request.name not in self.links:
            subnets = ", ".join(map(str, alone))
            raise AgentRefusal("exists", f"The network {subnets} overlaps {', '.join(used)}, which is the host's own.")
        if driver.hosts_own:
            if request.name not in self.host_bridges:
                raise AgentRefusal("no_such_interface", f"The host has no bridge “{request.name}”.")
            self.bridges[request.name] = request
            return self._bridge_state(request.name)
        if driver.needs and driver.needs not in self.host_links:
            raise AgentRefusal("no_such_interface", f"The host has no interface “{driver.needs}”.")
        if request.kind in self.unable:
            raise AgentRefusal("unsupported", f"The node's kernel has no networks of the kind “{request.kind}”.")
        if request.name in (*self.host_links, *self.host_bridges):
            text = f"The host has an interface “{request.name}” of its own, which the panel did not make."
            raise AgentRefusal("exists", text)
        if driver.takes and request.trial_seconds and request.name not in self.links:
            self.trials[request.name] = request.trial_seconds
        remembered = replace(request, trial_seconds=0.0)
        self.bridges[request.name] = self.links[request.name] = remembered
        barriers = list(self.barriers) if driver.FORWARDS else []
        return replace(self._bridge_state(request.name), overlaps=used, barriers=barriers)

    def _networks_read(self, request: network.NetworksRead, _report: Report | None) -> network.HostNetworks:
        return network.HostNetworks(
            networks=list(self.host_networks), links=sorted([*self.host_links, *self.host_bridges])
        )

    def _bridge_remove(self, request: network.BridgeRemove, _report: Report | None) -> Nothing:
        if request.name not in self.bridges:
            refusing(networks.refuse_name, request.name)
        if self._bridge_state(request.name).ports:
            raise AgentRefusal("in_use", "The bridge still has interfaces.")
        self._forget_bridge(request.name)
        return Nothing()

    def _bridge_confirm(self, request: network.BridgeConfirm, _report: Report | None) -> Nothing:
        if request.name not in self.bridges:
            raise AgentRefusal("undone", f"The network of “{request.name}” is not there to be confirmed.")
        self.trials.pop(request.name, None)
        return Nothing()

    def end_trials(self) -> None:
        """Nobody confirmed in time what is on trial."""
        for name in list(self.trials):
            if self.made_links.pop(name, None) is not None:
                self.host_links.remove(name)
            self._forget_bridge(name)

    def _forget_bridge(self, name: str) -> None:
        for what in (self.bridges, self.links, self.trials):
            what.pop(name, None)

    def _bridges_read(self, request: network.BridgesRead, _report: Report | None) -> network.BridgeList:
        remembered = [each for guards in self.guards.values() for each in guards]
        ports = {each.port for each in remembered}
        return network.BridgeList(
            bridges=[
                *(self._bridge_state(name) for name in sorted(self.bridges)),
                *(self._bridge_state(name) for name in sorted(self.links.keys() - self.bridges.keys())),
            ],
            guards=[
                *(replace(each, in_force=self.rules.get(each.port) == each) for each in remembered),
                *(network.AntiSpoofingFilter(port) for port in sorted(self.rules.keys() - ports)),
            ],
            ports=[
                network.PortState(vm, each, port_name(each.mac) not in self.unsecured)
                for vm, there in sorted(self.ports.items())
                for each in there
            ],
        )

    def _security_update(self, request: network.SecurityUpdate, _report: Report | None) -> Nothing:
        asked = {each.vm: each.interfaces for each in request.vms}
        self._refuse_ports(asked)
        for vm in asked.keys() & self.ports.keys():
            given, said = {each.mac: each for each in asked[vm]}, []
            for each in self.ports[vm]:
                other = given.get(each.mac, each)
                said.append(replace(each, security=other.security, forwards=other.forwards))
            self._remember_ports(vm, said)
        return Nothing()

    def _refuse_ports(self, vms: Mapping[str, Sequence[InterfaceSpec]]) -> None:
        for refuse in (security_groups.refuse, forwards.refuse):
            refusing(refuse, vms)
        known = {uuid: [to_dict(each) for each in there] for uuid, there in self.ports.items()}
        refusing(lambda asked: forwards.refuse_taken(known, asked, self.listening), vms)

    def _remember_ports(self, uuid: str, interfaces: Sequence[InterfaceSpec]) -> None:
        """Rules that were read before those that are there do not replace them."""
        self._refuse_ports({uuid: interfaces})
        had = {each.mac: each.security for each in self.ports.pop(uuid, [])}
        self.unsecured.clear()
        if interfaces:
            self.ports[uuid] = [replace(each, security=_newer(had.get(each.mac), each.security)) for each in interfaces]

    def _guards_ensure(self, request: network.FiltersEnsure, _report: Report | None) -> Nothing:
        left = {port: rule for port, rule in self._left_rules().items() if port not in request.gone}
        for each in request.guards:
            self._remember_filters(each.vm, each.interfaces)
            self._remember_ports(each.vm, each.interfaces)
        self._write_rules(left)
        return Nothing()

    def restore_network(self) -> None:
        """All that is remembered is in the kernel, as after the node's start."""
        made = {name: asked for name, asked in self.bridges.items() if not refusing(networks.of, asked).hosts_own}
        self.links = {**self.links, **made}
        if self.guards:
            self._write_rules(self._left_rules())

    def _filter_ports(self, uuid: str, interfaces: Sequence[InterfaceSpec]) -> None:
        self._remember_ports(uuid, interfaces)
        before, left = self.guards.get(uuid), self._left_rules()
        self._remember_filters(uuid, interfaces)
        if before is not None or uuid in self.guards:
            self._write_rules(left)

    def _remember_filters(self, uuid: str, interfaces: Sequence[InterfaceSpec]) -> None:
        self.guards.pop(uuid, None)
        wanted = [
            network.AntiSpoofingFilter(port_name(each.mac), uuid, each.mac.lower(), sorted(each.addresses))
            for each in interfaces
            if each.guarded
        ]
        if wanted:
            self.guards[uuid] = wanted

    def _left_rules(self) -> dict[str, network.AntiSpoofingFilter]:
        """The anti-spoofing filters that its kernel has and nobody remembers."""
        known = {each.port for guards in self.guards.values() for each in guards}
        return {port: rule for port, rule in self.rules.items() if port not in known and rule.mac}

    def _write_rules(self, left: dict[str, network.AntiSpoofingFilter]) -> None:
        self.rules = left | {each.port: each for guards in self.guards.values() for each in guards}


def _overlap(used: str) -> Callable[[ipaddress.IPv4Network | ipaddress.IPv6Network], bool]:
    """Whether a network has addresses in common with what is used."""
    other = ipaddress.ip_network(used)
    return lambda each: each.version == other.version and each.overlaps(other)


def _newer(had: Security | None, said: Security | None) -> Security | None:
    older = had is not None and said is not None and 0 < said.revision < had.revision
    return had if older else said


def _lacks(there: network.BridgeEnsure | None, wanted: network.BridgeEnsure) -> list[str]:
    if there is None:
        return ["bridge"]
    lacks = {
        "address": there.gateway != wanted.gateway,
        "rules": (there.subnet, there.nat, there.kept_from) != (wanted.subnet, wanted.nat, wanted.kept_from),
    }
    return [name for name, differs in lacks.items() if differs]
