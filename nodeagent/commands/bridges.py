"""Bridges with NAT: made with ip and nft, remembered, made again after the node's restart."""

from __future__ import annotations

import ipaddress
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import List, Sequence, Set, Tuple

from nodeagent import barriers, guards, hostnet, memory, nft, paths
from nodeagent.commands import handles
from nodeagent.errors import CommandFailed, Exists, InUse, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import Nothing, network, to_dict
from nodeagent.run import run

NAME = re.compile(r"[a-z][a-z0-9-]{0,14}\Z")
TABLES = "vmpanel_"
"""What the names of bridges' tables begin with."""
REFUSED = "reject with icmpx admin-prohibited"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
BOOT = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger("nodeagent")


@handles(network.BridgeEnsure)
def bridge_ensure(request: network.BridgeEnsure, job: Job) -> network.BridgeState:
    """Have the bridge, its address, forwarding and masquerading, and remember them."""
    name, gateway, subnet = _checked(request)
    with memory.changing(paths.BRIDGES) as remembered:
        used = hostnet.overlaps(subnet, name, job)
        # One that has its address already has guests: it is kept as it is, and the panel says what came to overlap it.
        if used and not (_exists(name, job) and str(gateway) in _addresses(name, job)):
            raise Exists(f"The network {subnet} overlaps {', '.join(used)}, which is the host's own.", used=used)
        _make(request, job)
        remembered[name] = to_dict(request)
        return replace(_state(request, job), overlaps=used, barriers=barriers.found(name, job))


def _make(request: network.BridgeEnsure, job: Job) -> None:
    name, gateway, _subnet = _checked(request)
    there = hostnet.links(job)
    if there.get(name) is False:
        raise Exists(f"The host has an interface “{name}” of its own, which the panel did not make.", name=name)
    # The same on every node: a guest that is moved finds its gateway where it remembers it.
    mac = hostnet.bridge_mac(name)
    if name not in there:
        run(["ip", "link", "add", "name", name, "address", mac, "type", "bridge", "forward_delay", "0"], job)
    run(["ip", "link", "set", "dev", name, "address", mac, "alias", hostnet.MARK], job)
    if str(gateway) not in _addresses(name, job):
        run(["ip", "address", "replace", str(gateway), "dev", name], job)
    run(["ip", "link", "set", "dev", name, "up"], job)
    _forward()
    if rules := _rules(request):
        run(["nft", "-f", "-"], job, stdin=rules)
    else:
        nft.drop("inet", _table(name), job)


@handles(network.BridgeRemove)
def bridge_remove(request: network.BridgeRemove, job: Job) -> Nothing:
    """Remove the bridge and its rules, unless guests are joined to it."""
    name = _name(request.name)
    with memory.changing(paths.BRIDGES) as remembered:
        if _exists(name, job):
            ports = _ports(name, job)
            if ports:
                raise InUse(f"The bridge still has {len(ports)} interfaces.", ports=ports)
            run(["ip", "link", "delete", "dev", name], job)
        nft.drop("inet", _table(name), job)
        remembered.pop(name, None)
        if not remembered:
            _forward_as_before()
    return Nothing()


def _forward() -> None:
    """The host forwards. What it did before is remembered, unless that comes to be its own wish."""
    boot = BOOT.read_text(encoding="ascii").strip()
    with memory.changing(paths.FORWARDING) as before:
        value = FORWARDING.read_text(encoding="ascii").strip()
        if value != "1":
            before.update(value=value, boot=boot)
            FORWARDING.write_text("1\n", encoding="ascii")
        elif before.get("boot") != boot:
            # It started so: somebody else has it switched on by now.
            before.clear()


def _forward_as_before() -> None:
    """The host forwards only if it did before our first bridge."""
    with memory.changing(paths.FORWARDING) as before:
        value = before.get("value")
        before.clear()
        if value is not None:
            FORWARDING.write_text(f"{int(value)}\n", encoding="ascii")


@handles(network.NetworksRead)
def networks_read(request: network.NetworksRead, job: Job) -> network.HostNetworks:
    """List what is the host's own."""
    there = hostnet.links(job)
    ours = {name for name, ours in there.items() if ours}
    return network.HostNetworks(networks=hostnet.networks(ours, job), links=sorted(there.keys() - ours))


@handles(network.BridgesRead)
def bridges_read(request: network.BridgesRead, job: Job) -> network.BridgeList:
    """List what is remembered with what the kernel lacks of it, and what is there besides that only we make."""
    with memory.changing(paths.BRIDGES) as remembered:
        known = [network.BridgeEnsure(**values) for _name, values in sorted(remembered.items())]
        bridges = [_state(each, job, _lacks(each, job)) for each in known]
        left = _ours(job) - remembered.keys()
    bridges += [network.BridgeState(name, _exists(name, job), [], remembered=False) for name in sorted(left)]
    return network.BridgeList(bridges=bridges, guards=guards.read(job))


@handles(network.GuardsEnsure)
def guards_ensure(request: network.GuardsEnsure, job: Job) -> Nothing:
    """Guard the ports of several VMs as the panel says."""
    guards.ensure({each.vm: each.interfaces for each in request.guards}, request.gone, job)
    return Nothing()


def restore(job: Job) -> None:
    """Make every remembered bridge and guard again; called after the node's start.

    One that cannot be made holds up no other: the panel asks for each besides, and says why it cannot be made.
    """
    guards.restore(job)
    with memory.changing(paths.BRIDGES) as remembered:
        for name, values in remembered.items():
            try:
                _make(network.BridgeEnsure(**values), job)
            except (CommandFailed, Exists, OSError) as error:
                log.warning("%s the bridge %s cannot be made again: %s", job.request_id, name, error)


