"""Somebody undefined a VM's domain, and the panel has not heard of it yet: what is asked for ends, never stuck."""

from __future__ import annotations

from typing import Any

import pytest

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import OperationFailed
from panel.images.models import Image, Iso
from panel.tasks import registry
from panel.tasks.models import Status, Task, TaskLock
from panel.vms.models import Vm, VmStatus
from tests.db.conftest import make_node, run_task

MADE = {"name": "web1", "image": "small", "flavor": "tiny", "password": "correct horse"}
ASKED: dict[str, dict[str, Any]] = {
    "start": {},
    "rename": {"name": "web2"},
    "configure": {"clock": "localtime"},
    "autostart": {"enabled": True},
    "snapshot": {"name": "before"},
    "clone": {"name": "web2", "password": "correct horse"},
    "reinstall": {"password": "another horse"},
    "rescue": {"image": "small", "password": "another horse"},
    "configure-guest": {"hostname": "inside"},
    "add-disk": {"size_gib": 1},
    "grow-disk": {"disk": "vda", "size_gib": 30},
    "change-disk": {"disk": "vda", "cache": "writeback"},
    "mount-iso": {"iso": "installer"},
    "add-interface": {},
    "change-interface": {"guarded": False},
    "change-mac": {"mac": "52:54:00:00:00:03"},
    "suspend": {},
    "migrate": {},
}


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A VM that the panel believes to be off, and that has no domain."""
    Iso.objects.create(
        name="installer", title="Installer", file_name=image.file_name, sha256=image.sha256, size_bytes=image.size_bytes
    )
    task = run_task(registry.get("vm.create").submit(admin, MADE))
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=task.object_id))
    fake.node(node.pk).domains.clear()
    vm = Vm.objects.get(pk=task.object_id)
    assert vm.status == VmStatus.SHUT_OFF
    return vm


@pytest.mark.parametrize("verb", sorted(ASKED))
def test_whatever_is_asked_of_a_vm_without_a_domain_ends(admin: User, vm: Vm, verb: str) -> None:
    raw = dict(ASKED[verb])
    if verb.startswith("change-") and verb != "change-disk":
        raw["interface"] = vm.interfaces.get().mac
    operation = registry.get(f"vm.{'change-interface' if verb == 'change-mac' else verb}")
    if verb == "migrate":
        make_node("fake2")
    ended = run_task(operation.submit(admin, raw, object_id=vm.pk))
    assert ended.status in (Status.DONE, Status.FAILED), ended.steps.exclude(error=None).values_list("name", "error")
    assert not Task.objects.filter(status=Status.STUCK).exists() and not TaskLock.objects.exists()


@pytest.mark.parametrize("verb", ["add-disk", "add-interface", "change-mac"])
def test_a_device_operation_that_fails_there_is_undone(admin: User, vm: Vm, node: Node, verb: str) -> None:
    raw = dict(ASKED[verb])
    if verb == "change-mac":
        raw["interface"] = vm.interfaces.get().mac
    fake.node(node.pk).fail("host_create", OperationFailed("It was meant to fail.", step=""))
    operation = registry.get(f"vm.{'change-interface' if verb == 'change-mac' else verb}")
    ended = run_task(operation.submit(admin, raw, object_id=vm.pk))
    assert ended.status == Status.FAILED
    assert (vm.disks.count(), vm.interfaces.count(), TaskLock.objects.count()) == (1, 1, 0)


@pytest.mark.parametrize("verb", sorted(ASKED.keys() - {"suspend", "autostart"}))
def test_what_waited_behind_a_deletion_says_that_the_vm_is_gone(admin: User, vm: Vm, verb: str) -> None:
    raw = dict(ASKED[verb])
    if verb.startswith("change-") and verb != "change-disk":
        raw["interface"] = vm.interfaces.get().mac
    if verb == "migrate":
        make_node("fake2")
    delete = registry.get("vm.delete").submit(admin, {}, object_id=vm.pk)
    operation = registry.get(f"vm.{'change-interface' if verb == 'change-mac' else verb}")
    waiting = operation.submit(admin, raw, object_id=vm.pk, queue=True)
    assert run_task(delete).status == Status.DONE
    ended = run_task(waiting)
    assert ended.status == Status.FAILED, ended.steps.exclude(error=None).values_list("name", "error")
    assert ended.error and "broke" not in ended.error["message"]
    assert not TaskLock.objects.exists()


@pytest.mark.parametrize("kind", ["disk", "interface"])
def test_what_waited_behind_the_removal_of_a_device_says_that_it_is_gone(admin: User, vm: Vm, kind: str) -> None:
    run_task(registry.get("vm.repair").submit(admin, {}, object_id=vm.pk))
    added = run_task(
        registry.get(f"vm.add-{kind}").submit(admin, {"size_gib": 1} if kind == "disk" else {}, object_id=vm.pk)
    )
    named = {kind: added.result[kind]}
    removal = registry.get(f"vm.remove-{kind}").submit(admin, named, object_id=vm.pk)
    change = {"cache": "writeback"} if kind == "disk" else {"guarded": False}
    waiting = registry.get(f"vm.change-{kind}").submit(admin, {**named, **change}, object_id=vm.pk, queue=True)
    assert run_task(removal).status == Status.DONE
    ended = run_task(waiting)
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "not_found")
    assert not TaskLock.objects.exists()
