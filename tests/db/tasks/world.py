"""All that is there in the database and on the nodes in memory, to be compared before and after a task."""

from __future__ import annotations

from typing import Any

from panel.cluster import fake
from panel.cluster.models import Node
from panel.network.models import Address, IpPool, Network, NodeLink, Subnet
from panel.storage.models import Volume
from panel.tasks.models import Reservation, TaskLock, TaskSecret
from panel.vms.models import AuxiliaryDisk, Disk, Interface, Snapshot, Vm


def world() -> dict[str, Any]:
    """All that an operation could have left behind, in the database and on the nodes in memory."""
    nodes = {}
    for pk in Node.objects.values_list("pk", flat=True):
        memory = fake.node(pk)
        nodes[pk] = {
            "domains": {uuid: (domain.state, domain.spec, domain.now) for uuid, domain in memory.domains.items()},
            "snapshots": {uuid: sorted(domain.snapshots) for uuid, domain in memory.domains.items()},
            "seeds": {path: identity.hostname for path, (_, identity) in memory.seeds.items()},
            "files": sorted(path for path in memory.files if "/images/" not in path),
            "bridges": sorted(memory.bridges),
            "links": sorted(memory.links),
            "made_links": sorted(memory.made_links),
            "guards": {uuid: sorted(each.port for each in guards) for uuid, guards in memory.guards.items()},
            "rules": sorted(memory.rules),
            "nvram": sorted(memory.nvram),
            "pools": sorted(memory.pools),
            "tickets": sorted(memory.tickets),
        }
    counts = {
        model.__name__: model.objects.count()
        for model in (
            Vm,
            Disk,
            Interface,
            Volume,
            Address,
            Node,
            Snapshot,
            AuxiliaryDisk,
            Network,
            Subnet,
            IpPool,
            NodeLink,
        )
    }
    held = {model.__name__: model.objects.count() for model in (TaskLock, TaskSecret, Reservation)}
    return {"nodes": nodes, "rows": counts, "held": held}


def nodes() -> list[fake.FakeNode]:
    """The nodes in memory."""
    return [fake.node(pk) for pk in Node.objects.values_list("pk", flat=True)]
