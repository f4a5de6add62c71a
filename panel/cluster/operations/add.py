"""node.add: a host that one can reach by ssh becomes a node that VMs can run on."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import transaction
from pydantic import Field, SecretStr, field_validator

from nodeagent.protocol import node as protocol
from nodeagent.protocol import to_dict
from panel.accounts.models import User
from panel.cluster import agent_package, bare, health, keys, marks, part_steps, parts, services, ssh
from panel.cluster.client import NodeAddress
from panel.cluster.context import NodeContext
from panel.cluster.models import Node, NodeState, Virtualization
from panel.cluster.nodes import address_of, client
from panel.cluster.operations import add_looks
from panel.cluster.operations.check import LIBVIRT_SECONDS
from panel.cluster.operations.remove import delete_record
from panel.cluster.porter import Porter
from panel.cluster.selectors import default_cluster
from panel.cluster.way_in import HostAddress, PrivateKey, WayInParams
from panel.core.errors import AlreadyExists, CommandFailed, InvalidValue, NodeRefused, OperationFailed
from panel.core.wording import Text, joined
from panel.notices.models import Severity
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Step

SYSTEMS = ("debian", "centos", "almalinux", "rocky", "rhel", "ol")
SLOW_SHELL_SECONDS = 2.0
PACKAGES_SECONDS = 1800.0
FACTS_SECONDS = 120.0
"""How long the first word of a slow libvirt on its QEMU is waited for; the node is added without it, too."""


class AddNodeParams(WayInParams):
    """How to reach the host. The password or key is used to let the panel's own key in, then forgotten."""

    name: str = Field(max_length=63)
    address: HostAddress = Field(max_length=255, description="Host name or IP address.")
    ssh_port: int = Field(default=22, ge=1, le=65535)
    ssh_user: str = Field(
        default="root",
        pattern=r"^[a-z_][a-z0-9_-]{0,31}$",
        description="Who has the password or key: root, or a user whom sudo asks for no password.",
    )
    password: SecretStr | None = Field(default=None, description="Used once, never kept.")
    key: PrivateKey = Field(default=None, description="A private key's text; used once, never kept.")
    host_key: str = Field(
        default="", description="Fingerprint (SHA256:...) that the host must show; none: what it shows is pinned."
    )
    virtualization: Virtualization = Virtualization.AUTO

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not services.NAME.match(value):
            raise ValueError("use a-z, 0-9, dots and hyphens")
        return value


def reserve_node(ctx: NodeContext[AddNodeParams]) -> dict[str, Any]:
    """The node stands in the database, taking no VMs yet."""
    asked = ctx.params
    node = Node.objects.create(
        cluster=default_cluster(),
        name=asked.name,
        address=asked.address,
        ssh_port=asked.ssh_port,
        ssh_user=asked.ssh_user,
        virtualization=asked.virtualization,
    )
    ctx.set_object("node", node.pk, node.name)
    ctx.set_node(node.pk)
    return {"result": {"node": node.pk}}


def check_host(ctx: NodeContext[AddNodeParams]) -> dict[str, Any]:
    """The host key is pinned, and the host is one that we can use and do not have yet; it is unchanged."""
    _pin_given_key(ctx)
    with _bootstrap(ctx) as connection:
        shown = connection.host_key
        found = keys.fingerprint(shown)
        Node.objects.filter(pk=ctx.node.pk).update(host_key=shown)
        ctx.log(Text("The host shows the key {key}.", {"key": found}))
        with connection.porter() as porter:
            _tell_of_start_files(ctx, porter)
            release = _os_release(porter.look()["os_release"])
            _refuse_unsuitable(release)
            seen = add_looks.look(porter)
        add_looks.refuse_another_s(ctx.node, seen, shown)
        add_looks.refuse_unsuitable(ctx.node, seen)
    ctx.log(Text("The host runs {system}.", {"system": release.get("PRETTY_NAME", "an unknown system")}))
    return {"host_key": shown, "fingerprint": found, "result": {"fingerprint": found}}


def _pin_given_key(ctx: NodeContext[AddNodeParams]) -> None:
    """The host key whose fingerprint was given is pinned, of whichever of the host's; no password is sent before."""
    if ctx.params.host_key and not ctx.node.host_key:
        found = ssh.find_host_key(_address(ctx), ctx.params.host_key, settings.CONFIG.node_connect_seconds)
        Node.objects.filter(pk=ctx.node.pk).update(host_key=found)


