"""How long a VM's history is kept."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.vms import periodic
from panel.vms.models import Cause, StatusChange, Vm
from tests.db.monitoring.messages import make_vm


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A VM."""
    return make_vm(node, user, "web1")


def happened(vm: Vm, days_ago: float, status: str = "running", *, repeated: bool = False) -> int:
    """Put a change into the history."""
    at = timezone.now() - timedelta(days=days_ago)
    return StatusChange.objects.create(vm=vm, status=status, at=at, cause=Cause.OUTSIDE, repeated=repeated).pk


def test_old_changes_go_and_young_ones_stay(vm: Vm) -> None:
    happened(vm, 400)
    kept = [happened(vm, 300), happened(vm, 1)]
    periodic.purge_history()
    assert list(StatusChange.objects.order_by("pk").values_list("pk", flat=True)) == kept


def test_the_newest_change_stays_however_old_it_is(vm: Vm) -> None:
    happened(vm, 900, "shut off")
    kept = happened(vm, 800)
    periodic.purge_history()
    assert list(StatusChange.objects.values_list("pk", flat=True)) == [kept]


def test_observations_that_changed_nothing_go_soon(vm: Vm) -> None:
    happened(vm, 3, repeated=True)
    kept = [happened(vm, 3), happened(vm, 1, repeated=True)]
    periodic.purge_history()
    assert list(StatusChange.objects.order_by("pk").values_list("pk", flat=True)) == kept


def test_more_than_a_batch_goes_too(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "BATCH", 3)
    for days in range(20):
        happened(vm, 500 + days)
    periodic.purge_history()
    assert StatusChange.objects.count() == 1
