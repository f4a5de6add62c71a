"""What an operation requires of a VM is refused by the same sentence everywhere: asked, at its turn, on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.models import Node, NodeState
from panel.core.errors import PanelError
from panel.images.models import Image
from panel.storage.models import Volume
from panel.tasks import registry
from panel.tasks.models import Status
from panel.tasks.operation import Operation
from panel.tasks.requirements import Requirement
from panel.vms.models import AuxiliaryDisk, Disk, DiskCache, Installation, Migration, Purpose, Vm, VmStatus
from tests.db.conftest import run_task
from tests.db.tasks.scenarios import ask_create


def _set(**values: Any) -> Callable[[Vm], None]:
    return lambda vm: Vm.objects.filter(pk=vm.pk).update(**values) and None


def _rescued(vm: Vm) -> None:
    AuxiliaryDisk.objects.create(
        vm=vm, purpose=Purpose.RESCUE, volume=Volume.objects.create(pool=vm.pool, node=vm.node, size_gib=1)
    )


def _being_installed(vm: Vm) -> None:
    Installation.objects.create(vm=vm)


def _on_its_way(vm: Vm) -> None:
    Migration.objects.create(vm=vm, source=vm.node, target=vm.node, started_at=timezone.now())


def _cached(vm: Vm) -> None:
    _set(status=VmStatus.RUNNING)(vm)
    vm.pool.shared = True
    vm.pool.save()
    Disk.objects.filter(vm=vm).update(cache=DiskCache.WRITEBACK)


def _too_old(vm: Vm) -> None:
    _set(status=VmStatus.RUNNING)(vm)
    assert vm.node is not None
    Node.objects.filter(pk=vm.node_id).update(facts={**vm.node.facts, "copies_running": False})


BY_HAND = {"name": "by hand", "created_at": "2026-01-01T00:00:00", "with_memory": False, "state": "shut off"}
DRIFT = [{"field": field, "node": "x", "stored": "y"} for field in ("disk vda", "name", "vcpus")]
BREAKS: dict[str, Callable[[Vm], None]] = {
    "not missing": _set(status=VmStatus.MISSING),
    "finished": _set(installed=False),
    "not on another node": _set(seen_elsewhere=True),
    "not suspended": _set(suspended_at=timezone.now()),
    "suspended": _set(suspended_at=None),
    "not in rescue mode": _rescued,
    "no snapshots": _set(unmanaged_snapshots=[{**BY_HAND, "external": False}]),
    "no overlays": _set(unmanaged_snapshots=[{**BY_HAND, "external": True}]),
    "not being installed": _being_installed,
    "being installed": lambda vm: None,
    "shut off": _set(status=VmStatus.UNKNOWN),
    "not known to be off": _set(status=VmStatus.SHUT_OFF),
    "saved": lambda vm: None,
    "as the panel described it": _set(drift=DRIFT),
    "of an image": _set(image=None),
    "running, or of an image": _set(image=None),
    "on a node that copies the disks of a VM that runs": _too_old,
    "on a node that is ready": lambda vm: Node.objects.filter(pk=vm.node_id).update(state=NodeState.PREPARING) and None,
    "its disks uncached while it runs": _cached,
    "not on its way": _on_its_way,
}
"""By each requirement's name, what breaks it for a VM that is shut off and as the panel made it."""
ABOUT_VMS = [each for each in registry.every() if each.object_type == "vm" and not each.creates]
ELSEWHERE = ("on storages whose disks can be copied while it runs",)
"""tests/db/tasks/test_storage_kinds.py has a kind that cannot."""
CASES = [(operation, each) for operation in ABOUT_VMS for each in operation.requires if each.name not in ELSEWHERE]


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A VM that is shut off and as the panel made it."""
    made = int(run_task(ask_create(admin)).object_id or 0)
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=made))
    return Vm.objects.get(pk=made)


def check_refused(operation: Operation[Any], required: Requirement, vm: Vm) -> None:
    found = [each.refusal(vm) for each in operation.requires if each.name == required.name]
    if not any(found):
        # Of a VM that is wanted to run alone.
        assert operation.name == "vm.unsuspend"
        return
    with pytest.raises(PanelError) as refused:
        operation.refuse_state(vm)
    assert operation.why_not(vm) == refused.value.text
    assert refused.value.status == 409
    assert {"object", "id"} <= refused.value.data.keys()


def test_what_is_required_is_refused_when_asked_and_told_on_the_page(vm: Vm) -> None:
    assert len(CASES) > 80
    for operation, required in CASES:
        with transaction.atomic():
            BREAKS[required.name](vm)
            check_refused(operation, required, Vm.objects.get(pk=vm.pk))
            transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("name", "raw", "broken"),
    [
        ("vm.rename", {"name": "another"}, "shut off"),
        ("vm.rename", {"name": "another"}, "no snapshots"),
        ("vm.add-disk", {"size_gib": 1}, "not in rescue mode"),
        ("vm.start", {}, "not suspended"),
        ("vm.reinstall", {}, "not suspended"),
        ("vm.snapshot", {"name": "one"}, "not missing"),
    ],
)
def test_it_is_looked_at_again_when_the_tasks_turn_comes(
    vm: Vm, admin: User, name: str, raw: dict[str, Any], broken: str
) -> None:
    operation = registry.get(name)
    waiting = operation.submit(admin, raw, object_id=vm.pk)
    BREAKS[broken](vm)
    now = Vm.objects.get(pk=vm.pk)
    expected = next(
        refusal for each in operation.requires if each.name == broken and (refusal := each.refusal(now)) is not None
    )
    ended = run_task(waiting)
    assert ended.status == Status.FAILED
    assert ended.error is not None and ended.error["message"] == expected.message


def test_what_is_there_already_is_not_offered_but_taken(vm: Vm, admin: User) -> None:
    stop = registry.get("vm.stop")
    assert (told := stop.why_not(vm)) is not None and told.english == "The VM is off."
    assert run_task(stop.submit(admin, {}, object_id=vm.pk)).status == Status.DONE