def _tell_of_start_files(ctx: NodeContext[Any], porter: Porter) -> None:
    """The log says what a login shell with its start files does at each command, where it is worth a word."""
    if porter.said:
        ctx.log(
            Text(
                "The start files of the host's login shell print “{printed}” at each command.", {"printed": porter.said}
            ),
            "warning",
        )
    if porter.seconds > SLOW_SHELL_SECONDS:
        ctx.log(
            Text("The host's login shell takes {seconds:.1f} s to start a command.", {"seconds": porter.seconds}),
            "warning",
        )


def _refuse_unsuitable(release: dict[str, str]) -> None:
    system = release.get("ID", "unknown")
    if system not in SYSTEMS:
        raise OperationFailed(
            Text(
                "The host runs {system}; nodes run Debian or a system of the Red Hat family.",
                {"system": release.get("PRETTY_NAME", system)},
            ),
            step="check_host",
        )


def authorize_key(ctx: NodeContext[AddNodeParams]) -> dict[str, Any]:
    """The panel's own key opens root's account, and was seen to; what was given to get in is not needed any more."""
    with _bootstrap(ctx) as connection, connection.porter() as porter:
        porter.authorize_key(keys.public_key())
        try:
            as_root = dataclasses.replace(address_of(ctx.node), user="root")
            ssh.open_connection(as_root, settings.CONFIG.node_connect_seconds).close()
        except NodeRefused as error:
            _take_away(ctx, porter)
            reason = (
                "it does not let root in by the panel's key, though that stood in root's .ssh/authorized_keys; look at "
                "PermitRootLogin and AllowUsers of its sshd, whose log says why"
            )
            raise NodeRefused(node=ctx.node.name, reason=reason) from error
    Node.objects.filter(pk=ctx.node.pk).update(ssh_user="root")
    return {}


def deauthorize_key(ctx: NodeContext[AddNodeParams]) -> None:
    """The panel's own key may not sign in."""
    remove_agent(ctx)


def install_agent(ctx: NodeContext[AddNodeParams]) -> None:
    """The agent and vmwatch-node are on the host, with our mark."""
    with _bootstrap(ctx) as connection, connection.porter() as porter:
        # Another task may be adding the same host by another address.
        add_looks.refuse_mark(ctx.node, marks.parse(porter.look()["mark"]))
        porter.put(marks.mark_of(ctx.node), marks.Mark.PATH, 0o600)
        agent_package.bring(porter)


def remove_agent(ctx: NodeContext[AddNodeParams]) -> None:
    """Nothing that we put on the host is there, the key that lets us in neither; it needs no agent for that."""
    node = ctx.find_node()
    if node is None:
        return
    client(node).close()
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(_bootstrap(ctx))
        except NodeRefused:
            # The panel's key was the only way in and goes last: nothing of ours is there.
            ctx.log("The panel's key opens the host no more: nothing of the panel is on it.")
            return
        _take_away(ctx, stack.enter_context(connection.porter()))


def _take_away(ctx: NodeContext[Any], porter: Porter) -> None:
    asked = {"panel": marks.panel_id(), "node": ctx.node.pk, "key": keys.public_key()}
    answer = bare.ask(porter, "take_away", **asked)
    if answer["mark"] is not None:
        ctx.log("The host is another node by now: what is on it was left alone.", "warning")
    if answer["left"]:
        text = f"These could not be removed: {', '.join(answer['left'])}."
        raise CommandFailed(node=ctx.node.name, command="take_away", agent_code="", text=text)


def install_packages(ctx: NodeContext[AddNodeParams]) -> dict[str, Any]:
    """libvirt, QEMU and what else a node needs is installed, unless something of the host's own is in our way."""
    for part in parts.every().values():
        part.look(ctx)
    done = ctx.agent.call(protocol.PackagesInstall(), deadline=PACKAGES_SECONDS)
    ctx.log(
        Text("Installed: {packages}.", {"packages": ", ".join(done.packages)})
        if done.packages
        else "Every package was there already."
    )
    return {"packages": done.packages}


