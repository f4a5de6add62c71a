"""What nodes tell of their network interfaces: kept, shown, and a problem where a cable is out.

Judged are the interfaces that a network goes out by, and physical ones and bonds that had a link once. Counters are
kept now and then: they alone are no reason to write at every full report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db import transaction

from panel.cluster.models import Node
from panel.core import live
from panel.core.wording import Text
from panel.monitoring.models import NodeInterfaces
from panel.network.models import NodeNetwork
from panel.notices.models import Problem, Severity
from panel.notices.services import close_problems, open_problem
from vmwatch import wire

COUNTED = frozenset({"rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"})
COUNTERS_EVERY = timedelta(seconds=60)
WITH_CABLES = ("physical", "bond")
OF_NODES_OWN = "The interface {interface} of node {node} {what}."
OF_NETWORK = "The interface {interface} of node {node}, which the network “{network}” goes out by, {what}."
NO_LINK = "has no link"
SET_DOWN = "is set down"
NOT_THERE = "is not there"


class Heard(Protocol):
    """A message that was taken, as services.py has it."""

    @property
    def message(self) -> wire.Message:
        """The message."""

    @property
    def node(self) -> Node:
        """Whose it is."""

    @property
    def at(self) -> datetime:
        """When it left."""

    @property
    def late(self) -> bool:
        """Whether newer ones were taken before."""


def note(heard: Iterable[Heard]) -> None:
    """Keep what the messages say of nodes' interfaces, the newest of each node; within the messages' transaction."""
    newest = {each.node.pk: each for each in heard if each.message.links and not each.late}
    if not newest:
        return
    known = NodeInterfaces.objects.filter(node__in=newest).in_bulk(field_name="node_id")
    for node_id, each in newest.items():
        _note(each.node, known.get(node_id), each.message.links, each.at)


def _note(node: Node, known: NodeInterfaces | None, links: Sequence[wire.LinkState], at: datetime) -> None:
    told = [vars(each) for each in links]
    changed = known is None or _shape(known.interfaces) != _shape(told)
    if known is not None and not changed and at - known.seen_at < COUNTERS_EVERY:
        return
    row = known or NodeInterfaces(node=node)
    there = {each.name for each in links}
    up = {each.name for each in links if each.kind in WITH_CABLES and each.carrier}
    row.were_up = sorted((set(row.were_up) & there) | up)
    row.interfaces, row.seen_at = told, at
    if changed:
        row.changed_at = at
        transaction.on_commit(lambda: live.publish("node", {"id": node.pk}))
    row.save()
    _judge(node, row)


def _shape(told: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What of the interfaces is a change: all but what they count."""
    return [{name: value for name, value in each.items() if name not in COUNTED} for each in told]


def _judge(node: Node, row: NodeInterfaces) -> None:
    """Open a problem of each interface that should have a link and has none; end those of all others."""
    there = {each["name"]: each for each in row.interfaces}
    uplinks = dict(_uplinks(node))
    wrong = {
        name: what
        for name in {*row.were_up, *uplinks}
        if (what := _what_of(there.get(name), name in uplinks)) is not None
    }
    prefix = f"node:{node.pk}:link:"
    open_keys = Problem.objects.filter(open_key__startswith=prefix).values_list("open_key", flat=True)
    close_problems([key for key in open_keys if key and key.removeprefix(prefix) not in wrong])
    for name, what in wrong.items():
        data = {"interface": name, "node": node.name, "what": Text(what)}
        if name in uplinks:
            text, severity = Text(OF_NETWORK, {**data, "network": uplinks[name]}), Severity.ERROR
        else:
            text, severity = Text(OF_NODES_OWN, data), Severity.WARNING
        open_problem(f"{prefix}{name}", text, severity=severity, object_type="node", object_id=node.pk)


def _uplinks(node: Node) -> Iterable[tuple[str, str]]:
    """The interfaces that networks go out by on the node, with the network's name."""
    found = NodeNetwork.objects.filter(node=node).exclude(uplink="").order_by("-network_id")
    return found.values_list("uplink", "network__name")


def _what_of(link: Mapping[str, Any] | None, uplink: bool) -> str | None:
    """What is wrong with an interface; None where nothing is."""
    if link is None:
        return NOT_THERE if uplink else None
    if link["carrier"]:
        return None
    return NO_LINK if link["up"] else SET_DOWN
