"""A creation, a clone and a change take the same settings, and refuse the same ones by the same words."""

from __future__ import annotations

from typing import Any

import pytest

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import AccessDenied, CapacityError, RequestError
from panel.images.models import Image
from panel.tasks import registry
from panel.tasks.models import Status
from panel.vms.machine import SETTINGS, settings_of
from panel.vms.models import Vm
from panel.vms.settings import NEED_A_RIGHT, Settings
from tests.db.conftest import run_task
from tests.db.tasks.scenarios import ask_create

ASKED: dict[str, Any] = {
    "memory_mib": 512,
    "vcpus": 2,
    "title": "Shop",
    "description": "Sells things.",
    "max_memory_mib": 1024,
    "max_vcpus": 4,
    "cpu_weight": 200,
    "cpu_limit_percent": 150,
    "io_weight": 300,
    "cpu_mode": "custom",
    "cpu_model": "qemu64",
    "boot_order": ["network", "disk"],
    "machine": "pc",
    "firmware": "uefi",
    "clock": "localtime",
}
ACCESS = {"password": "correct horse"}


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    return Vm.objects.get(pk=run_task(ask_create(admin)).object_id)


def made(admin: User, name: str, raw: dict[str, Any], object_id: int | None = None) -> Vm:
    ended = run_task(registry.get(name).submit(admin, raw, object_id=object_id))
    assert ended.status == Status.DONE, ended.error
    return Vm.objects.get(pk=ended.object_id)


def described(vm: Vm) -> dict[str, Any]:
    """What its node has of it, but for what each VM has of its own."""
    spec = fake.node(vm.node_id or 0).domains[str(vm.uuid)].spec
    own = ("uuid", "name", "disks", "interfaces", "cdroms")
    return {name: value for name, value in vars(spec).items() if name not in own}


def test_every_setting_is_one_of_the_model() -> None:
    assert set(Settings.model_fields) - {"flavor"} == set(SETTINGS) == set(ASKED)


def test_a_creation_with_settings_is_a_creation_and_a_change(admin: User, vm: Vm) -> None:
    at_once = made(admin, "vm.create", {"name": "web2", "image": "small", "flavor": "tiny", **ACCESS, **ASKED})
    assert settings_of(at_once) == ASKED
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm.pk))
    changed = made(admin, "vm.configure", ASKED, vm.pk)
    assert described(at_once) == described(changed)


def test_a_clone_has_the_settings_that_are_asked_for_and_else_its_source_s(admin: User, vm: Vm) -> None:
    run_task(registry.get("vm.configure").submit(admin, {"cpu_weight": 77, "title": "First"}, object_id=vm.pk))
    copy = made(admin, "vm.clone", {"name": "web2", **ACCESS, "memory_mib": 512, "title": "Second"}, vm.pk)
    vm.refresh_from_db()
    assert settings_of(copy) == {**settings_of(vm), "memory_mib": 512, "title": "Second"}
    assert (vm.title, vm.memory_mib) == ("First", 1024)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"cpu_weight": 1}, "cpu_weight"),
        ({"io_weight": 5}, "io_weight"),
        ({"max_vcpus": 1, "vcpus": 2}, "max_vcpus"),
        ({"max_memory_mib": 256, "memory_mib": 512}, "max_memory_mib"),
        ({"cpu_mode": "custom"}, "cpu_model"),
        ({"cpu_model": "qemu64"}, "cpu_model"),
        ({"boot_order": ["disk", "disk"]}, "boot_order"),
        ({"memory_mib": 64}, "memory_mib"),
        ({"flavor": "none such"}, "flavor"),
        ({"cpu_mode": "host-passthrough"}, "cpu_mode"),
    ],
)
def test_the_same_is_refused_by_all_three(admin: User, vm: Vm, image: Image, wrong: dict[str, Any], field: str) -> None:
    Image.objects.filter(pk=image.pk).update(min_memory_mib=100)
    Node.objects.update(accel="tcg")
    size = {"memory_mib": 512, "vcpus": 1, "disk_gib": 10}
    asks = (
        ("vm.configure", wrong, vm.pk),
        ("vm.clone", {"name": "web2", **ACCESS, **wrong}, vm.pk),
        ("vm.create", {"name": "web2", "image": "small", **ACCESS, **size, **wrong}, None),
    )
    said = set()
    for name, raw, object_id in asks:
        with pytest.raises(RequestError) as refused:
            registry.get(name).submit(admin, raw, object_id=object_id)
        assert refused.value.field == field, name
        said.add((refused.value.code, refused.value.message))
    assert len(said) == 1
    assert Vm.objects.count() == 1


def test_what_memory_may_grow_to_is_promised_by_a_creation_too(admin: User, node: Node, image: Image) -> None:
    raw = {"name": "web2", "image": "small", "flavor": "tiny", **ACCESS, "max_memory_mib": 4 * 1024 * 1024}
    with pytest.raises(CapacityError, match="memory"):
        registry.get("vm.create").submit(admin, raw)


@pytest.mark.parametrize("name", sorted(NEED_A_RIGHT - {"cpu_model"}))
def test_who_may_make_vms_does_not_give_them_more_of_the_node_by_that_alone(
    admin: User, user: User, vm: Vm, name: str
) -> None:
    Vm.objects.update(owner=user)
    raw: dict[str, Any] = {"name": "web2", **ACCESS, name: ASKED[name]}
    if name == "cpu_mode":
        raw["cpu_model"] = ASKED["cpu_model"]
    for operation, more, object_id in (
        ("vm.create", {"image": "small", "flavor": "tiny"}, None),
        ("vm.clone", {}, vm.pk),
    ):
        with pytest.raises(AccessDenied):
            registry.get(operation).submit(user, {**raw, **more}, object_id=object_id)
    # What the guest sees, and what it is as it is, is free.
    free = {"clock": "localtime", "firmware": "uefi", "cpu_weight": 0, "title": "Mine"}
    registry.get("vm.create").submit(user, {"name": "web3", "image": "small", "flavor": "tiny", **ACCESS, **free})


def test_the_speed_of_a_new_vm_s_interface_is_an_operator_s_to_limit(admin: User, user: User, vm: Vm) -> None:
    raw = {"name": "web2", "image": "small", "flavor": "tiny", **ACCESS}
    with pytest.raises(AccessDenied):
        registry.get("vm.create").submit(user, {**raw, "inbound_kibps": 10})
    found = made(admin, "vm.create", {**raw, "inbound_kibps": 10, "outbound_kibps": 20})
    [spec] = fake.node(found.node_id or 0).domains[str(found.uuid)].spec.interfaces
    assert (spec.inbound_kibps, spec.outbound_kibps) == (10, 20)