def _checked(request: network.BridgeEnsure) -> Tuple[str, ipaddress.IPv4Interface, ipaddress.IPv4Network]:
    name = _name(request.name)
    try:
        gateway = ipaddress.IPv4Interface(request.gateway)
        subnet = ipaddress.IPv4Network(request.subnet)
    except ValueError as error:
        raise InvalidParams(f"This is not a network: {error}.", field="subnet") from error
    if gateway.ip not in subnet:
        raise InvalidParams("The gateway does not lie in the subnet.", field="gateway")
    try:
        for each in request.kept_from or ():
            ipaddress.ip_address(each)
    except ValueError as error:
        raise InvalidParams(f"This is not an address: {error}.", field="kept_from") from error
    return name, gateway, subnet


def _name(name: str) -> str:
    if not NAME.match(name):
        raise InvalidParams("A bridge has a name of up to 15 of a-z, 0-9 and hyphens.", field="name")
    return name


def _rules(request: network.BridgeEnsure) -> str:
    """The bridge's own nft table, replaced as a whole, of checked values; empty where it needs none."""
    name, gateway, subnet = _checked(request)
    table, chains = _table(name), ""
    if request.nat:
        lines = [f'ip saddr {subnet} oifname != "{name}" masquerade']
        chains += _chain("postrouting", "nat hook postrouting priority srcnat", lines)
    if request.kept_from is not None:
        chains += _chain("input", "filter hook input priority filter", _of_the_node(name, gateway))
        chains += _chain("forward", "filter hook forward priority filter", _of_others(name, request.kept_from))
    text = f"table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{chains}}}\n"
    return text if chains else ""


def _chain(name: str, base: str, lines: Sequence[str]) -> str:
    rules = "".join(f"  {line}\n" for line in lines)
    return f" chain {name} {{\n  type {base}; policy accept;\n{rules} }}\n"


def _of_the_node(name: str, gateway: ipaddress.IPv4Interface) -> List[str]:
    """What guests may begin with the node itself. What it began with them goes on."""
    return [
        f'iifname != "{name}" accept',
        "ct state { established, related } accept",
        "udp dport 67 accept",
        f"ip daddr {gateway.ip} udp dport 53 accept",
        f"ip daddr {gateway.ip} tcp dport 53 accept",
        f"ip daddr {gateway.ip} icmp type echo-request accept",
        "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
        REFUSED,
    ]


def _of_others(name: str, addresses: Sequence[str]) -> List[str]:
    parsed = sorted({ipaddress.ip_address(each) for each in addresses}, key=lambda each: (each.version, int(each)))
    found = []
    for version, family in ((4, "ip"), (6, "ip6")):
        if of_version := [str(each) for each in parsed if each.version == version]:
            listed = ", ".join(of_version)
            begun = "ct state != { established, related }"
            found.append(f'iifname "{name}" {begun} {family} daddr {{ {listed} }} {REFUSED}')
    return found


def _table(name: str) -> str:
    return TABLES + name.replace("-", "_")


def _lacks(request: network.BridgeEnsure, job: Job) -> List[str]:
    """What of the bridge is not in the kernel as it is remembered."""
    name, gateway, _subnet = _checked(request)
    text = _rules(request)
    rules = nft.meant(text, job) if text else {}
    found = {
        "bridge": _exists(name, job),
        "rules": nft.listed("inet", _table(name), job) == rules,
        "forwarding": FORWARDING.read_text(encoding="ascii").strip() == "1",
    }
    if found["bridge"]:
        found["up"] = "UP" in hostnet.ip(["link", "show", "dev", name], job)[0]["flags"]
        found["address"] = str(gateway) in _addresses(name, job)
    return sorted(each for each, there in found.items() if not there)


def _ours(job: Job) -> Set[str]:
    """The bridges that are there with our mark, and those that a table of ours is for."""
    tables = [each[len(TABLES) :] for each in nft.tables("inet", job) if each.startswith(TABLES)]
    made = {name for name, ours in hostnet.links(job).items() if ours}
    return made | {each.replace("_", "-") for each in tables}


def bridge_names(job: Job) -> List[str]:
    """The names of all bridges that are there."""
    return [entry["ifname"] for entry in hostnet.ip(["link", "show", "type", "bridge"], job)]


def _exists(name: str, job: Job) -> bool:
    """Whether it is there, and ours."""
    return hostnet.links(job).get(name, False)


def _ports(name: str, job: Job) -> List[str]:
    return sorted(entry["ifname"] for entry in hostnet.ip(["link", "show", "master", name], job))


def _addresses(name: str, job: Job) -> List[str]:
    entries = hostnet.ip(["address", "show", "dev", name], job)
    return [f"{each['local']}/{each['prefixlen']}" for entry in entries for each in entry.get("addr_info", [])]


def _state(request: network.BridgeEnsure, job: Job, lacks: Sequence[str] = ()) -> network.BridgeState:
    exists = _exists(request.name, job)
    return network.BridgeState(
        name=request.name,
        exists=exists,
        ports=_ports(request.name, job) if exists else [],
        gateway=request.gateway,
        subnet=request.subnet,
        nat=request.nat,
        lacks=list(lacks),
        kept_from=request.kept_from,
    )
