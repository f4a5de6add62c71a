"""The examination: everything is looked at, and what seems wrong is looked at again.

The world goes on meanwhile: a VM may be started between the look at its node and the look at its row. What
is found once and not again was such a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from panel.cluster.models import Node, NodeState
from panel.cluster.nodes import client
from panel.cluster.session import BAD_ANSWER
from panel.core.errors import NodeError
from panel.doctor import nodes, records
from panel.doctor.findings import Finding, finding

SECOND_LOOK_SECONDS = 3.0
"""A node tells of a change within a moment; whoever was between two states is through by then."""


def examine(report: Callable[[float, str], None] = lambda fraction, text: None) -> list[Finding]:
    """What is wrong, in the database and on every node, in a fixed order; `report` is told how far it is."""
    found = look(lambda fraction, text: report(fraction / 2, text))
    if not found:
        return []
    time.sleep(SECOND_LOOK_SECONDS)
    again = look(lambda fraction, text: report(0.5 + fraction / 2, text))
    return sorted(found & again)


def look(report: Callable[[float, str], None] = lambda fraction, text: None) -> set[Finding]:
    """What seems wrong at one look; some of it may be on its way to be right."""
    found = set(records.examine())
    readings: dict[str, nodes.Reading] = {}
    said: dict[str, nodes.Wanted] = {}
    every = list(Node.objects.filter(state__in=(NodeState.READY, NodeState.UNREACHABLE)).order_by("pk"))
    for number, node in enumerate(every):
        heed = partial(report, number / len(every), f"node {node.name}")
        heed()
        busy_before = records.busy_vms()
        try:
            reading = nodes.read(node, client(node), heed)
        except NodeError as error:
            mend = "node.check" if error.data.get("agent_code") == BAD_ANSWER else ""
            found.add(finding("node_silent", f"node {node.pk}", error.text, node.name, mend))
            continue
        # Whoever a task is at before or after the look may have been changed by it in between.
        said[node.name] = nodes.wanted(node, busy_before | records.busy_vms(), reading.domains)
        readings[node.name] = reading
    for name, reading in readings.items():
        found |= set(nodes.compare(name, said[name], reading, readings))
    return found | set(nodes.runs_twice(readings))
