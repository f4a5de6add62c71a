"""The host's own interface or bond in a bridge of ours: its addresses and routes are moved onto the bridge, and back.

The host is reached by them, so the move is one run of `ip -batch`, in which an address is added before it is taken
away. It stands on trial until somebody who has reached the host anew confirms it: a process of its own, which was there
before anything was changed, gives all back when nobody does in time, whatever became of the agent. The same process
brings an end to a way back that the agent did not live to finish.

What was moved is remembered (uplinks.json), and the bridge's alias names its uplink, should that be lost.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

from nodeagent import hostnet, libvirtd, memory, paths
from nodeagent.errors import CommandFailed, InUse, NoSuchInterface, Unsupported
from nodeagent.job import Job
from nodeagent.run import run

log = logging.getLogger("nodeagent")
Record = Dict[str, Any]
"""What is remembered of a bridge: `uplink`, `before` (what it had), `boot`, and while it is `moving` until when."""

FITTING = (None, "bond", "team", "vlan", "veth", "dummy")
"""The kinds of interfaces, as `ip` calls them, that can be in a bridge; a network card has none."""
WIRELESS = "/sys/class/net/{}/phy80211"
COPIED = (
    *(f"ipv4/conf/{{}}/{name}" for name in ("rp_filter", "arp_ignore", "arp_announce", "proxy_arp", "forwarding")),
    *(f"ipv6/conf/{{}}/{name}" for name in ("disable_ipv6", "accept_ra", "autoconf", "use_tempaddr", "proxy_ndp")),
)
"""The kernel's settings that the bridge has as its uplink had them."""
IPV6_OFF = "ipv6/conf/{}/disable_ipv6"
FOREVER = 4294967295
OF_KERNEL = ("local", "broadcast", "multicast", "anycast")
SHOWN_ALONE = ("linkdown", "dead", "offload", "trap", "rt_offload", "rt_trap", "notify", "pervasive")
"""Words that `ip` shows of a route and does not take."""
LEAVING_SECONDS = 20.0
LATE_SECONDS = 5.0
POLL_SECONDS = 0.2


def refuse(bridge: str, uplink: str, job: Job) -> None:
    """Raise what keeps the interface from being taken into the bridge; nothing is changed."""
    shown = {each["ifname"]: each for each in hostnet.ip(["-d", "link", "show"], job)}
    link = shown.get(uplink)
    if link is None:
        raise NoSuchInterface(f"The host has no interface “{uplink}”.", name=uplink)
    kind = link.get("linkinfo", {}).get("info_kind")
    if kind == "bridge":
        raise Unsupported(f"“{uplink}” is a bridge itself: guests can join it by the option “bridge”.", name=uplink)
    if link.get("link_type") != "ether" or kind not in FITTING:
        raise Unsupported(f"“{uplink}” is no Ethernet interface or bond, so it can be in no bridge.", name=uplink)
    if Path(WIRELESS.format(uplink)).exists():
        raise Unsupported(f"“{uplink}” is a wireless interface, which can be in no bridge.", name=uplink)
    master = link.get("master", bridge)
    if master != bridge:
        raise InUse(f"“{uplink}” is part of “{master}” already.", name=uplink, master=master)
    for route in hostnet.ip(["route", "show", "table", "all"], job) + hostnet.ip(["-6", "route", "show"], job):
        if any(each.get("dev") == uplink for each in route.get("nexthops", ())) or (
            route.get("dev") == uplink and "nhid" in route
        ):
            raise Unsupported(f"“{uplink}” has a route by several ways ({route['dst']}).", name=uplink)


def find(bridge: str, job: Job) -> Optional[str]:
    """The uplink of the bridge, as it is remembered, or else as its alias says."""
    record = memory.read(paths.UPLINKS).get(bridge)
    if record is not None:
        return str(record["uplink"])
    return _named_by(bridge, job) if _exists(bridge, job) else None


