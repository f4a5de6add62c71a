"""Rows made into objects the quick way are what Django's own way makes of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core.rows import Prepared, QuickModel
from panel.vms.models import Disk, Vm
from tests.db.monitoring.messages import make_vm


def fields_of(row: Model) -> dict[str, Any]:
    return {each.attname: getattr(row, each.attname) for each in row._meta.concrete_fields}


@pytest.fixture
def vms(node: Node, user: User) -> list[Vm]:
    return [make_vm(node, user, name) for name in ("one", "two", "three")]


def test_a_row_is_as_djangos_own_way_makes_it(vms: list[Vm], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Vm.objects.select_related("node", "owner").get(name="two")
    with monkeypatch.context() as patched:
        patched.setattr(QuickModel, "from_db", classmethod(models.Model.from_db.__func__))  # type: ignore[attr-defined]
        slow = Vm.objects.select_related("node", "owner").get(name="two")
    assert fields_of(quick) == fields_of(slow)
    assert fields_of(quick.owner) == fields_of(slow.owner)
    assert quick == slow and not quick._state.adding and quick._state.db == slow._state.db


def test_a_field_that_was_not_read_is_read_once_it_is_asked_for(vms: list[Vm]) -> None:
    vm = Vm.objects.only("name").get(name="one")
    assert vm.get_deferred_fields() >= {"memory_mib"}
    assert vm.memory_mib == vms[0].memory_mib


def test_a_row_can_be_changed_and_saved(vms: list[Vm], node: Node) -> None:
    vm = Vm.objects.get(name="one")
    vm.autostart = True
    vm.save(update_fields=["autostart"])
    vm.title = "First"
    vm.save()
    again = Vm.objects.get(name="one")
    assert again.autostart and again.title == "First"


def test_another_id_forgets_the_object_that_was_read_with_the_row(vms: list[Vm], admin: User) -> None:
    vm = Vm.objects.select_related("owner").get(name="one")
    vm.owner_id = admin.pk
    assert vm.owner == admin


def test_a_prepared_query_finds_what_its_query_does(vms: list[Vm]) -> None:
    by_name = Prepared(lambda name: Vm.objects.select_related("node").filter(name=name), "the name")
    for name in ("one", "three", "one"):
        assert by_name.rows(name) == list(Vm.objects.filter(name=name))
    with CaptureQueriesContext(connection) as queries:
        found = by_name.first("two")
        assert found is not None and found.node is not None and found.node.name == vms[1].node.name  # type: ignore[union-attr]
    assert len(queries) == 1
    assert by_name.first("the name") is None
    assert by_name.first("' OR 1=1 --") is None


def test_a_prepared_query_of_many_finds_all_of_them(vms: list[Vm]) -> None:
    of_vms = Prepared(lambda ids: Vm.objects.filter(pk__in=ids).order_by("pk"), [-1])
    ids = [vms[0].pk, vms[2].pk]
    assert of_vms.rows(ids) == [vms[0], vms[2]]
    assert of_vms.rows(ids[:1]) == [vms[0]]
    assert of_vms.rows([]) == []


def test_annotations_and_deferred_fields_come_with_it(vms: list[Vm]) -> None:
    counted = Vm.objects.defer("seed").annotate(count=models.Count("disks"))
    by_id = Prepared(lambda pk: counted.filter(pk=pk), -1)
    found: Any = by_id.first(vms[0].pk)
    assert found.count == Disk.objects.filter(vm=vms[0]).count()
    assert found.get_deferred_fields() == {"seed"}


@pytest.mark.django_db(transaction=True)
def test_threads_ask_at_once_each_on_its_own_connection(vms: list[Vm]) -> None:
    by_name = Prepared(lambda name: Vm.objects.filter(name=name), "the name")

    def ask(number: int) -> bool:
        try:
            return all(by_name.first(vm.name) == vm for vm in vms for _ in range(20))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))


def test_an_example_that_is_not_in_the_query_is_refused() -> None:
    with pytest.raises(AssertionError, match="once"):
        Prepared(lambda name: Vm.objects.filter(name="another"), "the name").rows("one")
