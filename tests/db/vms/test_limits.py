"""No account has more than its limits, whoever asks, however many ask at once, and whatever fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from panel.accounts.limits import set_limits
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import CapacityError, LimitExceeded, OperationFailed, RequestError, WrongState
from panel.doctor import services as doctor
from panel.images.models import Image
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task, TaskStep
from panel.tasks.services import cancel
from panel.vms.limits import COUNTED, Resources, used_by
from panel.vms.models import Vm
from tests.db.at_once import ask_at_once
from tests.db.conftest import run_task
from tests.db.tasks.strikes import Strike

ORDER = {"image": "small", "flavor": "tiny", "owner": "anna"}
TINY = Resources(1, 128, 1, 1, 1)


def ask(name: str, by: User, raw: dict[str, Any], vm_id: int | None = None) -> Task:
    """Ask for an operation."""
    return registry.get(name).submit(by, raw, object_id=vm_id)


def make_vm(by: User, name: str = "web1", **raw: Any) -> int:
    """A VM of anna's that runs."""
    task = run_task(ask("vm.create", by, {**ORDER, "name": name, **raw}))
    assert task.status == Status.DONE, task.error
    return int(task.object_id or 0)


@pytest.fixture
def anna(user: User, node: Node, image: Image) -> User:
    """A customer, in a world where VMs can be made."""
    return user


@pytest.mark.parametrize("limit", COUNTED)
def test_a_vm_that_passes_a_limit_is_refused_before_anything_is_touched(
    anna: User, admin: User, api: APIClient, limit: str
) -> None:
    make_vm(admin)
    set_limits(anna, {limit: getattr(TINY, limit) * 2 - 1})
    for path in ("/api/v1/vms", "/api/v1/vms?plan=1"):
        answer = api.post(path, {**ORDER, "name": "web2"})
        told = answer.json()
        assert (answer.status_code, told["code"]) == (403, "limit_exceeded")
        assert (told["limit"], told["used"], told["allowed"]) == (
            limit,
            getattr(TINY, limit),
            getattr(TINY, limit) * 2 - 1,
        )
    assert used_by(anna) == TINY
    set_limits(anna, {limit: getattr(TINY, limit) * 2})
    make_vm(admin, "web2")


@pytest.mark.parametrize(
    ("name", "raw", "limit"),
    [
        ("vm.configure", {"memory_mib": 129}, "memory_mib"),
        ("vm.configure", {"vcpus": 2}, "vcpus"),
        ("vm.grow-disk", {"disk": "vda", "size_gib": 2}, "disk_gib"),
        ("vm.add-disk", {"size_gib": 1}, "disk_gib"),
        ("vm.add-interface", {}, "addresses"),
        ("vm.snapshot", {"name": "first"}, "snapshots"),
    ],
)
def test_what_makes_a_vm_larger_is_refused(anna: User, admin: User, name: str, raw: dict[str, Any], limit: str) -> None:
    vm_id = make_vm(admin)
    set_limits(anna, {limit: getattr(TINY, limit, 0)})
    for door in (registry.get(name).submit, registry.get(name).plan):
        with pytest.raises(LimitExceeded) as refused:
            door(admin, raw, object_id=vm_id)
        assert refused.value.data["limit"] == limit
    assert used_by(anna) == TINY


def test_a_clone_and_a_vm_that_is_given_are_the_owners_too(anna: User, admin: User) -> None:
    vm_id = make_vm(admin)
    run_task(ask("vm.force-off", admin, {}, vm_id))
    set_limits(anna, {"vms": 1})
    with pytest.raises(LimitExceeded):
        ask("vm.clone", admin, {"name": "web2"}, vm_id)
    other = make_vm(admin, "web3", owner="admin")
    with pytest.raises(LimitExceeded):
        ask("vm.change-owner", admin, {"owner": "anna"}, other)
    # To whom it is already changes nothing.
    assert run_task(ask("vm.change-owner", admin, {"owner": "anna"}, vm_id)).status == Status.DONE


