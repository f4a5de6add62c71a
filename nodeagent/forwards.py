"""Ports of the node that lead to guests of NAT networks: the node's own address and port stand for the guest's.

One nft table, written anew as a whole: connections that are there are kept by the kernel's connection tracking. A port
that a program of the host listens on is never taken from it.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from nodeagent import nft
from nodeagent.errors import Exists, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import from_dict
from nodeagent.protocol.host import Forward, InterfaceSpec
from nodeagent.run import run

FAMILY, TABLE = "ip", "vmpanel_forward"
PROTOCOLS = ("tcp", "udp")
LISTENS = {"tcp": "0A", "udp": "07"}
"""What the kernel calls the state of a socket that takes what comes."""
INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
Known = Mapping[str, Sequence[Mapping[str, Any]]]
Taken = Set[Tuple[str, int]]


def refuse(vms: Mapping[str, Sequence[InterfaceSpec]]) -> None:
    """Raise InvalidParams for ports that are none, or of a guest without an address of IPv4."""
    for interface in (each for interfaces in vms.values() for each in interfaces):
        for forward in interface.forwards:
            _refuse(forward)
            if not INTERFACE.match(interface.bridge):
                raise InvalidParams("This is no name of a bridge.", field="bridge")
            if not _address(interface):
                raise InvalidParams("The interface has no address of IPv4.", field="forwards")


def _refuse(forward: Forward) -> None:
    if forward.protocol not in PROTOCOLS:
        raise InvalidParams("Only tcp and udp have ports.", field="protocol")
    if not 0 < forward.first <= forward.last < 1 << 16 or not 0 < forward.to < 1 << 16:
        raise InvalidParams("These are no ports.", field="first")
    if forward.last > forward.first and forward.to != forward.first:
        raise InvalidParams("Several ports lead to those of the same numbers.", field="to")


def _address(interface: InterfaceSpec) -> str:
    found = (str(ipaddress.ip_address(each)) for each in interface.addresses)
    return next((each for each in found if "." in each), "")


def refuse_taken(before: Known, vms: Mapping[str, Sequence[InterfaceSpec]], listening: Optional[Taken] = None) -> None:
    """Raise Exists for a port that is new and that a program of the host listens on, or another guest has."""
    others = {uuid: there for uuid, there in before.items() if uuid not in vms}
    had = _ports(_parsed(before))
    used, asked = _ports(_parsed(others)), [each for interfaces in vms.values() for each in interfaces]
    if not any(each.forwards for each in asked):
        return
    listening = _listening() if listening is None else listening
    for protocol, port in sorted(_ports(asked)):
        if (protocol, port) in used or ((protocol, port) in listening and (protocol, port) not in had):
            text = f"The port {port} ({protocol}) of the node is used already."
            raise Exists(text, port=port, protocol=protocol)


def _parsed(known: Known) -> List[InterfaceSpec]:
    return [from_dict(InterfaceSpec, each) for vm in known.values() for each in vm if each.get("forwards")]


def _ports(interfaces: Sequence[InterfaceSpec]) -> Taken:
    forwards = (forward for each in interfaces for forward in each.forwards)
    return {(each.protocol, port) for each in forwards for port in range(each.first, each.last + 1)}


def _listening() -> Taken:
    """The ports that programs of this network namespace listen on."""
    found = set()
    for protocol, state in LISTENS.items():
        for file in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6"):
            lines = Path(file).read_text(encoding="ascii").splitlines()[1:] if Path(file).exists() else []
            for fields in (line.split() for line in lines):
                if fields[3] == state:
                    found.add((protocol, int(fields[1].rpartition(":")[2], 16)))
    return found


def write(before: Known, known: Known, job: Job) -> None:
    """The kernel leads all remembered ports to their guests, and no other ones."""
    if text := _script(known):
        run(["nft", "-f", "-"], job, stdin=text)
    elif _parsed(before):
        nft.drop(FAMILY, TABLE, job)


def in_force(known: Known, job: Job) -> bool:
    """Whether the kernel has the table as it is meant."""
    text = _script(known)
    return not text or nft.listed(FAMILY, TABLE, job) == nft.meant(text, job)


def _script(known: Known) -> str:
    rules = [rule for each in _parsed(known) for rule in _rules(each)]
    if not rules:
        return ""
    table = f"table {FAMILY} {TABLE}"
    chain = "  type nat hook prerouting priority dstnat; policy accept;\n"
    lines = "".join(f"  {each}\n" for each in sorted(rules))
    return f"{table}\ndelete {table}\n{table} {{\n chain prerouting {{\n{chain}{lines} }}\n}}\n"


def _rules(interface: InterfaceSpec) -> Iterator[str]:
    """Not for what comes from the guests themselves: they reach each other by their own addresses."""
    for each in interface.forwards:
        ports = f"{each.first}" + (f"-{each.last}" if each.last > each.first else "")
        to = _address(interface) + (f":{each.to}" if each.last == each.first else "")
        yield f'iifname != "{interface.bridge}" fib daddr type local {each.protocol} dport {ports} dnat to {to}'
