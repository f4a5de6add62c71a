"""Pools: made, changed, the one that a new cluster begins with; their free space as seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from nodeagent.protocol.storage import DIRECTORY, PoolState
from panel.cluster.models import Cluster, Node
from panel.core.errors import AlreadyExists, InvalidValue
from panel.core.validation import plain_name
from panel.core.wording import Text
from panel.storage.kinds import get_kind
from panel.storage.kinds.directory import DEFAULT_PATH
from panel.storage.models import NodePool, Pool, PoolFault, Volume
from panel.storage.selectors import node_of_volume


@transaction.atomic
def ensure_default_pool(cluster: Cluster) -> Pool:
    """The cluster's first pool, made when there is none."""
    # Nodes that are added at the same time all ask for it.
    Cluster.objects.select_for_update().get(pk=cluster.pk)
    pool = Pool.objects.filter(cluster=cluster).order_by("pk").first()
    return pool or Pool.objects.create(cluster=cluster, name="local", options={"path": DEFAULT_PATH})


def add_pool(cluster: Cluster, values: Mapping[str, Any]) -> Pool:
    """A new pool; each node of the cluster has it from its next check on. `path` is a directory's option of that name.

    Raises InvalidValue and MissingValue for options that its kind cannot have, AlreadyExists for a pool that touches
    another one.
    """
    name, kind = plain_name(values["name"]), get_kind(values.get("kind", DIRECTORY))
    alias = {"path": values["path"]} if "path" in values else {}
    options = kind.checked({**values.get("options", {}), **alias})
    form = values.get("volume_format", kind.formats[0])
    if form not in kind.formats:
        text = Text("Volumes of this kind of storage are {formats}.", {"formats": " or ".join(kind.formats)})
        raise InvalidValue(text, field="volume_format")
    shared = values.get("shared", False) if kind.shared is None else kind.shared
    with transaction.atomic():
        Cluster.objects.select_for_update().get(pk=cluster.pk)
        for other in Pool.objects.filter(cluster=cluster):
            if other.name == name:
                raise AlreadyExists(
                    Text("There is a storage “{name}” already.", {"name": other.name}), field="name", object="pool"
                )
            if other.kind == kind.name and (field := kind.clash(options, other.options)):
                raise AlreadyExists(
                    Text("The storage “{name}” is at {place}.", {"name": other.name, "place": other.where}),
                    field=field,
                    object="pool",
                )
        return Pool.objects.create(
            cluster=cluster, name=name, kind=kind.name, options=options, volume_format=form, shared=shared
        )


def change_pool(pool: Pool, changes: Mapping[str, Any]) -> None:
    """Change what may be chosen of a pool. That it is shared counts only where the nodes agree (sharing.py)."""
    always = pool.of_kind.shared
    if always is not None and changes.get("shared", always) != always:
        raise InvalidValue("Whether a storage of this kind is shared is not to be chosen.", field="shared")
    with transaction.atomic():
        # Whoever makes a volume in it at the same time waits, and sees what it is by then.
        held = Pool.objects.select_for_update().get(pk=pool.pk)
        Pool.objects.filter(pk=pool.pk).update(**changes)
        if changes.get("shared", held.shared) != held.shared:
            _place_volumes(held, shared=not held.shared)


def _place_volumes(pool: Pool, *, shared: bool) -> None:
    """The pool's volumes are on no node, or each on the node of the VM that has it."""
    if shared:
        Volume.objects.filter(pool=pool).update(node=None)
        return
    for volume in Volume.objects.filter(pool=pool, node=None).annotate(at=node_of_volume()):
        Volume.objects.filter(pk=volume.pk).update(node=volume.at)


def new_volume(pool: Pool, node: Node, **values: Any) -> Volume:
    """A volume of a VM of the node, recorded: on that node, in a shared pool on none."""
    # The declaration holds still until the transaction ends.
    shared = Pool.objects.select_for_update().values_list("shared", flat=True).get(pk=pool.pk)
    return Volume.objects.create(pool=pool, node=None if shared else node, **values)


def record_space(node: Node, pool: Pool, state: PoolState) -> None:
    """Remember a pool's free space on a node as just seen."""
    NodePool.objects.update_or_create(
        node=node,
        pool=pool,
        defaults={
            "capacity_bytes": state.capacity_bytes,
            "free_bytes": state.free_bytes,
            "mark": state.mark,
            "devices": state.devices,
            "fault": PoolFault.NONE,
            "seen_at": timezone.now(),
        },
    )


def record_fault(node: Node, pool: Pool, agent_code: str) -> None:
    """Remember that the pool on the node cannot be used, by what the agent called it; its space stays as last seen."""
    fault = PoolFault(agent_code) if agent_code in PoolFault.values and agent_code else PoolFault.BROKEN
    NodePool.objects.filter(node=node, pool=pool).update(fault=fault)


def forget_what_it_was(node: Node, pool: Pool) -> dict[str, Any]:
    """Whatever is at the pool's path on the node is the pool from its next check on; answers what it was."""
    known = NodePool.objects.filter(node=node, pool=pool)
    before: dict[str, Any] = {}
    for mark, devices in known.exclude(mark="").values_list("mark", "devices"):
        before = {"mark": mark, "devices": devices}
    known.update(mark="", devices=None, seen_at=None)
    return before


def recall_what_it_was(node: Node, pool: Pool, before: Mapping[str, Any]) -> None:
    """The pool on the node is known by what it was, unless it has become another meanwhile."""
    NodePool.objects.filter(node=node, pool=pool, mark="").update(seen_at=timezone.now(), **before)
