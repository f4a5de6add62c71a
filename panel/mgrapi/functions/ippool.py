"""`ippool`, `ippool.edit`, `ippool.delete`: the ranges that addresses are given out of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import InvalidValue, NotFound
from panel.core.wording import one_of
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Cell, Done, Form, Rows
from panel.mgrapi.functions.lists import MOST_ROWS, chosen
from panel.network.models import IpPool, Network, Purpose
from panel.network.ranges import purpose_of, size
from panel.network.selectors import list_networks
from panel.network.subnets import parse_range
from panel.tasks import registry

TYPES = tuple(Purpose.values)


def _pools(viewer: User) -> list[IpPool]:
    permissions.require(viewer, "cluster.view")
    return [pool for network in list_networks(viewer).order_by("pk")[:MOST_ROWS] for pool in network.ranges]


def _row(pool: IpPool) -> Mapping[str, Cell]:
    subnet, used = pool.subnet, int(pool.used)  # type: ignore[attr-defined]
    return {
        "id": pool.pk,
        "name": str(pool),
        "range": str(pool),
        "family": subnet.network.name,
        "iptype": "nat" if subnet.network.of_kind.translated else purpose_of(pool),
        "gateway": subnet.gateway or "",
        "mask": str(subnet.parsed.netmask),
        "user": pool.owner.name if pool.owner is not None else "",
        "hostnode": pool.node.name if pool.node is not None else "",
        "used": used,
        "free": size(pool) - used,
    }


def ippool(viewer: User, call: Call) -> Rows:
    """All ranges of all networks."""
    return chosen(call, [_row(each) for each in _pools(viewer)])


def _pool_of(viewer: User, pool_id: int) -> IpPool:
    found = next((each for each in _pools(viewer) if each.pk == pool_id), None)
    if found is None:
        raise NotFound(object="ippool", id=pool_id)
    return found


def ippool_edit(viewer: User, call: Call) -> Answer:
    """With `elid` for whom a range is; without it a new `range` of the subnet of the network `family` that has it."""
    permissions.require(viewer, "cluster.manage")
    pool = _pool_of(viewer, call.id()) if call.text("elid") else None
    if not call.sok:
        empty: dict[str, Cell] = {"family": "", "range": "", "iptype": "", "user": "", "hostnode": ""}
        return Form({"elid": pool.pk, **_row(pool)} if pool is not None else empty)
    if pool is None:
        pool = _added(viewer, call)
    if said := _said(call):
        _change(viewer, pool.subnet.network, "change-range", {"range": str(pool), **said})
    return Done({"id": pool.pk, "elid": pool.pk})


def _said(call: Call) -> dict[str, Any]:
    kind = call.text("iptype").lower()
    if kind and kind not in (*TYPES, "nat"):
        raise InvalidValue(one_of("iptype", TYPES), field="iptype")
    said = {"purpose": kind if kind in TYPES else "", "owner": call.text("user"), "node": call.text("hostnode")}
    return {name: value for name, value in said.items() if value}


def _added(viewer: User, call: Call) -> IpPool:
    """The new range, in the subnet that its first address lies in."""
    first, last = parse_range(call.need("range"))
    networks = list_networks(viewer).order_by("pk")[:MOST_ROWS]
    family = call.text("family")
    found = (each for each in networks if not family or family in (each.name, str(each.pk)))
    subnet = next((subnet for each in found if (subnet := each.subnet_with(first)) is not None), None)
    if subnet is None:
        raise NotFound(object="network", id=family or first, field="family" if family else "range")
    there = [str(each) for each in subnet.ranges.all()]
    raw = {"subnet": subnet.cidr, "ranges": [*there, f"{first}-{last}"]}
    _change(viewer, subnet.network, "change-subnet", raw)
    return next(each for each in _pools(viewer) if str(each) == f"{first}-{last}" and each.subnet_id == subnet.pk)


def ippool_delete(viewer: User, call: Call) -> Done:
    """The ranges give out nothing any more; one that VMs have addresses of is refused."""
    permissions.require(viewer, "cluster.manage")
    for pool in [_pool_of(viewer, pk) for pk in call.ids()]:
        left = [str(each) for each in IpPool.objects.filter(subnet=pool.subnet_id).exclude(pk=pool.pk)]
        _change(viewer, pool.subnet.network, "change-subnet", {"subnet": pool.subnet.cidr, "ranges": left})
    return Done()


def _change(viewer: User, network: Network, verb: str, raw: dict[str, Any]) -> None:
    registry.get(f"network.{verb}").submit(viewer, raw, object_id=network.pk, queue=True)


FUNCTIONS = {"ippool": ippool, "ippool.edit": ippool_edit, "ippool.delete": ippool_delete}
