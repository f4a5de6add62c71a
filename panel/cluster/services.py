"""Writes about nodes that finish in one transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from nodeagent.protocol import to_dict
from nodeagent.protocol.node import Facts
from panel.accounts import journal
from panel.accounts.models import User
from panel.cluster.models import Cluster, Node, NodeState
from panel.cluster.periodic import check_nodes
from panel.core import live
from panel.core.errors import AlreadyExists, InvalidValue
from panel.core.wording import Text
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?\Z")
NAME_TAKEN = "Another node has this name."
SLOW_FACTS = ("libvirt_version", "qemu_version", "copies_running")
"""What libvirt may leave unanswered: it stays as it was known, since no answer is no fact."""


def record_facts(node: Node, facts: Facts) -> None:
    """Remember what the agent says the node is.

    Raises AlreadyExists when another node of ours is the same host by libvirt's host UUID.
    """
    told = to_dict(facts)
    known = {name: node.facts.get(name) for name in SLOW_FACTS if told[name] is None}
    values: dict[str, object] = {"facts": {**told, **known}, "facts_at": timezone.now()}
    if facts.host_uuid:
        values["host_uuid"] = facts.host_uuid
    try:
        with transaction.atomic():
            Node.objects.filter(pk=node.pk).update(**values)
    except IntegrityError:
        refuse_known_host(facts.host_uuid, node)
        raise


def refuse_known_host(host_uuid: str | None, node: Node) -> None:
    """Raise AlreadyExists when another node has this libvirt host UUID: another board, or that node installed anew."""
    if not host_uuid:
        return
    other = Node.objects.filter(host_uuid=host_uuid).exclude(pk=node.pk).first()
    if other is not None:
        raise AlreadyExists(
            Text(
                "libvirt's UUID of this host, {uuid}, is that of the node “{node}” too. Boards without a UUID of "
                "their own share one: set another as host_uuid in /etc/libvirt/libvirtd.conf of one of them and "
                "restart its libvirtd. If this is the host of “{other_node}”, installed anew, reconnect or "
                "forget that node.",
                {"uuid": str(host_uuid), "node": other.name, "other_node": other.name},
            ),
            field="address",
            object="node",
        )


def set_state(node: Node, state: str) -> None:
    """Put the node into a state and tell open pages."""
    if Node.objects.filter(pk=node.pk).exclude(state=state).update(state=state):
        node.state = state
        transaction.on_commit(lambda: live.publish("node", {"id": node.pk, "state": state}))


def report_unreachable(node: Node, why: Text) -> None:
    """The node does not answer: its state (of one that is in service) and an open problem, with the reason, say so."""
    if node.state == NodeState.READY:
        set_state(node, NodeState.UNREACHABLE)
    open_problem(
        f"node:{node.pk}:unreachable",
        why,
        severity=Severity.ERROR,
        object_type="node",
        object_id=node.pk,
    )


def report_reachable(node: Node) -> None:
    """The node answers again: ready, and the problem closed."""
    if node.state == NodeState.UNREACHABLE:
        set_state(node, NodeState.READY)
    close_problem(f"node:{node.pk}:unreachable")


def set_maintenance(node: Node, maintenance: bool) -> None:
    """Have the node take no new VMs, or take them again, and tell open pages."""
    if Node.objects.filter(pk=node.pk).exclude(maintenance=maintenance).update(maintenance=maintenance):
        transaction.on_commit(lambda: live.publish("node", {"id": node.pk, "state": node.state}))


def set_node_policies(node: Node, changes: Mapping[str, Any], by: User) -> None:
    """Change the node's name or policies.

    Raises InvalidValue for what is no name, AlreadyExists for another node's.
    """
    before = {name: getattr(node, name) for name in changes}
    if changes.get("name", node.name) != node.name:
        refuse_name(changes["name"])
    try:
        with transaction.atomic():
            Node.objects.filter(pk=node.pk).update(**changes)
            was, now = journal.changed(before, changes)
            if now:
                journal.record(by, "node.change", "node", node.pk, node.name, before=was, after=now)
    except IntegrityError as error:
        # Given to another one at this moment.
        raise AlreadyExists(NAME_TAKEN, field="name", object="node") from error
    transaction.on_commit(lambda: live.publish("node", {"id": node.pk, "state": node.state}))


def refuse_name(name: str) -> None:
    """Raise InvalidValue for what is no name of a node, AlreadyExists for another node's."""
    if not NAME.match(name):
        raise InvalidValue("The name of a node has a-z, 0-9, dots and hyphens.", field="name")
    if Node.objects.filter(name=name).exists():
        raise AlreadyExists(NAME_TAKEN, field="name", object="node")


def set_policies(cluster: Cluster, changes: Mapping[str, Any]) -> Cluster:
    """Change policies of the cluster; answers it as it is now."""
    for name, value in changes.items():
        setattr(cluster, name, value)
    cluster.save(update_fields=list(changes))
    if changes.keys() & {"guests_reach_nodes", "unsecured"}:
        # A node's rules are made by its check.
        transaction.on_commit(check_nodes)
    return cluster
