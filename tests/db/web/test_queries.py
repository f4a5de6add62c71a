"""How many queries a page of one object makes: requirements of its operations share what they look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core import kinds
from panel.tasks import registry
from panel.vms.models import AuxiliaryDisk, Disk, Purpose, Sighting, Snapshot, Vm, VmStatus
from tests.db.conftest import make_node
from tests.db.web.test_pages import signed_in, vm

__all__ = ["vm"]
MOST = 20


@pytest.fixture
def troubled(vm: int) -> Iterator[Vm]:
    """The VM, of which there is something that each requirement looks at."""
    found = Vm.objects.get(pk=vm)
    drift = [{"field": "memory", "node": "1", "stored": "2"}]
    Vm.objects.filter(pk=vm).update(
        drift=drift, seen_elsewhere=True, observed_job="backup", observed_at=timezone.now(), status=VmStatus.RUNNING
    )
    for number in range(3):
        Snapshot.objects.create(vm=found, name=f"snapshot{number}", state="ready")
    Sighting.objects.create(vm=found, node=make_node("fake2"), status="running", seen_at=timezone.now())
    yield found


def _queries(client: Client, path: str, **headers: str) -> int:
    client.get(path, secure=True, headers=headers)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path, secure=True, headers=headers).status_code == 200, path
    return len(captured)


@pytest.mark.parametrize("page", ["", "/devices", "/settings", "/guest", "/console"])
def test_a_page_of_a_vm_makes_few_queries(admin: User, troubled: Vm, page: str) -> None:
    assert _queries(signed_in(admin), f"/vms/{troubled.pk}{page}") <= MOST


def test_the_page_of_a_node_makes_few_queries(admin: User, troubled: Vm) -> None:
    assert _queries(signed_in(admin), f"/nodes/{troubled.node_id}") <= MOST


def test_dialogs_make_few_queries_and_a_groups_as_many_for_one_as_for_many(
    admin: User, troubled: Vm, node: Node
) -> None:
    client = signed_in(admin)
    common = {"cluster": troubled.cluster, "pool": troubled.pool, "owner": admin, "node": node, "memory_mib": 1}
    others = [Vm.objects.create(name=f"other{number}", vcpus=1, **common).pk for number in range(5)]
    one, many = [
        _queries(client, f"/vms/group/delete?ids={ids}")
        for ids in (troubled.pk, f"{troubled.pk},{','.join(map(str, others))}")
    ]
    assert many == one <= MOST
    found = {each.verb: f"/vms/{troubled.pk}/do/{each.verb}" for each in registry.for_object("vm", admin)}
    many = {verb: count for verb, path in found.items() if (count := _queries(client, path)) > MOST}
    assert not many


@pytest.mark.parametrize("status", VmStatus.values)
def test_what_is_gathered_changes_no_answer(admin: User, troubled: Vm, status: str) -> None:
    Vm.objects.filter(pk=troubled.pk).update(status=status)
    disk = Disk.objects.filter(vm=troubled).select_related("volume").get()
    for purpose in (None, Purpose.RESCUE, Purpose.LEFT):
        if purpose is not None:
            AuxiliaryDisk.objects.update_or_create(
                vm=troubled, defaults={"purpose": purpose, "volume": disk.volume, "image": troubled.image}
            )
        for elsewhere in (True, False):
            Vm.objects.filter(pk=troubled.pk).update(seen_elsewhere=elsewhere)
            gathered = Vm.objects.get(pk=troubled.pk)
            kinds.get("vm").gather([gathered])
            for each in registry.for_object("vm", admin):
                plain = Vm.objects.get(pk=troubled.pk)
                assert each.why_not(gathered) == each.why_not(plain), each.name
                assert each.losses(gathered) == each.losses(plain), each.name
