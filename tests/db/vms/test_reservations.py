"""What a task may take beyond the rows is reserved from when it is asked for, and given back with its end."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from django.apps import apps

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import CapacityError, OperationFailed
from panel.images.models import Image
from panel.tasks import engine, registry, services
from panel.tasks.models import Reservation, Status, Task
from panel.vms.limits import used_by
from panel.vms.models import Vm
from tests.db.conftest import run_task
from tests.db.tasks.strikes import Strike

SMALL: dict[str, Any] = {"image": "small", "vcpus": 1, "disk_gib": 1}


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A VM that has half of its node's memory, and is off."""
    Node.objects.update(facts={"memory_mib": 2048, "cpu_count": 4})
    fake.node(node.pk).memory_mib = 2048
    task = run_task(registry.get("vm.create").submit(admin, {"name": "web1", "memory_mib": 1024, **SMALL}))
    assert task.status == Status.DONE, task.error
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=task.object_id))
    return Vm.objects.get()


def reserved() -> dict[str, int]:
    """What is reserved now, by its resource."""
    return dict(Reservation.objects.values_list("resource", "amount"))


def test_a_disk_that_is_to_grow_is_reserved_until_the_task_ends(vm: Vm, admin: User) -> None:
    grow = registry.get("vm.grow-disk")
    tasks = [grow.submit(admin, {"disk": "vda", "size_gib": size}, object_id=vm.pk, queue=True) for size in (3, 5)]
    assert used_by(admin).disk_gib == 5
    run_task(tasks[0])
    assert (used_by(admin).disk_gib, Reservation.objects.count()) == (5, 1)
    services.cancel(tasks[1], admin)
    run_task(tasks[1])
    assert (used_by(admin).disk_gib, reserved()) == (3, {})


def test_what_a_vm_gives_up_is_nobody_elses_before_the_task_ends(vm: Vm, admin: User) -> None:
    task = registry.get("vm.configure").submit(admin, {"memory_mib": 256}, object_id=vm.pk)
    assert reserved() == {"memory_mib": 1024, "vcpus": 1, "promised_mib": 1024}
    create, asked = registry.get("vm.create"), {"name": "web2", "memory_mib": 1536, **SMALL}
    with pytest.raises(CapacityError, match="1024 MiB of memory free"):
        create.submit(admin, asked)
    # What it was it may be again.
    registry.get("vm.configure").submit(admin, {"memory_mib": 1024}, object_id=vm.pk, queue=True)
    for each in Task.objects.filter(operation="vm.configure").order_by("-pk"):
        if each != task:
            services.cancel(each, admin)
    run_task(task)
    for each in Task.objects.filter(status=Status.QUEUED):
        run_task(each)
    assert reserved() == {}
    assert create.submit(admin, asked)


def test_a_change_that_fails_hands_on_what_it_reserved(vm: Vm, admin: User) -> None:
    configure = registry.get("vm.configure")
    first = configure.submit(admin, {"memory_mib": 512}, object_id=vm.pk)
    second = configure.submit(admin, {"memory_mib": 256}, object_id=vm.pk, queue=True)
    ended = run_task(first, Strike("configure_domain", "before", OperationFailed("It was meant to fail.", step="x")))
    assert ended.status == Status.FAILED
    # The second would go back to what the first went back to.
    assert reserved()["memory_mib"] == 1024
    run_task(second)
    assert reserved() == {} and Vm.objects.get().memory_mib == 256


def test_a_task_that_is_stuck_keeps_what_it_reserved_until_it_is_given_up(
    vm: Vm, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = registry.get("vm.grow-disk").submit(admin, {"disk": "vda", "size_gib": 9}, object_id=vm.pk)
    with monkeypatch.context() as patch:
        patch.delitem(registry._operations, "vm.grow-disk")
        engine.run(task.pk, "test")
    assert (Task.objects.get(pk=task.pk).status, reserved()) == (Status.STUCK, {"size_gib": 9})
    services.give_up_stuck(task, admin)
    assert reserved() == {}


def test_what_a_task_changes_is_claimed_until_it_ends_of_an_older_release_s_tasks_too(vm: Vm, admin: User) -> None:
    mac, asked = vm.interfaces.get().mac, {"object_id": vm.pk, "queue": True}
    change = registry.get("vm.change-disk").submit(admin, {"disk": "vda", "bus": "scsi"}, **asked)
    interface = registry.get("vm.change-interface").submit(admin, {"interface": mac, "guarded": False}, **asked)
    again = registry.get("vm.reinstall").submit(admin, {"image": "small"}, **asked)
    claims = set(Reservation.objects.values_list("task", "kind", "object_id", "resource", "amount"))
    assert {(task, resource) for task, _, _, resource, _ in claims} >= {
        (change.pk, "change"),
        (change.pk, "target:vda"),
        (change.pk, "target:sdc"),
        (interface.pk, "change"),
        (again.pk, "vm.reinstall"),
    }
    Reservation.objects.all().delete()
    importlib.import_module("panel.vms.migrations.0022_claims").claim(apps, None)
    assert set(Reservation.objects.values_list("task", "kind", "object_id", "resource", "amount")) == claims
    for task in (change, interface, again):
        services.cancel(task, admin)
        run_task(task)
    assert reserved() == {}
