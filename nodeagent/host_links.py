"""Bonds and VLANs that the panel makes on the host: of interfaces that the host does not use, so that it is not lost.

They stand on trial as an uplink that is taken into a bridge does (uplinks.py): a process of its own takes them away
again unless somebody who has reached the host anew confirms them. They are remembered in host-links.json, and made
again at the host's start before the networks are, whose uplinks they may be. Their alias says that they are ours.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import subprocess
import sys
import time
from typing import Any, Dict, List, Mapping

from nodeagent import hostnet, libvirtd, memory, paths
from nodeagent.errors import (
    AgentError,
    CommandFailed,
    Exists,
    InUse,
    InvalidParams,
    NoSuchInterface,
    Undone,
    Unsupported,
)
from nodeagent.job import Job
from nodeagent.protocol import from_dict, links, to_dict
from nodeagent.run import failed, run

log = logging.getLogger("nodeagent")
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]{0,14}\Z")
ALIAS = f"{hostnet.MARK} link"
UNKNOWN = ("Unknown device type", "Operation not supported")
"""How `ip` says that the kernel has no such interfaces."""
WHAT = {links.BOND: "bonding", links.VLAN: "VLANs (802.1Q)"}
PORT_KINDS = (None, "veth", "dummy")
"""Network cards, which `ip` has no kind for, and what stands for them in tests."""
MIIMON_MS = 100
LEAVING_SECONDS = 20.0
LATE_SECONDS = 5.0
POLL_SECONDS = 0.2
MOST_PORTS = 16
Shown = Dict[str, Dict[str, Any]]


def checked(asked: links.LinkEnsure) -> links.LinkEnsure:
    """The request; raises InvalidParams for what can be no interface."""
    if not NAME.match(asked.name) or asked.kind not in WHAT:
        raise InvalidParams(
            "An interface has a name of at most 15 letters, digits, dots, hyphens and underscores.", field="name"
        )
    if asked.kind == links.VLAN:
        if not NAME.match(asked.parent) or not 1 <= asked.vlan <= 4094:
            raise InvalidParams("A VLAN has a parent, and a number from 1 to 4094.", field="vlan")
    elif not asked.ports or len(set(asked.ports)) < len(asked.ports) or len(asked.ports) > MOST_PORTS:
        raise InvalidParams(f"A bond has 1 to {MOST_PORTS} ports, each once.", field="ports")
    elif asked.mode not in links.MODES or not all(map(NAME.match, asked.ports)):
        raise InvalidParams(f"A bond's mode is one of {', '.join(links.MODES)}.", field="mode")
    return asked


def lines(asked: links.LinkEnsure) -> List[str]:
    """What makes it of what is there, after it was added, for `ip -batch`."""
    found = [f'link set dev {asked.name} alias "{ALIAS}"']
    for port in asked.ports:
        # Bonding takes no port that is up.
        found += [f"link set dev {port} down", f"link set dev {port} master {asked.name}"]
    return [*found, f"link set dev {asked.name} up", *(f"link set dev {port} up" for port in asked.ports)]


def added(asked: links.LinkEnsure) -> List[str]:
    """What adds it."""
    if asked.kind == links.VLAN:
        return ["ip", "link", "add", "link", asked.parent, "name", asked.name, "type", "vlan", "id", str(asked.vlan)]
    return ["ip", "link", "add", "name", asked.name, "type", "bond", "mode", asked.mode, "miimon", str(MIIMON_MS)]


def ensure(asked: links.LinkEnsure, job: Job) -> links.LinkMade:
    """It is there, up and remembered; on trial where it was not before.

    It is remembered and minded before anything is made, so that the agent's death in the midst of it leaves nothing.
    """
    checked(asked)
    if _stands(asked, job):
        with memory.changing(paths.HOST_LINKS) as remembered:
            remembered[asked.name] = {"before": {}, **remembered.get(asked.name, {}), "asked": to_dict(asked)}
        return links.LinkMade(asked.name, left(asked.name))
    record = _begin(asked, _refused_or_before(asked, job))
    try:
        _make(asked, job)
    except BaseException:
        with memory.changing(paths.HOST_LINKS) as remembered:
            _drop(asked.name, record["before"], Job(LEAVING_SECONDS))
            remembered.pop(asked.name, None)
        raise
    return links.LinkMade(asked.name, left(asked.name))


def _shown(job: Job) -> Shown:
    return {each["ifname"]: each for each in hostnet.ip(["-d", "address", "show"], job)}


def _stands(asked: links.LinkEnsure, job: Job) -> bool:
    """Whether it is there with all its ports; raises Exists for an interface of the host's own."""
    there = _shown(job)
    found = there.get(asked.name)
    if found is None:
        return False
    if found.get("ifalias") != ALIAS:
        text = f"The host has an interface “{asked.name}” of its own, which the panel did not make."
        raise Exists(text, name=asked.name)
    return "UP" in found["flags"] and all(there.get(each, {}).get("master") == asked.name for each in asked.ports)