def taken() -> Set[str]:
    """The bridges that have an uplink, and so the host's own addresses."""
    return {*memory.read(paths.UPLINKS)}


def is_in_place(bridge: str, uplink: str, job: Job) -> bool:
    """Whether the uplink is in the bridge, and has no address of its own."""
    there = hostnet.ip(["address", "show"], job)
    return any(
        each["ifname"] == uplink and each.get("master") == bridge and not each.get("addr_info") for each in there
    )


def take(bridge: str, uplink: str, seconds: float, job: Job) -> None:
    """The uplink is in the bridge, which has all its addresses and routes; for good only if `seconds` is 0.

    Else until confirm() is asked for by another agent within so long. What came to the uplink later, as by its DHCP
    client, is moved too.
    """
    if is_in_place(bridge, uplink, job):
        return
    before = _with_remembered(_found(uplink, job), memory.read(paths.UPLINKS).get(bridge), _exists(bridge, job))
    if _master(uplink, job) == bridge:
        _enter(bridge, uplink, before, job)
        return
    token = _begin(bridge, uplink, before, seconds or LEAVING_SECONDS)
    try:
        _enter(bridge, uplink, before, job)
    except BaseException:
        give_back(bridge, Job(LEAVING_SECONDS))
        raise
    if not seconds:
        _settle(bridge, token)


def _with_remembered(found: Record, record: Optional[Record], there: bool) -> Record:
    """The same with what it had when it was taken, where somebody took it out of the bridge, or the bridge away."""
    if record is None or record["uplink"] != found["name"] or not _is_of_now(record):
        return found
    before = record["before"]
    if not there and not found["addresses"]:
        return dict(before)
    return {**found, **_settings(record)}


def _begin(bridge: str, uplink: str, before: Record, seconds: float) -> str:
    """The move is remembered and minded before it is begun."""
    token = secrets.token_hex(8)
    moving = {"token": token, "by": os.getpid(), "until": time.time() + seconds}
    with memory.changing(paths.UPLINKS) as records:
        records[bridge] = {"uplink": uplink, "before": before, "boot": libvirtd.boot_id(), "moving": moving}
    _mind(bridge, token, seconds)
    return token


def _settle(bridge: str, token: str = "") -> None:
    with memory.changing(paths.UPLINKS) as records:
        moving = records.get(bridge, {}).get("moving")
        if moving and token in ("", moving["token"]):
            del records[bridge]["moving"]


def confirm(bridge: str) -> bool:
    """The uplink stays in the bridge; False where it was given back already, or this agent itself took it."""
    record = memory.read(paths.UPLINKS).get(bridge)
    if record is None or record.get("moving", {}).get("by") == os.getpid():
        return False
    _settle(bridge)
    return True


def left(bridge: str) -> float:
    """The seconds in which confirm() must be asked for; 0 where it need not be."""
    moving = memory.read(paths.UPLINKS).get(bridge, {}).get("moving")
    return max(0.1, moving["until"] - time.time()) if moving else 0.0


def _mind(bridge: str, token: str, seconds: float) -> None:
    """Start who gives back, or ends what was begun; it is there when this returns. No session's end ends it."""
    argv = [sys.executable, os.path.abspath(sys.argv[0]), "--mind-uplink", bridge, token, str(seconds)]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    assert process.stdout is not None
    with process.stdout:
        if process.stdout.readline().strip() != b"minding":
            raise CommandFailed(
                "What would give the interface back does not start; nothing was changed.", argv0=argv[0]
            )


def mind(bridge: str, token: str, seconds: float) -> None:
    """What that process does: after so long give all back, unless the move is settled."""
    print("minding", flush=True)
    until = time.monotonic() + seconds
    while _is_moving(bridge, token):
        if time.monotonic() > until:
            with memory.changing(paths.BRIDGES) as remembered:
                if _is_moving(bridge, token):
                    log.warning("nobody confirmed the uplink of %s within %s s: it is given back", bridge, seconds)
                    give_back(bridge, Job(LEAVING_SECONDS))
                    remembered.pop(bridge, None)
            return
        time.sleep(POLL_SECONDS)