@pytest.mark.parametrize(("limit", "ended", "used"), [(6, Status.DONE, 6), (5, Status.FAILED, 3)])
def test_a_clone_is_as_large_as_its_source_has_become_when_its_turn_comes(
    anna: User, admin: User, limit: int, ended: str, used: int
) -> None:
    vm_id = make_vm(admin)
    set_limits(anna, {"disk_gib": limit})
    growing = ask("vm.grow-disk", admin, {"disk": "vda", "size_gib": 3}, vm_id)
    cloning = registry.get("vm.clone").submit(admin, {"name": "web2"}, object_id=vm_id, queue=True)
    assert run_task(growing).status == Status.DONE
    task = run_task(cloning)
    assert (task.status, (task.error or {}).get("code")) == (ended, None if ended == Status.DONE else "limit_exceeded")
    assert used_by(anna).disk_gib == used
    assert not doctor.look()


def test_less_is_never_refused(anna: User, admin: User) -> None:
    vm_id = make_vm(admin, memory_mib=512, vcpus=2)
    set_limits(anna, {"memory_mib": 100, "vcpus": 1, "vms": 0})
    assert run_task(ask("vm.configure", admin, {"memory_mib": 256, "vcpus": 1}, vm_id)).status == Status.DONE


def test_a_place_that_was_given_up_is_free_once_nothing_can_bring_it_back(anna: User, admin: User) -> None:
    vm_id = make_vm(admin, memory_mib=512)
    set_limits(anna, {"memory_mib": 512})
    smaller = ask("vm.configure", admin, {"memory_mib": 128}, vm_id)
    # If it fails the VM has its memory again.
    with pytest.raises(LimitExceeded):
        ask("vm.create", admin, {**ORDER, "name": "web2"})
    run_task(smaller)
    make_vm(admin, "web2")


def test_two_disks_that_grow_at_once_do_not_pass_the_limit_together(anna: User, admin: User) -> None:
    first, second = make_vm(admin), make_vm(admin, "web2")
    set_limits(anna, {"disk_gib": 4})
    growing = ask("vm.grow-disk", admin, {"disk": "vda", "size_gib": 3}, first)
    with pytest.raises(LimitExceeded):
        ask("vm.grow-disk", admin, {"disk": "vda", "size_gib": 2}, second)
    run_task(growing)
    assert used_by(anna).disk_gib == 4


def test_a_disk_that_has_grown_is_not_cancelled_before_its_size_is_noted(anna: User, admin: User) -> None:
    vm_id = make_vm(admin)

    class Cancelling(engine.Observer):
        """Asks for the end when the disk has grown."""

        def stored(self, task: Task, step: TaskStep) -> None:
            """The moment."""
            if step.name == "grow_volume":
                with pytest.raises(WrongState):
                    cancel(task, admin)

    assert (
        run_task(ask("vm.grow-disk", admin, {"disk": "vda", "size_gib": 9}, vm_id), Cancelling()).status == Status.DONE
    )
    assert used_by(anna).disk_gib == 9


def test_what_waits_to_make_a_vm_larger_counts_for_whom_it_is_given_to(anna: User, admin: User) -> None:
    vm_id = make_vm(admin, owner="admin")
    set_limits(anna, {"disk_gib": 2})
    gift = ask("vm.change-owner", admin, {"owner": "anna"}, vm_id)
    growing = registry.get("vm.grow-disk").submit(admin, {"disk": "vda", "size_gib": 3}, object_id=vm_id, queue=True)
    ended = run_task(gift)
    assert (ended.status, ended.error and ended.error["code"]) == (Status.FAILED, "limit_exceeded")
    assert run_task(growing).status == Status.DONE
    assert used_by(anna).disk_gib == 0 and used_by(admin).disk_gib == 3


def test_what_an_adoption_gave_up_is_not_free_as_long_as_it_may_come_back(anna: User, admin: User, node: Node) -> None:
    vm_id = make_vm(admin, memory_mib=512)
    set_limits(anna, {"memory_mib": 512})
    memory = fake.node(node.pk)
    domain = memory.domains[str(Vm.objects.get(pk=vm_id).uuid)]
    smaller = replace(domain.spec.settings, max_memory_mib=256)
    domain.spec, domain.running = replace(domain.spec, memory_mib=256, settings=smaller), domain.spec
    adopt = ask("vm.adopt", admin, {}, vm_id)

    class Between(engine.Observer):
        """Another VM is asked for when the row has the smaller size, and then the adoption fails."""

        def stored(self, task: Task, step: TaskStep) -> None:
            """The moment."""
            if step.name == "adopt_settings" and not task.undoing:
                assert Vm.objects.get(pk=vm_id).memory_mib == 256
                with pytest.raises(LimitExceeded):
                    ask("vm.create", admin, {**ORDER, "name": "web2"})
                memory.fail("hosts_audit", OperationFailed("no", step="compare"))

    assert run_task(adopt, Between()).status == Status.FAILED
    assert used_by(anna).memory_mib == 512


