"""Bridges of networks: made by the driver of their kind, remembered, made again after the node's restart."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import List, Mapping, Sequence

from nodeagent import anti_spoofing, host_links, hostnet, memory, paths, ports, uplinks
from nodeagent import network as networks
from nodeagent.commands import handles
from nodeagent.errors import AgentError, Exists, InUse, InvalidParams, Undone
from nodeagent.job import Job
from nodeagent.protocol import Nothing, from_dict, network, to_dict

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
BOOT = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger("nodeagent")


@handles(network.BridgeEnsure)
def bridge_ensure(request: network.BridgeEnsure, job: Job) -> network.BridgeState:
    """Have the network's bridge and what its kind adds to it, and remember them."""
    driver = networks.checked(request)
    with memory.changing(paths.BRIDGES) as remembered:
        used = driver.overlaps(job)
        # One that stands already has guests: it is kept as it is, and the panel says what came to overlap it.
        if used and not driver.stands(job):
            subnets = ", ".join(each.subnet for each in request.every_subnet())
            raise Exists(f"The network {subnets} overlaps {', '.join(used)}, which is the host's own.", used=used)
        _make(driver, job)
        if (before := remembered.get(driver.name)) is not None:
            driver.shed(from_dict(network.BridgeEnsure, before), job)
        # Made again at the node's start, there is nobody to confirm it.
        remembered[driver.name] = to_dict(replace(request, trial_seconds=0.0))
        return replace(_state(driver, job), overlaps=used, barriers=driver.barriers(job))


def _make(driver: networks.Driver, job: Job) -> None:
    driver.make(job)
    if driver.FORWARDS:
        _forward()


@handles(network.BridgeConfirm)
def bridge_confirm(request: network.BridgeConfirm, job: Job) -> Nothing:
    """Have what was taken in stay so."""
    with memory.changing(paths.BRIDGES) as remembered:
        if request.name in remembered and (request.name not in uplinks.taken() or uplinks.confirm(request.name)):
            return Nothing()
        raise Undone(f"The network of “{request.name}” is not there for the one who asks to be confirmed.")


@handles(network.BridgeRemove)
def bridge_remove(request: network.BridgeRemove, job: Job) -> Nothing:
    """Remove the bridge and what belongs to it, unless guests are joined to it."""
    with memory.changing(paths.BRIDGES) as remembered:
        known = remembered.get(request.name)
        if not known:
            networks.refuse_name(request.name)
        for driver in [_remembered(known)] if known else networks.unremembered(request.name, job):
            joined = driver.ports(job) if driver.exists(job) else []
            if joined:
                raise InUse(f"The bridge still has {len(joined)} interfaces.", ports=joined)
            driver.remove(job)
        remembered.pop(request.name, None)
        if not any(each.FORWARDS for each in _drivers(remembered)):
            _forward_as_before()
    return Nothing()


def _remembered(values: object) -> networks.Driver:
    """The driver of what the node remembers; raises InvalidParams for a kind that it does not know any more."""
    return networks.of(from_dict(network.BridgeEnsure, values))


def _drivers(remembered: Mapping[str, object]) -> List[networks.Driver]:
    """The drivers of all that is remembered, by their names; without those whose kind the node does not know."""
    found = []
    for name, values in sorted(remembered.items()):
        try:
            found.append(_remembered(values))
        except InvalidParams as error:
            log.warning("the network %s is left alone: %s", name, error)
    return found


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
    return network.HostNetworks(
        networks=hostnet.networks(ours - uplinks.taken(), job), links=sorted(there.keys() - ours)
    )


@handles(network.BridgesRead)
def bridges_read(request: network.BridgesRead, job: Job) -> network.BridgeList:
    """List what is remembered with what the kernel lacks of it, and what is there besides that only we make."""
    with memory.changing(paths.BRIDGES) as remembered:
        known = _drivers(remembered)
        bridges = [_state(each, job, _lacks(each, job)) for each in known]
        left = networks.made(job) - remembered.keys()
        there = {name: any(each.exists(job) for each in networks.unremembered(name, job)) for name in sorted(left)}
    bridges += [network.BridgeState(name, exists, [], remembered=False) for name, exists in there.items()]
    return network.BridgeList(bridges=bridges, guards=anti_spoofing.read(job), ports=ports.read(job))


@handles(network.FiltersEnsure)
def guards_ensure(request: network.FiltersEnsure, job: Job) -> Nothing:
    """Filter the ports of several VMs as the panel says."""
    ports.ensure({each.vm: each.interfaces for each in request.guards}, request.gone, job)
    return Nothing()


@handles(network.SecurityUpdate)
def security_update(request: network.SecurityUpdate, job: Job) -> Nothing:
    """Have other rules for the ports that are here."""
    ports.update({each.vm: each.interfaces for each in request.vms}, job)
    return Nothing()


def restore(job: Job) -> None:
    """Make every remembered bridge and filter again; called after the node's start.

    One that cannot be made holds up no other: the panel asks for each besides, and says why it cannot be made.
    """
    ports.restore(job)
    host_links.restore(job)
    with memory.changing(paths.BRIDGES) as remembered:
        for name in uplinks.undo_left(job):
            remembered.pop(name, None)
        for name, values in remembered.items():
            try:
                _make(_remembered(values), job)
            except (AgentError, OSError) as error:
                log.warning("%s the bridge %s cannot be made again: %s", job.request_id, name, error)


def _lacks(driver: networks.Driver, job: Job) -> List[str]:
    """What of it is not in the kernel as it is remembered."""
    forwards = not driver.FORWARDS or FORWARDING.read_text(encoding="ascii").strip() == "1"
    return sorted([*driver.lacks(job), *([] if forwards else ["forwarding"])])


def bridge_names(job: Job) -> List[str]:
    """The names of all bridges that are there, and of the networks that stand."""
    with memory.changing(paths.BRIDGES) as remembered:
        known = _drivers(remembered)
    ours = [each.name for each in known if each.exists(job)]
    return [*(entry["ifname"] for entry in hostnet.ip(["link", "show", "type", "bridge"], job)), *ours]


def _state(driver: networks.Driver, job: Job, lacks: Sequence[str] = ()) -> network.BridgeState:
    exists, asked = driver.exists(job), driver.asked
    return network.BridgeState(
        name=driver.name,
        exists=exists,
        ports=driver.ports(job) if exists else [],
        gateway=asked.gateway,
        subnet=asked.subnet,
        nat=asked.nat,
        lacks=list(lacks),
        kept_from=asked.kept_from,
        kind=asked.kind,
        options=asked.options,
        further=asked.further,
        confirm_within=driver.trial_left(),
    )