def start_libvirt(ctx: NodeContext[AddNodeParams]) -> None:
    """libvirt answers, and says that this host is not one of ours already."""
    request = protocol.LibvirtEnsure(facts_seconds=FACTS_SECONDS)
    facts = ctx.agent.call(request, deadline=FACTS_SECONDS + LIBVIRT_SECONDS)
    services.record_facts(ctx.node, facts)
    for each in health.libvirt_complaints(to_dict(facts)):
        ctx.log(each.worded, "warning")


def probe_virtualization(ctx: NodeContext[AddNodeParams]) -> dict[str, Any]:
    """It is known how guests run here: as the node's setting says, else as a real guest CPU showed."""
    accel: str = ctx.params.virtualization
    if accel == Virtualization.AUTO:
        probe = ctx.agent.call(protocol.NodeProbe(), deadline=30.0)
        accel = probe.accel
        ctx.log(probe.detail)
    Node.objects.filter(pk=ctx.node.pk).update(accel=accel)
    return {"accel": accel}


def verify_node(ctx: NodeContext[AddNodeParams]) -> None:
    """Everything was seen working, and the node takes VMs."""
    complaints = [parts.complaint(each) for part in parts.every().values() for each in part.check(ctx)]
    if broken := [each.worded for each in complaints if each.severity == Severity.ERROR]:
        raise OperationFailed(joined(broken, " "), step="verify_node")
    services.record_facts(ctx.node, ctx.agent.call(protocol.NodeFacts()))
    for each in complaints:
        ctx.log(each.worded, "warning")
    with transaction.atomic():
        services.set_state(ctx.node, NodeState.READY)


@contextlib.contextmanager
def _bootstrap(ctx: NodeContext[AddNodeParams]) -> Iterator[ssh.Connection]:
    """A connection by the way in that was given, or by the panel's own key where none was."""
    connect_seconds = settings.CONFIG.node_connect_seconds
    with contextlib.closing(ssh.open_connection(_address(ctx), connect_seconds)) as connection:
        yield connection


def _address(ctx: NodeContext[AddNodeParams]) -> NodeAddress:
    node, asked = ctx.node, ctx.params
    own = asked.password is None and asked.key is None
    return NodeAddress(
        name=node.name,
        address=node.address,
        port=node.ssh_port,
        user=node.ssh_user,
        host_key=node.host_key,
        password=asked.password.get_secret_value() if asked.password else None,
        key=asked.key.get_secret_value() if asked.key else None,
        key_path=str(keys.private_key_path()) if own else None,
    )


def _os_release(text: str) -> dict[str, str]:
    values = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator:
            with contextlib.suppress(ValueError):
                values[name] = "".join(shlex.split(value))
    return values


class AddNode(Operation[AddNodeParams]):
    """Add a host to the cluster by its address and root access, and prepare it."""

    name = "node.add"
    label = "Add"
    permission = "cluster.manage"
    params = AddNodeParams
    context = NodeContext
    creates = True
    locks = (exclusive("node"),)
    steps = part_steps.Steps(
        lambda: (
            Step(reserve_node, "Reserve the name", undo=delete_record, inline=True),
            # No undo: it changes nothing on the host, and the pinned key goes with the record.
            Step(check_host, "Check the host and pin its key"),
            Step(authorize_key, "Let the panel's key in", undo=deauthorize_key, ends_secrets=True),
            Step(install_agent, "Install the agent and vmwatch-node", undo=remove_agent, weight=2),
            # No undo: distribution packages are the host's own, others may use them by now.
            Step(install_packages, "Install packages", weight=20),
            # No undo of its own: remove_agent stops a libvirtd that we keep running.
            Step(start_libvirt, "Start libvirt", weight=2),
            # No undo: it only looks.
            Step(probe_virtualization, "Try virtualization", weight=3),
            *part_steps.making(),
            # No undo: the record's removal takes the state along.
            Step(verify_node, "Verify"),
        )
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Add node {node}", {"node": ctx.params.name})

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse a name or an address that another node has."""
        if Node.objects.filter(name=ctx.params.name).exists():
            raise AlreadyExists(services.NAME_TAKEN, field="name", object="node")
        if Node.objects.filter(address=ctx.params.address, ssh_port=ctx.params.ssh_port).exists():
            raise AlreadyExists("Another node has this address.", field="address", object="node")
        if ctx.params.host_key and not ctx.params.host_key.startswith("SHA256:"):
            raise InvalidValue("“host_key” must be a fingerprint such as SHA256:….", field="host_key")