def test_of_many_who_ask_at_once_one_has_the_last_place(
    anna: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm_ids = [make_vm(admin, f"web{number}") for number in range(4)]
    set_limits(anna, {"disk_gib": 5})
    answers = ask_at_once(monkeypatch, admin, "vm.add-disk", vm_ids, {"size_gib": 1})
    refused = [each.data["limit"] for each in answers if each is not None]
    assert refused == ["disk_gib", "disk_gib", "disk_gib"]
    assert used_by(anna).disk_gib == 5


def test_used_and_allowed_are_told_with_the_same_number_of_queries(
    anna: User, admin: User, api: APIClient, api_as_user: APIClient
) -> None:
    set_limits(anna, {"vms": 5, "memory_mib": 1000})
    counts = []
    for number in range(3):
        make_vm(admin, f"web{number}")
        with CaptureQueriesContext(connection) as queries:
            told = api.get(f"/api/v1/users/{anna.pk}/limits").json()
        counts.append(len(queries))
    by_name = {each["limit"]: (each["used"], each["allowed"]) for each in told}
    assert by_name["vms"] == (3, 5) and by_name["memory_mib"] == (384, 1000) and by_name["addresses"] == (3, None)
    assert len(set(counts)) == 1 and counts[0] <= 10
    assert api_as_user.get("/api/v1/me/limits").json() == told
    assert api_as_user.get(f"/api/v1/users/{admin.pk}/limits").status_code in (403, 404)


ALLOWED = {"vms": 3, "memory_mib": 640, "vcpus": 4, "disk_gib": 5, "addresses": 4}
ASKED = {
    "create": lambda n: ("vm.create", {**ORDER, "name": f"vm{n}-{Task.objects.count()}"}),
    "clone": lambda n: ("vm.clone", {"name": f"vm{n}-{Task.objects.count()}"}),
    "resize": lambda n: ("vm.configure", {"memory_mib": 128 * (1 + n % 4), "vcpus": 1 + n % 3}),
    "grow": lambda n: ("vm.grow-disk", {"disk": "vda", "size_gib": 1 + n % 4}),
    "disk": lambda n: ("vm.add-disk", {"size_gib": 1 + n % 2}),
    "address": lambda n: ("vm.add-interface", {}),
    "off": lambda n: ("vm.force-off", {}),
    "give": lambda n: ("vm.change-owner", {"owner": ("admin", "anna")[n % 2]}),
    "delete": lambda n: ("vm.delete", {}),
}
steps = st.tuples(st.sampled_from(sorted(ASKED)), st.integers(0, 11), st.sampled_from(["now", "now", "later", "fail"]))


# An example is seconds of real operations: the same ones each time, and a failing one is not made smaller.
@settings(
    max_examples=10,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(steps, min_size=4, max_size=12))
def test_no_sequence_of_operations_passes_a_limit(anna: User, admin: User, plan: list[tuple[str, int, str]]) -> None:
    set_limits(anna, dict.fromkeys(ALLOWED))
    for vm_id in Vm.objects.values_list("pk", flat=True):
        run_task(ask("vm.delete", admin, {}, vm_id))
    set_limits(anna, ALLOWED)
    waiting = []
    for what, number, how in plan:
        name, raw = ASKED[what](number)
        vms = list(Vm.objects.order_by("pk").values_list("pk", flat=True))
        try:
            task = registry.get(name).submit(
                admin, raw, object_id=None if what == "create" else vms[number % len(vms)] if vms else 0, queue=True
            )
        except (RequestError, CapacityError):
            continue
        waiting.append((task, how))
        if how != "later":
            carry_out(waiting)
        assert_within(anna)
    carry_out(waiting)
    assert_within(anna)


def carry_out(waiting: list[tuple[Task, str]]) -> None:
    """In their order; those that are to fail do at their last step."""
    while waiting:
        task, how = waiting.pop(0)
        last = registry.get(task.operation).steps[-1].name
        run_task(task, Strike(last, "before", OperationFailed("It was meant to fail.")) if how == "fail" else None)


def assert_within(user: User) -> None:
    """What is used is allowed."""
    used = used_by(user)
    assert {name: getattr(used, name) for name in ALLOWED if getattr(used, name) > ALLOWED[name]} == {}
