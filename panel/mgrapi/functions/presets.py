"""`preset`, `preset.edit`, `preset.delete`: named sizes of VMs, which the panel calls flavors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import InvalidValue, NotFound
from panel.core.wording import Text
from panel.images.models import Flavor
from panel.images.selectors import list_flavors
from panel.images.services import change_flavor, create_flavor, delete_flavor
from panel.mgrapi.call import NUMBER, Call
from panel.mgrapi.documents import Answer, Cell, Done, Form, Rows
from panel.mgrapi.functions.lists import listed

MIB_PER_GIB = 1024
FILTERS = {"id": "pk", "name": "name__icontains"}
WEIGHTS = ("cputune", "blkiotune")
"""A flavor has none: VMs have the usual ones, which 0 stands for."""


def _row(flavor: Flavor) -> Mapping[str, Cell]:
    return {
        "id": flavor.pk,
        "name": flavor.name,
        "title": flavor.title,
        "mem": flavor.memory_mib,
        "vcpu": flavor.vcpus,
        "vsize": flavor.disk_gib * MIB_PER_GIB,
        "cputune": 0,
        "blkiotune": 0,
    }


def preset(viewer: User, call: Call) -> Rows:
    """The flavors, the smallest first."""
    return listed(call, list_flavors(viewer), _row, FILTERS)


def flavor_of(viewer: User, asked: str, field: str) -> Flavor:
    """The flavor of this number or name; raises NotFound."""
    flavors = list_flavors(viewer)
    flavor = flavors.filter(pk=int(asked)).first() if NUMBER.match(asked) else flavors.filter(name=asked).first()
    if flavor is None:
        raise NotFound(object="preset", id=asked[:64], field=field)
    return flavor


def gib_of(call: Call) -> int | None:
    """`vsize` in whole GiB, upwards; None where it is not given."""
    mib = call.number("vsize")
    return None if mib is None else -(-mib // MIB_PER_GIB)


def preset_edit(viewer: User, call: Call) -> Answer:
    """A new flavor, or another size for one; VMs that exist keep theirs."""
    flavor = flavor_of(viewer, call.need("elid"), "elid") if call.text("elid") else None
    if not call.sok:
        empty: dict[str, Cell] = {
            "name": "",
            "title": "",
            "mem": "",
            "vcpu": "",
            "vsize": "",
            "cputune": 0,
            "blkiotune": 0,
        }
        return Form({"elid": flavor.pk, **_row(flavor)} if flavor else empty)
    for name in WEIGHTS:
        if call.number(name):
            raise InvalidValue(Text("A preset has no “{name}”; set it for each VM.", {"name": name}), field=name)
    values: dict[str, Any] = {
        "name": call.text("name"),
        "title": call.text("title"),
        "memory_mib": call.number("mem"),
        "vcpus": call.number("vcpu"),
        "disk_gib": gib_of(call),
    }
    given = {name: value for name, value in values.items() if value not in (None, "")}
    if flavor is not None:
        change_flavor(viewer, flavor, given)
        return Done()
    flavor = create_flavor(viewer, given)
    return Done({"id": flavor.pk, "elid": flavor.pk})


def preset_delete(viewer: User, call: Call) -> Done:
    """The flavors are no more; VMs that were made of them keep their size."""
    permissions.require(viewer, "images.manage")
    flavors = [flavor_of(viewer, each, "elid") for each in call.elids()]
    with transaction.atomic():
        for flavor in flavors:
            delete_flavor(viewer, flavor)
    return Done()


FUNCTIONS = {"preset": preset, "preset.edit": preset_edit, "preset.delete": preset_delete}
