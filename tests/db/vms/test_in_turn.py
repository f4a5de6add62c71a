"""Of any two operations that are asked for together, the second finds what the first has made of the VM.

Whatever it does with that, nothing is left behind. Libvirt's test driver (test_life.py) tries longer queues, on one
node; here are two, and pairs with a move between them. VMPANEL_PAIRS=EXPRESSION tries others: those whose
“first+second” the regular expression is found in, of a VM that runs and of one that is off.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import Busy, CapacityError, RequestError
from panel.doctor.services import look
from panel.images.models import Image, Iso
from panel.storage.models import Volume
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Snapshot, Vm
from panel.vms.usage import differing
from tests.db.conftest import make_node, run_task

ASKED: dict[str, dict[str, Any]] = {
    "start": {},
    "stop": {},
    "force-off": {},
    "restart": {},
    "pause": {},
    "reset": {},
    "autostart": {},
    "suspend": {},
    "rename": {"name": "web2"},
    "change-owner": {"owner": "anna"},
    "configure": {"memory_mib": 512, "vcpus": 2},
    "configure-guest": {"password": "another horse"},
    "reinstall": {"password": "another horse"},
    "rescue": {"image": "small", "password": "another horse"},
    "end-rescue": {},
    "clone": {"name": "copy", "password": "another horse"},
    "snapshot": {"name": "later"},
    "add-disk": {"size_gib": 1},
    "grow-disk": {"disk": "vdb", "size_gib": 4},
    "change-disk": {"disk": "vdb", "bus": "scsi", "cache": "writeback"},
    "remove-disk": {"disk": "vdb"},
    "add-interface": {},
    "change-interface": {"guarded": False},
    "remove-interface": {},
    "mount-iso": {"iso": "installer"},
    "eject-iso": {},
    "repair": {},
    "adopt": {},
    "migrate": {},
    "delete": {},
}
SAMPLE = (
    r"^migrate\+(migrate|reinstall|rescue|clone|snapshot|delete|grow-disk|suspend)$"
    r"|^(reinstall|rescue|clone|grow-disk|suspend|configure)\+migrate$"
)
CHOSEN = re.compile(os.environ.get("VMPANEL_PAIRS") or SAMPLE)
STATES = ("runs", "is off") if "VMPANEL_PAIRS" in os.environ else ("runs",)
PAIRS = [pair for pair in (f"{first}+{second}" for first in ASKED for second in ASKED) if CHOSEN.search(pair)]


def ask(verb: str, vm: Vm, admin: User) -> Task | None:
    """Ask for it, behind whatever waits; None where it is refused."""
    raw = dict(ASKED[verb])
    if verb.endswith("-interface") and verb != "add-interface":
        raw["interface"] = vm.interfaces.order_by("position")[1].mac
    try:
        return registry.get(f"vm.{verb}").submit(admin, raw, object_id=vm.pk, queue=True)
    except (RequestError, CapacityError, Busy):
        return None


def make(admin: User, state: str) -> Vm:
    """A VM with two disks, two interfaces and an ISO image in its drive."""
    raw = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}
    made = run_task(registry.get("vm.create").submit(admin, raw))
    assert made.status == Status.DONE, made.error
    changes: list[tuple[str, dict[str, Any]]] = [
        ("add-disk", {"size_gib": 2}),
        ("add-interface", {}),
        ("mount-iso", {"iso": "rescue"}),
    ]
    if state == "is off":
        changes.append(("force-off", {}))
    for verb, values in changes:
        task = run_task(registry.get(f"vm.{verb}").submit(admin, values, object_id=made.object_id))
        assert task.status == Status.DONE, task.error
    return Vm.objects.get(pk=made.object_id)


def clear(admin: User) -> None:
    """Everything can be deleted, and then nothing is left."""
    for vm in Vm.objects.all():
        task = run_task(registry.get("vm.delete").submit(admin, {}, object_id=vm.pk))
        assert task.status == Status.DONE, task.error
    assert not look()
    assert not Volume.objects.exists() and not Snapshot.objects.exists()
    for node in Node.objects.all():
        memory = fake.node(node.pk)
        assert not memory.domains and not [path for path in memory.files if "/images/" not in path]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("pair", PAIRS)
def test_what_waited_leaves_nothing_behind(
    admin: User, user: User, node: Node, image: Image, pair: str, state: str
) -> None:
    make_node("fake2")
    for iso in ("installer", "rescue"):
        fields = {"file_name": image.file_name, "sha256": image.sha256, "size_bytes": image.size_bytes}
        Iso.objects.create(name=iso, title=iso, **fields)
    vm = make(admin, state)
    asked = [ask(verb, vm, admin) for verb in pair.split("+")]
    for task in asked:
        if task is not None:
            # What the other makes impossible, or takes the place of, ends with a reason.
            ended = run_task(task)
            assert ended.status == Status.DONE or ended.error
    assert not look()
    assert not list(differing())
    clear(admin)