def _refused_or_before(asked: links.LinkEnsure, job: Job) -> Dict[str, bool]:
    """Which ports are up; raises what keeps it from being made, nothing being changed."""
    there = _shown(job)
    for each in asked.ports or [asked.parent]:
        if each not in there:
            raise NoSuchInterface(f"The host has no interface “{each}”.", name=each)
    for each in asked.ports:
        _refuse_used(each, asked.name, there, job)
    return {each: "UP" in there[each]["flags"] for each in asked.ports}


def _make(asked: links.LinkEnsure, job: Job) -> None:
    """It is there."""
    if asked.name not in hostnet.links(job):
        done = run(added(asked), job, check=False)
        if any(each in done.stderr for each in UNKNOWN):
            raise Unsupported(f"The node's kernel has no {WHAT[asked.kind]}.")
        if done.exit_code:
            raise failed("ip", done)
    run(["ip", "-batch", "-"], job, stdin="\n".join(lines(asked)) + "\n")


def _refuse_used(port: str, name: str, there: Shown, job: Job) -> None:
    """Raise what keeps an interface from being a port: that it is no network card, or that something uses it."""
    shown = there[port]
    if shown.get("link_type") != "ether" or shown.get("linkinfo", {}).get("info_kind") not in PORT_KINDS:
        raise Unsupported(f"“{port}” is no network card, so it can be no port of a bond.", name=port)
    own = [each for each in shown.get("addr_info", ()) if each.get("scope") != "link"]
    if shown.get("master", name) != name:
        raise InUse(f"“{port}” is part of “{shown['master']}” already.", name=port)
    if own or _over(port, there) or _routes(port, job):
        text = (
            f"“{port}” is used by the host itself (addresses, routes or interfaces on top of it): the panel bonds what "
            "is free alone."
        )
        raise InUse(text, name=port)


def _over(name: str, there: Shown) -> List[str]:
    """The interfaces that lie upon it, as VLANs do; the other end of a veth is none."""
    lower = [each for each in there.values() if each.get("link") == name]
    return [each["ifname"] for each in lower if each.get("linkinfo", {}).get("info_kind") != "veth"]


def _routes(port: str, job: Job) -> bool:
    shown = [
        line
        for family in ("-4", "-6")
        for line in run(["ip", family, "route", "show", "table", "all", "dev", port], job).stdout.splitlines()
    ]
    return any(not re.match(r"(fe80::|ff00::|local fe80|multicast|anycast)", line) for line in shown)


def _begin(asked: links.LinkEnsure, before: Dict[str, bool]) -> Dict[str, Any]:
    """It is remembered, and on trial there is who takes it away again."""
    record: Dict[str, Any] = {"asked": to_dict(asked), "before": before, "boot": libvirtd.boot_id()}
    token = secrets.token_hex(8)
    if asked.trial_seconds:
        record["moving"] = {"token": token, "by": os.getpid(), "until": time.time() + asked.trial_seconds}
    with memory.changing(paths.HOST_LINKS) as remembered:
        # What an agent that died had begun: how the ports were is known from it.
        record["before"] = {**before, **remembered.get(asked.name, {}).get("before", {})}
        remembered[asked.name] = record
    if asked.trial_seconds:
        _mind(asked, token)
    return record


