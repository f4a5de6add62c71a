"""A guest that is there already: its domain's name, and its host name, password and keys by its agent."""

from __future__ import annotations

import ipaddress
from typing import Any, List

from nodeagent import guest_agent, guest_network, libvirtd
from nodeagent.commands import handles
from nodeagent.commands.hosts import find, refuse_saved, refuse_snapshots, state_of
from nodeagent.errors import CommandFailed, InUse, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import BadMessage, guest, host
from nodeagent.protocol.identity import GuestAddress

POLL_SECONDS = 0.25


@handles(guest.HostRename)
def host_rename(request: guest.HostRename, job: Job) -> host.HostState:
    """Rename the domain; libvirt does not rename a running one."""
    if not request.name.isprintable():
        raise InvalidParams("A name has a character that XML cannot hold.", field="name")
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if domain.name() != request.name:
            if domain.isActive():
                raise InUse("The domain still runs.")
            refuse_saved(domain)
            refuse_snapshots(domain)
            domain.rename(request.name)
        return state_of(find(conn, request.uuid))


@handles(guest.GuestConfigure)
def guest_configure(request: guest.GuestConfigure, job: Job) -> guest.Configured:
    """Tell the guest's agent what changes, if there is one."""
    check(request.change, request.login)
    libvirt, change = libvirtd.bindings(), request.change
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive() or not guest_agent.answers(domain):
            return guest.Configured(answered=False)
        if change.password_hash is not None:
            domain.setUserPassword(request.login, change.password_hash, libvirt.VIR_DOMAIN_PASSWORD_ENCRYPTED)
        if change.ssh_keys is not None:
            domain.authorizedSSHKeysSet(request.login, change.ssh_keys, 0)
        if change.hostname is not None:
            _execute(domain, "hostnamectl", ["set-hostname", change.hostname], job)
    return guest.Configured(answered=True)


@handles(guest.GuestAddresses)
def guest_addresses(request: guest.GuestAddresses, job: Job) -> guest.Configured:
    """Have the guest's agent change the addresses of an interface, if there is one."""
    check(guest.GuestChange(network=request.network), "root")
    _check_gone(request.gone)
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive() or not guest_agent.answers(domain):
            return guest.Configured(answered=False)
        there = guest_agent.interface_with(domain, request.mac)
        if there is None:
            return guest.Configured(answered=False)
        has = {each.get("ip-address") for each in there.get("ip-addresses", [])}
        gone = [each for each in request.gone if each.address in has]
        interfaces = request.network.every_interface()
        for arguments in guest_network.ip_commands(interfaces, request.mac, there["name"], gone):
            _execute(domain, "ip", arguments, job)
    return guest.Configured(answered=True)


def _check_gone(gone: List[GuestAddress]) -> None:
    for each in gone:
        try:
            ipaddress.ip_interface(f"{each.address}/{each.prefix}")
        except ValueError as error:
            raise InvalidParams(f"This is not an address: {error}.", field="gone") from error


def check(change: guest.GuestChange, login: str) -> None:
    """Refuse a change that could mean something else where it is written; raises InvalidParams."""
    try:
        guest.check_change(change, login)
    except BadMessage as error:
        raise InvalidParams(str(error), field=error.field) from error


def _execute(domain: Any, path: str, arguments: List[str], job: Job) -> None:
    """Run a program in the guest to its end; raises CommandFailed."""
    process = guest_agent.ask(domain, "guest-exec", {"path": path, "arg": arguments, "capture-output": False})
    while not (status := guest_agent.ask(domain, "guest-exec-status", {"pid": process["pid"]}))["exited"]:
        job.wait(POLL_SECONDS)
    if status.get("exitcode") != 0:
        code = int(status.get("exitcode", 1))
        raise CommandFailed(f"In the guest “{path}” ended with {code}.", argv0=path, exit_code=code)
