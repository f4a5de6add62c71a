"""node.reconnect: a node is reached by another address, shows another host key, or has lost the panel's key.

The host's key is shown by refusing it, and confirmed by giving its fingerprint back; that the host is the
same node is seen by the panel's mark on it, or by libvirt's UUID of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from pydantic import Field, SecretStr

from panel.accounts.models import User
from panel.cluster import agent_package, keys, marks, session, ssh
from panel.cluster.client import NodeAddress
from panel.cluster.context import NodeContext
from panel.cluster.models import Node
from panel.cluster.nodes import address_of
from panel.cluster.operations import add_looks
from panel.cluster.operations.check import check_node
from panel.cluster.way_in import OtherAddress, PrivateKey, WayInParams
from panel.core.errors import AlreadyExists, HostUnsuitable, InvalidValue, NodeRefused, OperationFailed
from panel.core.wording import Text
from panel.tasks.locks import exclusive
from panel.tasks.operation import Operation, Step


class ReconnectParams(WayInParams):
    """What is new. The password or key lets the panel's own key in anew, and is forgotten with that."""

    address: OtherAddress = Field(default=None, max_length=255, description="Host name or IP address; none: as before.")
    ssh_port: int | None = Field(default=None, ge=1, le=65535, description="None: as before.")
    host_key: str = Field(
        default="", description="Fingerprint (SHA256:...) of the host's key, if it is another one by now."
    )
    password: SecretStr | None = Field(default=None, description="Of the node's user; used once, never kept.")
    key: PrivateKey = Field(default=None, description="A private key's text; used once, never kept.")
    other_host: bool = Field(
        default=False, description="Take the host although nothing on it says that it is this node."
    )


def look_at_host(ctx: NodeContext[ReconnectParams]) -> dict[str, Any]:
    """The host shows the key that it should, and is this node; nothing was changed anywhere."""
    node = ctx.node
    before = {"address": node.address, "ssh_port": node.ssh_port, "host_key": node.host_key}
    shown = _shown_key(ctx)
    with _way_in(ctx, shown) as connection, connection.porter() as porter:
        seen = add_looks.look(porter)
    _refuse_another(ctx, seen)
    add_looks.refuse_unsuitable(node, seen, only=add_looks.OF_SSH)
    found = keys.fingerprint(shown)
    ctx.log(Text("The host shows the key {key}.", {"key": found}))
    return {"host_key": shown, "before": before, "result": {"fingerprint": found}}


def _shown_key(ctx: NodeContext[ReconnectParams]) -> str:
    """The host's key, which is the one that it should be: a password goes to no host of which nobody knows the key."""
    node = ctx.node
    # Of several keys that a host has, the one that is pinned is asked for first.
    where = NodeAddress(name=node.name, host_key=node.host_key, **_reached(node, ctx.params))
    seconds = settings.CONFIG.node_connect_seconds
    if ctx.params.host_key:
        # It may be that of any of them.
        with contextlib.suppress(NodeRefused):
            return ssh.find_host_key(where, ctx.params.host_key, seconds)
    shown = ssh.read_host_key(where, seconds)
    _refuse_key(node, keys.fingerprint(shown), ctx.params.host_key)
    return shown


def _refuse_key(node: Node, found: str, given: str) -> None:
    """Raise NodeRefused, with the key that is shown, where that is not the one given, or pinned where none was."""
    if found != (given or node.fingerprint):
        raise NodeRefused(
            Text(
                "The host shows the key {found}, and {expected} is expected. If that is the host's (there: "
                "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), ask again with it as host_key.",
                {"found": found, "expected": given or node.fingerprint or "none"},
            ),
            node=node.name,
            reason="its host key is another one",
            fingerprint=found,
        )


def _refuse_another(ctx: NodeContext[ReconnectParams], seen: dict[str, Any]) -> None:
    """Raise where the host is another node, or nothing on it says that it is this one (unless that was said)."""
    node = ctx.node
    mark = marks.parse(seen["mark"])
    add_looks.refuse_mark(node, mark)
    if mark is not None and mark.node == node.pk:
        return
    if node.host_uuid is not None and seen["host_uuid"] == str(node.host_uuid):
        ctx.log("The panel's mark is not on the host, but libvirt's UUID of it is the node's.", "warning")
        return
    if not ctx.params.other_host:
        raise HostUnsuitable(
            Text(
                "Nothing on the host says that it is “{other_node}”: neither the panel's mark nor libvirt's UUID "
                "({seen}, and the node's is {stored}). If it is to be this node all the same, ask again with "
                "other_host; VMs whose disks are not on it are missing then.",
                {"other_node": node.name, "seen": str(seen["host_uuid"]), "stored": str(node.host_uuid)},
            ),
            node=node.name,
            reasons=[{"code": "another_host", "text": "Nothing on it says that it is this node."}],
        )
    ctx.log("The host is taken as this node, since that was said.", "warning")