def _mind(asked: links.LinkEnsure, token: str) -> None:
    argv = [sys.executable, os.path.abspath(sys.argv[0]), "--mind-link", asked.name, token, str(asked.trial_seconds)]
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
            with memory.changing(paths.HOST_LINKS) as remembered:
                remembered.pop(asked.name, None)
            raise CommandFailed("What would take the interface away again does not start.", argv0=argv[0])


def mind(name: str, token: str, seconds: float) -> None:
    """What that process does: after so long take it away, unless it was confirmed or is gone."""
    print("minding", flush=True)
    until = time.monotonic() + seconds
    while _is_moving(name, token):
        if time.monotonic() > until:
            with memory.changing(paths.HOST_LINKS) as remembered:
                if _is_moving(name, token):
                    log.warning("nobody confirmed the interface %s within %s s: it is taken away", name, seconds)
                    _drop(name, remembered[name]["before"], Job(LEAVING_SECONDS))
                    del remembered[name]
            return
        time.sleep(POLL_SECONDS)


def _is_moving(name: str, token: str) -> bool:
    moving = memory.read(paths.HOST_LINKS).get(name, {}).get("moving")
    return bool(moving) and moving["token"] == token


def left(name: str) -> float:
    """The seconds in which confirm() must be asked for; 0 where it need not be."""
    moving = memory.read(paths.HOST_LINKS).get(name, {}).get("moving")
    return max(0.1, moving["until"] - time.time()) if moving else 0.0


def confirm(name: str) -> None:
    """It stays; raises Undone where it is gone, or this very agent made it."""
    with memory.changing(paths.HOST_LINKS) as remembered:
        record = remembered.get(name)
        if record is None or record.get("moving", {}).get("by") == os.getpid():
            raise Undone(f"The interface “{name}” is not there for the one who asks to be confirmed.")
        record.pop("moving", None)


def remove(name: str, job: Job) -> None:
    """It is gone and its ports are as they were; raises InUse while something uses it."""
    with memory.changing(paths.HOST_LINKS) as remembered:
        there = _shown(job)
        shown = there.get(name)
        if shown is not None and shown.get("ifalias") == ALIAS:
            own = [each for each in shown.get("addr_info", ()) if each.get("scope") != "link"]
            users = [
                *([shown["master"]] if "master" in shown else []),
                *_over(name, there),
                *(each["local"] for each in own),
            ]
            if users:
                raise InUse(f"“{name}” is used by {', '.join(users)}.", name=name)
            _drop(name, remembered.get(name, {}).get("before", {}), job)
        remembered.pop(name, None)


def _drop(name: str, before: Mapping[str, bool], job: Job) -> None:
    """The interface is gone; its ports are up or down as before."""
    run(["ip", "link", "delete", "dev", name], job, check=False)
    for port, was_up in before.items():
        run(["ip", "link", "set", "dev", port, "up" if was_up else "down"], job, check=False)


def restore(job: Job) -> None:
    """Make every remembered one again, those that others lie upon first; one on trial at the host's end is dropped."""
    with memory.changing(paths.HOST_LINKS) as remembered:
        for name, record in list(remembered.items()):
            if "moving" in record and (
                record["boot"] != libvirtd.boot_id() or record["moving"]["until"] + LATE_SECONDS < time.time()
            ):
                _drop(name, record["before"], job)
                del remembered[name]
        for record in sorted(remembered.values(), key=lambda each: str(each["asked"]["kind"])):
            asked = from_dict(links.LinkEnsure, record["asked"])
            try:
                if not _stands(asked, job):
                    _refused_or_before(asked, job)
                    _make(asked, job)
            except (AgentError, OSError) as error:
                log.warning("%s the interface %s cannot be made again: %s", job.request_id, asked.name, error)
