"""Lists are read quickly, and tell what DRF's own way would."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework import serializers
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.api import quick
from panel.api.vm_serializers import DiskSerializer, InterfaceSerializer, VmSerializer
from panel.cluster.models import Node
from panel.cluster.redaction import Redaction
from panel.images.models import Image, Iso
from panel.vms.models import Vm
from panel.vms.selectors import get_vm
from panel.vms.told import told_vm
from tests.db.conftest import run_task
from tests.db.monitoring.messages import make_vm
from tests.db.tasks.scenarios import ask_create


@pytest.fixture
def vms(admin: User, user: User, node: Node, image: Image) -> list[Vm]:
    """One with everything, one with next to nothing."""
    made = Vm.objects.get(pk=run_task(ask_create(admin)).object_id)
    iso = Iso.objects.create(name="installer", title="Installer", sha256="0" * 64, size_bytes=1, file_name="i.iso")
    Vm.objects.filter(pk=made.pk).update(
        iso=iso,
        suspended_at=timezone.now(),
        pending=[{"field": "vcpus", "now": 1, "then": 2}],
        unmanaged_snapshots=[{"name": "by hand"}],
        seen_elsewhere=True,
    )
    return [Vm.objects.get(pk=made.pk), make_vm(node, user, "bare", observed_at=None)]


def slowly(vm: Vm, viewer: User, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What DRF's own way tells of it."""
    with monkeypatch.context() as patched:
        for each in (VmSerializer, DiskSerializer, InterfaceSerializer):
            patched.setattr(each, "to_representation", serializers.ModelSerializer.to_representation)
        return json.loads(json.dumps(VmSerializer(vm, context={"redaction": Redaction(viewer)}).data))


def test_the_quick_way_tells_what_drf_would(
    vms: list[Vm], admin: User, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for viewer in (admin, user):
        for vm in vms:
            if viewer.sees_all or vm.owner_id == viewer.pk:
                told = VmSerializer(told_vm(viewer, vm.pk), context={"redaction": Redaction(viewer)}).data
                assert json.loads(json.dumps(told)) == slowly(get_vm(viewer, vm.pk), viewer, monkeypatch)


def test_most_fields_have_the_short_way() -> None:
    left = {name for name, read, _words in quick._plan(VmSerializer).fields if read is None}
    assert left == set()


def test_a_list_makes_as_many_queries_for_many_as_for_few(
    vms: list[Vm], api: APIClient, user: User, node: Node
) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert api.get("/api/v1/vms").status_code == 200
        return len(queries)

    few = count()
    for number in range(20):
        make_vm(node, user, f"more{number}")
    assert count() == few <= 12


def test_only_the_asked_fields_are_told(vms: list[Vm], api: APIClient) -> None:
    (first, *_rest) = api.get("/api/v1/vms?fields=name,disks").json()["results"]
    assert set(first) == {"id", "name", "disks"}


@pytest.mark.parametrize("kind", [VmSerializer, DiskSerializer, InterfaceSerializer])
def test_no_field_of_a_vm_goes_the_slow_way(kind: type[quick.QuickSerializer[Any]]) -> None:
    """One that does has DRF make all fields anew in each request: a fifth of a list of 50."""
    assert [name for name, read, _words in quick._plan(kind).fields if read is None] == []
