"""A VM whose memory libvirt keeps: nothing that the memory knows is changed before it goes on or is discarded."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import WrongState
from panel.images.models import Image
from panel.mgrapi.functions.vms import status_of
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms import saved
from panel.vms.models import Snapshot, Vm, VmStatus
from tests.db.conftest import run_task
from tests.db.tasks.scenarios import ask_create
from tests.db.web.buttons import buttons

BODIES: dict[str, dict[str, Any]] = {
    "vm.configure": {"memory_mib": 256},
    "vm.configure-guest": {"hostname": "inside"},
    "vm.rename": {"name": "web2"},
    "vm.add-disk": {"size_gib": 2},
    "vm.grow-disk": {"disk": "vda", "size_gib": 9},
    "vm.remove-disk": {"disk": "vda"},
    "vm.change-disk": {"disk": "vda", "read_iops_sec": 100},
    "vm.mount-iso": {"iso": "installer"},
    "vm.remove-interface": {"interface": "52:54:00:00:00:02"},
    "vm.change-interface": {"interface": "52:54:00:00:00:02"},
    "vm.remove-address": {"address": "10.77.0.10"},
    "vm.snapshot": {"name": "before"},
    "vm.revert-snapshot": {"snapshot": 1},
    "vm.clone": {"name": "web2"},
    "vm.rescue": {"image": "small"},
}
"""What is asked for where an operation has something to choose."""
REFUSED = [name for name, deal in sorted(saved.DEALS.items()) if deal == saved.Deal.REFUSED]


@pytest.fixture
def running(admin: User, node: Node, image: Image) -> Vm:
    """A VM that runs."""
    return Vm.objects.get(pk=run_task(ask_create(admin)).object_id)


@pytest.fixture
def vm(running: Vm) -> Vm:
    """A VM whose memory was saved by hand, which the panel knows."""
    save(running)
    return running


def domain(vm: Vm) -> fake.FakeDomain:
    """Its domain."""
    return fake.node(vm.node_id).domains[str(vm.uuid)]


def save(vm: Vm) -> None:
    """virsh managedsave, and vmwatch tells of it."""
    domain(vm).state = VmStatus.SAVED
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.SAVED)
    vm.refresh_from_db()


def do(admin: User, vm: Vm, operation: str, **raw: Any) -> Task:
    """An operation, to its end."""
    return run_task(registry.get(operation).submit(admin, raw, object_id=vm.pk))


@pytest.mark.parametrize("name", REFUSED)
def test_what_its_memory_knows_is_not_changed_and_the_way_out_is_said(vm: Vm, admin: User, name: str) -> None:
    operation, before = registry.get(name), domain(vm).spec
    for ask in (operation.submit, operation.plan):
        with pytest.raises(WrongState, match=r"start it.*discard the memory") as refused:
            ask(admin, BODIES.get(name, {}), object_id=vm.pk)
        assert (refused.value.data["state"], refused.value.data["field"]) == ("saved", "id")
    assert (domain(vm).state, domain(vm).spec) == ("saved", before)
    assert operation.why_not(vm)


def test_one_that_was_saved_while_the_task_waited_is_refused_at_its_turn(running: Vm, admin: User) -> None:
    waiting = registry.get("vm.grow-disk").submit(admin, {"disk": "vda", "size_gib": 99}, object_id=running.pk)
    save(running)
    ended = run_task(waiting)
    assert ended.status == Status.FAILED
    assert ended.error is not None and ended.error["message"] == saved.WAY_OUT
    assert running.disks.get().volume.size_gib != 99


def test_the_node_is_asked_too_since_the_panel_may_not_know_yet(running: Vm, admin: User) -> None:
    domain(running).state = VmStatus.SAVED  # vmwatch's word is on its way
    before = domain(running).spec
    ended = do(admin, running, "vm.configure", memory_mib=256)
    assert ended.status == Status.FAILED
    assert ended.error is not None and "memory is saved" in ended.error["message"]
    assert (domain(running).state, domain(running).spec) == ("saved", before)
    running.refresh_from_db()
    assert running.memory_mib != 256


@pytest.mark.parametrize("told", [True, False], ids=["told", "asked of the node"])
def test_a_clone_of_one_that_was_saved_while_it_waited_is_refused_and_gone(
    running: Vm, admin: User, told: bool
) -> None:
    waiting = registry.get("vm.clone").submit(admin, {"name": "web2"}, object_id=running.pk)
    if told:
        save(running)
    else:
        domain(running).state = VmStatus.SAVED
    ended = run_task(waiting)
    assert ended.error is not None and ended.error["message"] == saved.WAY_OUT
    assert not Vm.objects.filter(name="web2").exists()


def test_a_start_goes_on_from_it_and_says_so(vm: Vm, admin: User) -> None:
    plan = registry.get("vm.start").plan(admin, {}, object_id=vm.pk)
    assert "saved memory" in str(plan["steps"][-1]["changes"])
    started = do(admin, vm, "vm.start")
    assert started.status == Status.DONE
    assert started.log.filter(text__contains="goes on where it was").exists()
    vm.refresh_from_db()
    assert vm.status == domain(vm).state == "running"


@pytest.mark.parametrize("name", ["vm.stop", "vm.force-off", "vm.suspend", "vm.autostart", "vm.change-owner"])
def test_what_leaves_it_alone_is_done(vm: Vm, admin: User, name: str) -> None:
    raw = {"owner": "admin"} if name == "vm.change-owner" else {}
    assert do(admin, vm, name, **raw).status == Status.DONE
    vm.refresh_from_db()
    assert vm.status == domain(vm).state == "saved"


def test_a_suspended_one_goes_on_when_that_ends(vm: Vm, admin: User) -> None:
    do(admin, vm, "vm.suspend")
    assert do(admin, vm, "vm.unsuspend").status == Status.DONE
    assert domain(vm).state == "running"


def test_it_is_discarded_on_request(vm: Vm, admin: User) -> None:
    ended = do(admin, vm, "vm.discard-saved")
    assert (ended.status, ended.result) == (Status.DONE, {"discarded": True})
    vm.refresh_from_db()
    assert vm.status == domain(vm).state == "shut off"
    with pytest.raises(WrongState, match="No memory"):
        do(admin, vm, "vm.discard-saved")


@pytest.mark.parametrize(
    ("name", "raw"), [("vm.repair", {}), ("vm.delete", {}), ("vm.reinstall", {"password": "another horse"})]
)
def test_what_discards_it_says_so_before_and_after(vm: Vm, admin: User, name: str, raw: dict[str, Any]) -> None:
    operation = registry.get(name)
    assert "discarded" in operation.warning_about(vm) and saved.LOST in operation.warning_about(vm)
    assert "saved memory is discarded" in str(operation.plan(admin, raw, object_id=vm.pk)["steps"])
    ended = do(admin, vm, name, **raw)
    assert ended.status == Status.DONE, ended.error
    assert ended.log.filter(level="warning", text__contains="discarded").exists()
    if name == "vm.reinstall":
        assert domain(vm).state == "running"
    elif name == "vm.repair":
        assert domain(vm).state == "shut off"


def test_going_back_to_a_snapshot_is_not_offered_and_deleting_one_is_done(running: Vm, admin: User) -> None:
    do(admin, running, "vm.snapshot", name="before")
    save(running)
    row = Snapshot.objects.get()
    with pytest.raises(WrongState, match="memory is saved"):
        do(admin, running, "vm.revert-snapshot", snapshot=row.pk)
    assert do(admin, running, "vm.delete-snapshot", snapshot=row.pk).status == Status.DONE
    assert domain(running).state == "saved"


def test_pages_say_so_and_offer_what_can_be_done(vm: Vm, admin: User, client: Client) -> None:
    client.force_login(admin)
    page = client.get(f"/vms/{vm.pk}").content.decode()
    assert 'data-status="saved"' in page and 'id="saved"' in page
    assert buttons(page)["discard-saved"] is False
    for other in ("devices", "guest", "settings"):
        assert "memory is saved" in client.get(f"/vms/{vm.pk}/{other}").content.decode()
    assert "add-disk" not in client.get(f"/vms/{vm.pk}/devices").content.decode()


def test_it_is_a_status_of_its_own_by_which_the_api_filters(vm: Vm, api: APIClient) -> None:
    assert api.get(f"/api/v1/vms/{vm.pk}").json()["status"] == "saved"
    # Clients of the classic API know no such word.
    assert status_of(vm).value == "stopped"
    assert [each["id"] for each in api.get("/api/v1/vms?status=saved").json()["results"]] == [vm.pk]


def test_the_doctor_tells_of_it(vm: Vm, admin: User) -> None:
    findings = run_task(registry.get("cluster.examine").submit(admin, {}, object_id=1)).result["findings"]
    assert [each["code"] for each in findings if each["object"] == f"vm {vm.pk}"] == ["memory_saved"]


def test_rest_says_the_state_with_every_refusal(vm: Vm, api: APIClient) -> None:
    for name in REFUSED:
        answer = api.post(f"/api/v1/vms/{vm.pk}/{name.partition('.')[2]}", BODIES.get(name, {}))
        assert (answer.status_code, answer.json().get("code"), answer.json().get("state")) == (
            409,
            "wrong_state",
            "saved",
        ), (name, answer.json())