def _is_moving(bridge: str, token: str) -> bool:
    moving = memory.read(paths.UPLINKS).get(bridge, {}).get("moving")
    return bool(moving) and moving["token"] == token


def undo_left(job: Job) -> List[str]:
    """Bring moves to an end whose minder is gone, as with the host's restart; answers the bridges that are no more."""
    now, gone = time.time(), []
    for bridge, record in memory.read(paths.UPLINKS).items():
        moving = record.get("moving")
        if not moving or (record["boot"] == libvirtd.boot_id() and moving["until"] + LATE_SECONDS > now):
            continue
        give_back(bridge, job)
        gone.append(bridge)
    return gone


def leave(bridge: str, job: Job) -> None:
    """The uplink has all that the bridge has, which is gone; also when the agent dies meanwhile."""
    record = memory.read(paths.UPLINKS).get(bridge)
    if record is not None and "moving" not in record and _exists(bridge, job):
        _begin(bridge, record["uplink"], {**_found(bridge, job), **_settings(record)}, LEAVING_SECONDS)
    give_back(bridge, job)


def _settings(record: Record) -> Record:
    return {"settings": record["before"]["settings"]}


def give_back(bridge: str, job: Job) -> None:
    """The same, begun or not; nothing where the bridge has no uplink. What `ip` refuses is skipped, and logged."""
    record = memory.read(paths.UPLINKS).get(bridge)
    there = _exists(bridge, job)
    uplink = find(bridge, job)
    if uplink is None:
        return
    if uplink in hostnet.links(job) and (there or _is_of_now(record)):
        before = record["before"] if record else {"settings": {}}
        # On the move they may be on either; in place they may have changed since.
        found = before if record and "moving" in record else _found(bridge, job) if there else before
        hostnet.sysctl(IPV6_OFF.format(uplink), before["settings"].get(IPV6_OFF, "0"))
        free = [f"link set dev {uplink} nomaster"] if _master(uplink, job) == bridge else []
        lines = [*free, f"link set dev {uplink} up", *_lines(found, uplink)]
        failed = run(["ip", "-force", "-batch", "-"], job, stdin="\n".join(lines) + "\n", check=False)
        if failed.exit_code:
            log.warning("%s has not all again that it had: %s", uplink, failed.stderr.strip())
    if there:
        run(["ip", "link", "delete", "dev", bridge], job)
    with memory.changing(paths.UPLINKS) as records:
        records.pop(bridge, None)


def _is_of_now(record: Optional[Record]) -> bool:
    """Whether what it had was seen since the host's start: else its own files gave it what it has."""
    return record is not None and record["boot"] == libvirtd.boot_id()


def _exists(bridge: str, job: Job) -> bool:
    return hostnet.links(job).get(bridge, False)


def _master(name: str, job: Job) -> Optional[str]:
    found: Optional[str] = hostnet.ip(["link", "show", "dev", name], job)[0].get("master")
    return found


def _named_by(bridge: str, job: Job) -> Optional[str]:
    """The uplink that the bridge's alias names."""
    words = str(hostnet.ip(["link", "show", "dev", bridge], job)[0].get("ifalias", "")).split()
    return words[2] if words[:2] == [hostnet.MARK, "uplink"] and len(words) == 3 else None


