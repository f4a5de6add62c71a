"""Security groups of guests' ports: what a guest receives and sends beyond answers is what its rules let through.

One nft table of the bridge family, with two chains a port: frames from the guest (after the anti-spoofing filter), and
to it, whether they come over the bridge, are routed here, or are the node's own. So it is the same in networks of all
kinds, and needs nothing of the host's own firewall: neither connection tracking of bridges, which not every kernel has,
nor bridged frames in the host's chains (br_netfilter), which would drop them by rules of its own.

What has been let through is noted as seen from the guest (protocol, both addresses, both ports) in sets of the port's
own, with a time; what bears the same passes both ways. A guest that opens too much fills its own sets alone. For the
first minute of a port, as after a migration, TCP that is under way passes too and is noted: its notes stayed behind.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from nodeagent import nft
from nodeagent.errors import InvalidParams, Unsupported
from nodeagent.job import Job
from nodeagent.protocol import from_dict
from nodeagent.protocol.host import InterfaceSpec, Security, SecurityRule
from nodeagent.run import Finished, failed, run
from nodeagent.xml.describe import port_name

FAMILY, TABLE = "bridge", "vmpanel_security"
HOOKS = {"in": "postrouting priority 0", "out": "prerouting priority -290"}
PROTOCOLS = ("any", "tcp", "udp", "icmp")
MOST_NOTES = 16384
FRESH = "fresh"
FRESH_SECONDS = 60
CANNOT = ("Operation not supported", "Protocol not supported", "Could not process rule: No such file or directory")
ERRORS = "destination-unreachable, time-exceeded, parameter-problem"
NEIGHBOURS = "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect"
LISTENERS = "mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report"
Rules = Dict[str, Security]
"""By port."""


@dataclass(frozen=True)
class Way:
    """How the guest's and the other's fields of a packet are called in one direction, for a version of IP."""

    direction: str
    ip: str

    @property
    def peer(self) -> str:
        """The other's address."""
        return f"{self.ip} {'saddr' if self.direction == 'in' else 'daddr'}"

    @property
    def pair(self) -> str:
        """Protocol and both addresses, the guest's first."""
        ours = f"{self.ip} {'daddr' if self.direction == 'in' else 'saddr'}"
        return f"meta l4proto . {ours} . {self.peer}"

    @property
    def flow(self) -> str:
        """The same with both ports, likewise."""
        ours, theirs = ("th dport", "th sport") if self.direction == "in" else ("th sport", "th dport")
        return f"{self.pair} . {ours} . {theirs}"


def refuse(vms: Mapping[str, Sequence[InterfaceSpec]]) -> None:
    """Raise InvalidParams for rules that are none."""
    for interfaces in vms.values():
        for each in interfaces:
            for rule in each.security.rules if each.security else ():
                _refuse(rule)


def _refuse(rule: SecurityRule) -> None:
    if rule.direction not in HOOKS:
        raise InvalidParams("A rule is for what comes “in” or goes “out”.", field="direction")
    if rule.protocol not in PROTOCOLS:
        raise InvalidParams("There is no such protocol.", field="protocol")
    ports = 0 <= rule.first <= rule.last <= 65535 and (rule.first > 0) == (rule.last > 0)
    if not ports or (rule.first and rule.protocol not in ("tcp", "udp")):
        raise InvalidParams("These are no ports.", field="first")
    try:
        for each in rule.peers or ():
            ipaddress.ip_network(each)
    except ValueError as error:
        raise InvalidParams(f"This is no network: {error}.", field="peers") from error


def wanted(known: Mapping[str, Sequence[Mapping[str, Any]]]) -> Rules:
    """The security of all remembered ports that have any."""
    there = [from_dict(InterfaceSpec, each) for vm in known.values() for each in vm if each.get("security")]
    return {port_name(each.mac): each.security for each in there if each.security is not None}


