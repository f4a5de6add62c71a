"""Anti-spoofing filters of guests' ports: what a guest sends bears its own MAC and IP addresses, else it is dropped.

One nft table of the bridge family with a chain a port. Ports are known by names that the panel gives them
(xml/describe.py), so an anti-spoofing filter stands before its port is there, and outlasts every restart of the guest,
whoever starts it. What is filtered is remembered in a file, for the node's own restart.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from nodeagent import hostnet, memory, nft, paths
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.protocol.host import InterfaceSpec
from nodeagent.protocol.network import AntiSpoofingFilter
from nodeagent.run import run
from nodeagent.xml.describe import port_name

TABLE = "vmpanel_guard"
BASE = "prerouting"
Port = Dict[str, Any]
"""What a port's anti-spoofing filter lets through: "mac" and "addresses"."""
_PORT = re.compile(r"[A-Za-z0-9_]{1,15}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


def ensure(vms: Mapping[str, Sequence[InterfaceSpec]], gone: Sequence[str], job: Job) -> None:
    """Of these VMs exactly these interfaces' ports are filtered (those that want it), all others as they were.

    The ports `gone` are filtered no more. Raises InvalidParams before anything is changed.
    """
    wanted = {uuid: _wanted(interfaces) for uuid, interfaces in vms.items()}
    with memory.changing(paths.FILTERS) as remembered:
        if not gone and not any(ports or uuid in remembered for uuid, ports in wanted.items()):
            return
        left = _left(remembered, job)
        for uuid, ports in wanted.items():
            remembered.pop(uuid, None)
            if ports:
                remembered[uuid] = ports
        # Also when it is remembered so: the kernel may have lost any part of it.
        _write(remembered, {name: port for name, port in left.items() if name not in gone}, job)


def restore(job: Job) -> None:
    """Have all that is remembered filtered; called after the node's start, and whenever the node is checked."""
    with memory.changing(paths.FILTERS) as remembered:
        if remembered:
            _write(remembered, _left(remembered, job), job)


def read(job: Job) -> List[AntiSpoofingFilter]:
    """Every filter that is remembered, whether the kernel has it so, and those that only the kernel has."""
    with memory.changing(paths.FILTERS) as remembered:
        there = nft.listed("bridge", TABLE, job)
        meant = nft.meant(rules(remembered), job) if remembered else {}
    leads = _leads(there.pop(BASE, []), meant.pop(BASE, []))
    found = [
        AntiSpoofingFilter(name, vm, port["mac"], port["addresses"], name in leads and there.get(name) == meant[name])
        for vm, ports in sorted(remembered.items())
        for name, port in sorted(ports.items())
    ]
    return found + [AntiSpoofingFilter(name) for name in sorted(there.keys() - meant.keys())]


def _leads(there: List[Any], meant: List[Any]) -> Set[str]:
    """The ports whose frames the base chain sends to the chains of their own; none unless it does nothing else."""
    if len(there) != 2 or there[:1] != meant[:1]:
        return set()
    verdicts = _verdicts(there[1])
    return {port for port, verdict in verdicts if verdict == {"goto": {"target": port}}}


def _verdicts(rule: Any) -> List[Any]:
    mapped = [each["vmap"] for each in rule if "vmap" in each]
    return list(mapped[0]["data"]["set"]) if len(rule) == len(mapped) == 1 else []


def _wanted(interfaces: Sequence[InterfaceSpec]) -> Dict[str, Port]:
    return {port_name(each.mac): _checked(each) for each in interfaces if each.guarded}


def _left(remembered: Dict[str, Dict[str, Port]], job: Job) -> Dict[str, Port]:
    """The filters that the kernel has and nobody remembers: what was remembered may have been lost, they must not."""
    known = {BASE, *(name for ports in remembered.values() for name in ports)}
    chains = {name: chain for name, chain in nft.listed("bridge", TABLE, job).items() if name not in known}
    found = {name: _recovered(chain) for name, chain in chains.items() if _PORT.match(name)}
    return {name: port for name, port in found.items() if port is not None}


def _recovered(chain: List[Any]) -> Optional[Port]:
    """What a port's chain in the kernel lets through; None for one that is not as we make them."""
    matches = [each["match"] for rule in chain[1:] for each in rule if "match" in each]
    macs = [str(each["right"]) for each in matches if each["op"] == "!=" and _field(each) == ("ether", "saddr")]
    if not macs or not _MAC.match(macs[0]):
        return None
    own = ("0.0.0.0", "::", hostnet.link_local(macs[0]))
    found: Set[str] = set()
    for each in matches:
        if each["op"] == "==" and _field(each) in (("ip", "saddr"), ("ip6", "saddr")):
            found |= {str(ipaddress.ip_address(value)) for value in _values(each["right"])}
    return {"mac": macs[0], "addresses": sorted(found - set(own))}


def _field(match: Any) -> Tuple[str, str]:
    left = match["left"]
    payload = left.get("payload", {}) if isinstance(left, dict) else {}
    return payload.get("protocol", ""), payload.get("field", "")


def _values(right: Any) -> List[str]:
    return [str(each) for each in right["set"]] if isinstance(right, dict) else [str(right)]


def _checked(interface: InterfaceSpec) -> Port:
    mac = interface.mac.lower()
    if not _MAC.match(mac):
        raise InvalidParams("This is not a MAC address.", field="mac")
    try:
        addresses = sorted(str(ipaddress.ip_address(each)) for each in interface.addresses)
    except ValueError as error:
        raise InvalidParams(f"This is not an address: {error}.", field="addresses") from error
    return {"mac": mac, "addresses": addresses}


def _write(remembered: Dict[str, Dict[str, Port]], left: Dict[str, Port], job: Job) -> None:
    """Replace the table as a whole, in one transaction: no frame passes between the old rules and the new."""
    if remembered or left:
        run(["nft", "-f", "-"], job, stdin=rules({"": left, **remembered}))
        return
    nft.drop("bridge", TABLE, job)


def rules(remembered: Dict[str, Dict[str, Port]]) -> str:
    """The nft table; all values in it were checked."""
    ports = {name: port for vm in remembered.values() for name, port in vm.items()}
    chains = "".join(_chain(name, port["mac"], port["addresses"]) for name, port in sorted(ports.items()))
    verdicts = ", ".join(f'"{name}" : goto {name}' for name in sorted(ports))
    return (
        f"table bridge {TABLE}\n"
        f"delete table bridge {TABLE}\n"
        f"table bridge {TABLE} {{\n"
        f"{chains}"
        f" chain {BASE} {{\n"
        "  type filter hook prerouting priority -300; policy accept;\n"
        f"  iifname vmap {{ {verdicts} }}\n"
        " }\n"
        "}\n"
    )


def _chain(name: str, mac: str, addresses: List[str]) -> str:
    four = [each for each in addresses if "." in each]
    # Its own link-local address, of the kind that is made from the MAC address.
    six = [each for each in addresses if ":" in each] + [hostnet.link_local(mac)]
    lines = [
        f"ether saddr != {mac} drop",
        # Into a VLAN, that is: what follows would take what is tagged for what it has inside.
        "ether type { 0x8100, 0x88a8 } drop",
        # With RARP, QEMU tells switches where a guest is that has just been migrated.
        "ether type 0x8035 accept",
        f"ether type arp arp saddr ether != {mac} drop",
        # 0.0.0.0 asks whether anybody has an address, before it is taken: asked for another's, that would not take it.
        *([f"ether type arp arp saddr ip 0.0.0.0 arp daddr ip {_set(four)} accept"] if four else []),
        *([f"ether type arp arp saddr ip {_set(four)} accept"] if four else []),
        # A guest is nobody's DHCP server or router.
        "ether type ip udp sport 67 drop",
        "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
        *([f"ip saddr {_set(four)} accept"] if four else []),
        "ether type ip6 udp sport 547 drop",
        "icmpv6 type { nd-router-advert, nd-redirect } drop",
        # The address that a neighbour advertisement claims stands after eight bytes (RFC 4861, 4.4).
        *[f"icmpv6 type nd-neighbor-advert @th,64,128 {_number(each)} ip6 saddr {_set(six)} accept" for each in six],
        "icmpv6 type nd-neighbor-advert drop",
        f"ip6 saddr {_set(six)} accept",
        # Without an address it asks for routers, for groups, and whether anybody has one that it will take.
        "ip6 saddr :: icmpv6 type { mld-listener-report, nd-router-solicit, mld2-listener-report } accept",
        *[f"ip6 saddr :: icmpv6 type nd-neighbor-solicit @th,64,128 {_number(each)} accept" for each in six],
        "drop",
    ]
    return f" chain {name} {{\n" + "".join(f"  {line}\n" for line in lines) + " }\n"


def _set(values: Sequence[str]) -> str:
    return "{ " + ", ".join(values) + " }"


def _number(address: str) -> str:
    return f"0x{int(ipaddress.IPv6Address(address)):032x}"