def _enter(bridge: str, uplink: str, found: Record, job: Job) -> None:
    # The uplink's own MAC address: neighbours, switches and DHCP servers see no other host than before.
    if not _exists(bridge, job):
        mac = found["mac"]
        run(["ip", "link", "add", "name", bridge, "address", mac, "type", "bridge", "forward_delay", "0"], job)
    run(["ip", "link", "set", "dev", bridge, "alias", f"{hostnet.MARK} uplink {uplink}"], job)
    if _master(uplink, job) != bridge:
        for name, value in found["settings"].items():
            hostnet.sysctl(name.format(bridge), value)
    lines = [f"link set dev {each} up" for each in (uplink, bridge)]
    lines += [f"link set dev {uplink} master {bridge}", *_lines(found, bridge), f"address flush dev {uplink}"]
    run(["ip", "-batch", "-"], job, stdin="\n".join(lines) + "\n")
    hostnet.sysctl(IPV6_OFF.format(uplink), "1")


def _found(name: str, job: Job) -> Record:
    """What the interface has: its MAC address, addresses, routes as `ip` takes them, and the kernel's settings."""
    entry = hostnet.ip(["address", "show", "dev", name], job)[0]
    addresses = [each for each in entry.get("addr_info", []) if "dadfailed" not in each]
    return {
        "name": name,
        "mac": entry["address"],
        "addresses": addresses,
        "routes": list(_routes(name, addresses, job)),
        "settings": {each: hostnet.sysctl(each.format(name)) for each in COPIED},
    }


def _routes(name: str, addresses: Sequence[Record], job: Job) -> Iterator[str]:
    """Its routes but those that the kernel makes of its addresses; those to neighbours first."""
    made = {"fe80::/64", "ff00::/8"}
    for each in addresses:
        if not each.get("noprefixroute"):
            cidr = f"{each.get('address', each['local'])}/{each['prefixlen']}"
            made.add(str(ipaddress.ip_network(cidr, strict=False)))
    found = []
    for family in ("-4", "-6"):
        for line in run(["ip", family, "route", "show", "table", "all", "dev", name], job).stdout.splitlines():
            words = _taken(line.split(), family)
            whole = words[0] if "/" in words[0] else f"{words[0]}/32"
            if words[0] not in OF_KERNEL and not (" proto kernel" in line and whole in made):
                found.append(words)
    yield from (" ".join(words) for words in sorted(found, key=lambda each: "via" in each))


def _taken(words: List[str], family: str) -> List[str]:
    """A route as `ip` takes it, of what it shows."""
    kept = [each for each in words if each not in SHOWN_ALONE]
    for name in ("expires", "error"):
        if name in kept[:-1]:
            at = kept.index(name)
            number = kept[at + 1].rstrip("sec")
            kept[at : at + 2] = [name, number] if name == "expires" else []
    return ["::/0", *kept[1:]] if family == "-6" and kept[0] == "default" else kept


def _lines(found: Record, name: str) -> List[str]:
    """What gives it to the interface of this name, for `ip -batch`."""
    addresses = [" ".join(_address(each, found["name"], name)) for each in found.get("addresses", ())]
    return addresses + [f"route replace {route} dev {name}" for route in found.get("routes", ())]


def _address(each: Record, before: str, name: str) -> Iterator[str]:
    whole = f"{each.get('address', each['local'])}/{each['prefixlen']}"
    yield from ("address", "replace", *([each["local"], "peer", whole] if "address" in each else [whole]), "dev", name)
    for key in ("broadcast", "metric"):
        if key in each:
            yield from (key, str(each[key]))
    if each["family"] == "inet":
        label = name + str(each.get("label", before))[len(before) :]
        if len(label) < hostnet.LONGEST_NAME and " " not in label:
            yield from ("label", label)
        yield from ("scope", each["scope"])
    else:
        # It was checked where it comes from.
        yield "nodad"
        yield from (flag for flag in ("home", "mngtmpaddr") if each.get(flag))
    if each.get("noprefixroute"):
        yield "noprefixroute"
    for key, word in (("valid_life_time", "valid_lft"), ("preferred_life_time", "preferred_lft")):
        seconds = each.get(key, FOREVER)
        yield from (word, "forever" if seconds == FOREVER else str(seconds))