def write(before: Rules, known: Mapping[str, Sequence[Mapping[str, Any]]], job: Job) -> None:
    """The kernel has the rules of all remembered ports, in one transaction; what was noted stays.

    Raises Unsupported where the node's kernel cannot.
    """
    now = wanted(known)
    if not now and not before:
        return
    there = nft.listed(FAMILY, TABLE, job)
    if not now:
        nft.drop(FAMILY, TABLE, job)
        return
    gone = sorted({name[2:] for name in there if name[:2] in ("i_", "o_")} - now.keys())
    new = sorted(now.keys() - {name[2:] for name in there})
    done = run(["nft", "-f", "-"], job, stdin=_script(now, gone, new), check=False)
    if done.exit_code:
        raise _refusal(done)


def _refusal(done: Finished) -> Exception:
    if any(each in done.stderr for each in CANNOT):
        return Unsupported("The node's kernel cannot filter by security groups: its nftables know no sets with times.")
    return failed("nft", done)


def unheeded(known: Mapping[str, Sequence[Mapping[str, Any]]], job: Job) -> Set[str]:
    """The ports of whose rules the kernel lacks something."""
    now = wanted(known)
    if not now:
        return set()
    there, meant = nft.listed(FAMILY, TABLE, job), nft.meant(_script(now, (), ()), job)
    if any(there.get(each) != meant[each] for each in HOOKS):
        return {*now}
    return {port for port in now if any(there.get(name) != meant[name] for name in _chains_of(port))}


def _chains_of(port: str) -> Tuple[str, ...]:
    return tuple(f"{kind}_{port}" for kind in ("i", "o", "ni", "no"))


def _script(now: Rules, gone: Sequence[str], new: Sequence[str]) -> str:
    """What makes the table so; all values in it were checked. Rules are written anew, sets stay."""
    table = f"{FAMILY} {TABLE}"
    lines = [f"add table {table}", f"add set {table} {FRESH} {{ type ifname; flags timeout; }}"]
    for port in sorted(now):
        lines += [f"add set {table} {name} {{ {kind} }}" for name, kind in _sets(port)]
        lines += [f"add chain {table} {name}" for name in _chains_of(port)]
    lines += [f"add chain {table} {name} {{ type filter hook {hook}; policy accept; }}" for name, hook in HOOKS.items()]
    lines.append(f"flush table {table}")
    for port, security in sorted(now.items()):
        lines += [f"add rule {table} {chain} {rule}" for chain, rule in _rules(port, security)]
    for direction, field in (("in", "oifname"), ("out", "iifname")):
        verdicts = ", ".join(f'"{port}" : goto {direction[0]}_{port}' for port in sorted(now))
        lines.append(f"add rule {table} {direction} {field} vmap {{ {verdicts} }}")
    for port in gone:
        lines += [f"delete chain {table} {name}" for name in _chains_of(port)]
        lines += [f"delete set {table} {name}" for name, _kind in _sets(port)]
    lines += [f'add element {table} {FRESH} {{ "{port}" timeout {FRESH_SECONDS}s }}' for port in new]
    return "\n".join(lines) + "\n"


def _sets(port: str) -> Iterator[Tuple[str, str]]:
    more = f"size {MOST_NOTES}; flags dynamic,timeout; timeout 3m;"
    for version, kind in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
        pair = f"inet_proto . {kind} . {kind}"
        yield f"p{version}_{port}", f"type {pair}; {more}"
        yield f"f{version}_{port}", f"type {pair} . inet_service . inet_service; {more}"


def _rules(port: str, security: Security) -> Iterator[Tuple[str, str]]:
    """Each rule of the port with the chain that it is in."""
    for direction in HOOKS:
        chain, note = f"{direction[0]}_{port}", f"n{direction[0]}_{port}"
        yield from ((chain, rule) for rule in _always(direction))
        for version, ip in (("4", "ip"), ("6", "ip6")):
            way = Way(direction, ip)
            yield from ((chain, rule) for rule in _under_way(version, port, way, note))
            yield from ((note, rule) for rule in _noting(version, port, way))
        for rule in security.rules:
            if rule.direction == direction:
                yield from ((chain, f"{match} goto {note}") for match in _matches(rule, direction))
        yield chain, "drop"
        yield note, "accept"