def let_key_in(ctx: NodeContext[ReconnectParams]) -> None:
    """The panel's own key may sign in; where no way in was given it could already."""
    with _way_in(ctx, ctx.output(look_at_host)["host_key"]) as connection, connection.porter() as porter:
        porter.authorize_key(keys.public_key())


def set_access(ctx: NodeContext[ReconnectParams]) -> None:
    """The node's row says how it is reached now, and the programs and the mark on the host are this panel's."""
    node = ctx.node
    now = {**_where(node, ctx.params), "host_key": ctx.output(look_at_host)["host_key"]}
    session.forget(address_of(node))
    Node.objects.filter(pk=node.pk).update(**now)
    ctx.log(
        Text(
            "Reached as {address}:{port}, with the host key {key}.",
            {"address": now["address"], "port": now["ssh_port"], "key": keys.fingerprint(now["host_key"])},
        )
    )


def set_access_back(ctx: NodeContext[ReconnectParams]) -> None:
    """The node's row says what it said before."""
    node = ctx.find_node()
    if node is not None and (before := ctx.output(look_at_host).get("before")):
        session.forget(address_of(node))
        Node.objects.filter(pk=node.pk).update(**before)


def mark_host(ctx: NodeContext[ReconnectParams]) -> None:
    """The panel's programs and the node's mark are on the host, brought by the panel's own key."""
    address = address_of(ctx.node)
    opened = ssh.open_connection(address, settings.CONFIG.node_connect_seconds)
    with contextlib.closing(opened) as connection, connection.porter() as porter:
        porter.put(marks.mark_of(ctx.node), marks.Mark.PATH, 0o600)
        agent_package.bring(porter)


def check_again(ctx: NodeContext[Any]) -> dict[str, Any]:
    """The node was checked as ever, and is in service again."""
    found = check_node(ctx)
    if not found["result"]["reachable"]:
        raise OperationFailed(found["result"]["reason"], step="check_again")
    for each in found["result"]["complaints"]:
        ctx.log(each, "warning")
    return found


def _where(node: Node, asked: ReconnectParams) -> dict[str, Any]:
    return {"address": asked.address or node.address, "ssh_port": asked.ssh_port or node.ssh_port}


def _reached(node: Node, asked: ReconnectParams) -> dict[str, Any]:
    where = _where(node, asked)
    return {"address": where["address"], "port": where["ssh_port"], "user": node.ssh_user}


@contextlib.contextmanager
def _way_in(ctx: NodeContext[ReconnectParams], host_key: str) -> Iterator[ssh.Connection]:
    """A connection to where the node is said to be, by what was given, else by the panel's own key."""
    node, asked = ctx.node, ctx.params
    own = asked.password is None and asked.key is None
    address = NodeAddress(
        name=node.name,
        host_key=host_key,
        password=asked.password.get_secret_value() if asked.password else None,
        key=asked.key.get_secret_value() if asked.key else None,
        key_path=str(keys.private_key_path()) if own else None,
        **_reached(node, asked),
    )
    with contextlib.closing(ssh.open_connection(address, settings.CONFIG.node_connect_seconds)) as connection:
        yield connection


class ReconnectNode(Operation[ReconnectParams]):
    """Reach a node by another address or host key, or let the panel's key in anew."""

    name = "node.reconnect"
    label = "Reconnect"
    permission = "cluster.manage"
    params = ReconnectParams
    context = NodeContext
    asks = True
    locks = (exclusive("node"),)
    supersedes = ("node.check",)
    steps = (
        # No undo: it changes nothing.
        Step(look_at_host, "Look at the host"),
        # No undo: the panel's key is on its node by right.
        Step(let_key_in, "Let the panel's key in", ends_secrets=True),
        Step(set_access, "Note how the node is reached", undo=set_access_back),
        # No undo: it was seen to be this node.
        Step(mark_host, "Bring the panel's programs", weight=2),
        # No undo: it mends towards what shall be there.
        Step(check_again, "Check the node", weight=2),
    )

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Reconnect node {node}", {"node": ctx.task.object_name})

    def initial(self, obj: Any) -> dict[str, Any]:
        """Where it is reached now."""
        return {"address": obj.address, "ssh_port": obj.ssh_port}

    def check(self, ctx: Any, viewer: User) -> None:
        """Refuse an address that another node has, and what is no fingerprint."""
        where = _where(ctx.node, ctx.params)
        if Node.objects.filter(**where).exclude(pk=ctx.node.pk).exists():
            raise AlreadyExists("Another node has this address.", field="address", object="node")
        if ctx.params.host_key and not ctx.params.host_key.startswith("SHA256:"):
            raise InvalidValue("“host_key” must be a fingerprint such as SHA256:….", field="host_key")
        # The journal says which key was pinned before, as people know keys.
        ctx.earlier["host_key"] = ctx.node.fingerprint