def _always(direction: str) -> List[str]:
    """What a network does not work without: neighbours, DHCP, errors about what is under way, parts of packets."""
    theirs, ours = ("sport", "dport") if direction == "in" else ("dport", "sport")
    return [
        "ether type { arp, 0x8035 } accept",
        "ether type != { ip, ip6 } drop",
        "ip frag-off & 0x1fff != 0 accept",
        "frag frag-off != 0 accept",
        "ip protocol igmp accept",
        f"ether type ip udp {theirs} 67 udp {ours} 68 accept",
        f"ether type ip6 udp {theirs} 547 udp {ours} 546 accept",
        f"ip protocol icmp icmp type {{ {ERRORS} }} accept",
        f"ip6 nexthdr icmpv6 icmpv6 type {{ {ERRORS}, packet-too-big, {NEIGHBOURS} }} accept",
        f"icmpv6 type {{ {LISTENERS} }} accept",
    ]


def _under_way(version: str, port: str, way: Way, note: str) -> List[str]:
    """What belongs to what was let through before, either way."""
    kind, flow, pair = f"ether type {way.ip}", f"f{version}_{port}", f"p{version}_{port}"
    known, answer = f"{way.flow} @{flow}", "icmp" if version == "4" else "icmpv6"
    iface = "oifname" if way.direction == "in" else "iifname"
    tcp, again = f"{kind} meta l4proto tcp", f"update @{flow} {{ {way.flow} timeout"
    return [
        f"{tcp} tcp flags & (fin | rst) != 0 {known} {again} 2m }} accept",
        f"{tcp} tcp flags & (syn | ack) != syn {known} {again} 12h }} accept",
        f"{tcp} {known} accept",
        f"{tcp} {iface} @{FRESH} tcp flags & (syn | ack) == ack goto {note}",
        f"{kind} meta l4proto udp {known} {again} 3m }} accept",
        f"{kind} {answer} type echo-reply {way.pair} @{pair} accept",
        f"{kind} meta l4proto != {{ tcp, udp, icmp, icmpv6 }} {way.pair} @{pair} accept",
    ]


def _noting(version: str, port: str, way: Way) -> List[str]:
    """What is let through is noted, so that its answers are; where there is no place left it passes alone."""
    kind = f"ether type {way.ip}"
    tuple_of = f"update @f{version}_{port} {{ {way.flow} timeout"
    return [
        f"{kind} meta l4proto tcp {tuple_of} 2m }}",
        f"{kind} meta l4proto udp {tuple_of} 3m }}",
        f"{kind} meta l4proto != {{ tcp, udp }} update @p{version}_{port} {{ {way.pair} timeout 3m }}",
    ]


def _matches(rule: SecurityRule, direction: str) -> Iterator[str]:
    """How nft says it, for each version of IP that it is about."""
    for version, ip in ((4, "ip"), (6, "ip6")):
        peers = _of_version(rule.peers, version)
        if peers == []:
            continue
        parts = [f"ether type {ip}"]
        if peers is not None:
            parts.append(f"{Way(direction, ip).peer} {{ {', '.join(peers)} }}")
        if rule.first:
            parts.append(f"{rule.protocol} dport {rule.first}" + (f"-{rule.last}" if rule.last > rule.first else ""))
        elif rule.protocol != "any":
            name = "icmpv6" if rule.protocol == "icmp" and version == 6 else rule.protocol
            parts.append(f"meta l4proto {name}")
        yield " ".join(parts)


def _of_version(peers: Optional[Sequence[str]], version: int) -> Optional[List[str]]:
    """Those of this version, as few as can be: nft refuses those that overlap. None for everybody."""
    if peers is None:
        return None
    parsed: List[Any] = [ipaddress.ip_network(each) for each in peers]
    of_version = [each for each in parsed if each.version == version]
    return [str(each) for each in ipaddress.collapse_addresses(of_version)]
