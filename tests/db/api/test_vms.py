"""VMs through the REST API, on a node in memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node, NodeState
from panel.core.errors import IdempotencyMismatch, LibvirtFailure
from panel.images.models import Image
from panel.network.models import Address, IpPool
from panel.tasks import queue, registry
from panel.tasks.models import Task, TaskStep
from panel.tasks.planning import RECENT
from panel.vms.models import Vm
from tests.db.conftest import make_node
from tests.db.monitoring.messages import make_vm

GOOD = {"name": "web1", "image": "small", "flavor": "small"}


def test_creating_answers_at_once_with_task_id_and_address(api: APIClient, node: Node, image: Image) -> None:
    answer = api.post("/api/v1/vms", GOOD)

    assert answer.status_code == 202
    body = answer.json()
    assert body["address"] == "10.77.0.10"
    assert body["task"]["status"] == "queued"
    assert answer.headers["Location"] == f"/api/v1/tasks/{body['task']['id']}"
    shown = api.get(f"/api/v1/vms/{body['vm']}").json()
    assert (shown["name"], shown["task"]) == ("web1", body["task"]["id"])


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"image": "nothing"}, 404, "not_found", "image"),
        ({"flavor": "nothing"}, 404, "not_found", "flavor"),
        ({"network": "nothing"}, 404, "not_found", "network"),
        ({"node": "nothing"}, 404, "not_found", "node"),
        ({"flavor": None}, 400, "missing_value", "memory_mib"),
        ({"memory_mib": 64}, 400, "invalid_value", "memory_mib"),
        ({"memory_mib": 10_000_000}, 400, "invalid_value", "memory_mib"),
        ({"memory_mib": 1_000_000}, 409, "no_capacity", "node"),
        ({"vcpus": 64}, 409, "no_capacity", "node"),
        ({"name": ""}, 400, "invalid_value", "name"),
        ({"name": "a'b"}, 400, "invalid_value", "name"),
        ({"name": 'a"b'}, 400, "invalid_value", "name"),
        ({"name": "a\nb"}, 400, "invalid_value", "name"),
        ({"name": "web1\n"}, 202, None, None),
        ({"name": "<domain>"}, 400, "invalid_value", "name"),
        ({"name": "a;reboot"}, 400, "invalid_value", "name"),
        ({"name": "$(id)"}, 400, "invalid_value", "name"),
        ({"name": "x" * 64}, 400, "invalid_value", "name"),
        ({"ssh_keys": ["ssh-ed25519 AAAA\nruncmd: [reboot]"]}, 400, "invalid_value", "ssh_keys"),
        ({"ssh_keys": ["not a key"]}, 400, "invalid_value", "ssh_keys"),
        ({"password": "short"}, 400, "invalid_value", "password"),
        ({"surprise": 1}, 400, "invalid_value", "surprise"),
    ],
)
def test_bad_input_is_told_with_code_field_and_sentence_before_anything_is_touched(
    api: APIClient,
    node: Node,
    image: Image,
    change: dict[str, object],
    status: int,
    code: str | None,
    field: str | None,
) -> None:
    answer = api.post("/api/v1/vms", {**GOOD, **change})

    assert answer.status_code == status
    if code is None:
        return
    body = answer.json()
    assert (body["code"], body["field"]) == (code, field)
    assert body["detail"].endswith(".")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (Vm.objects.count(), Task.objects.count(), Address.objects.count()) == (0, 0, 0)
    assert fake.node(node.pk).calls == []


def test_a_name_in_use_is_refused(api: APIClient, node: Node, image: Image) -> None:
    api.post("/api/v1/vms", GOOD)
    answer = api.post("/api/v1/vms", GOOD)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "already_exists", "name")


def test_no_free_address_is_refused(api: APIClient, node: Node, image: Image) -> None:
    pool = IpPool.objects.get()
    pool.last = "10.77.0.10"
    pool.save()
    assert api.post("/api/v1/vms", GOOD).status_code == 202
    answer = api.post("/api/v1/vms", {**GOOD, "name": "web2"})
    assert (answer.status_code, answer.json()["field"]) == (409, "network")


def test_no_room_says_what_each_node_lacks(api: APIClient, node: Node, image: Image) -> None:
    node.pools.update(free_bytes=1)
    other = make_node("fake2")
    Node.objects.filter(pk=other.pk).update(state=NodeState.UNREACHABLE)
    answer = api.post("/api/v1/vms", GOOD)
    assert answer.status_code == 409
    assert set(answer.json()["candidates"]) == {"fake1", "fake2"}


def test_the_same_key_and_body_give_the_same_task(api: APIClient, node: Node, image: Image) -> None:
    first = api.post("/api/v1/vms", GOOD, headers={"Idempotency-Key": "order-7"})
    again = api.post("/api/v1/vms", GOOD, headers={"Idempotency-Key": "order-7"})
    other = api.post("/api/v1/vms", {**GOOD, "name": "web2"}, headers={"Idempotency-Key": "order-7"})

    assert first.json()["task"]["id"] == again.json()["task"]["id"]
    assert again.json()["vm"] == first.json()["vm"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_mismatch")
    assert Vm.objects.count() == 1


def test_a_held_vm_is_refused_with_the_task_or_queued_as_asked(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    created = api.post("/api/v1/vms", GOOD).json()
    path = f"/api/v1/vms/{created['vm']}"
    refused = api.post(f"{path}/force-off", {})
    queued = api.post(f"{path}/force-off?queue=1", {})

    assert (refused.status_code, refused.json()["code"]) == (409, "busy")
    assert refused.json()["task"] == created["task"]["id"]
    assert queued.status_code == 202
    run_tasks()
    assert api.get(path).json()["status"] == "shut off"


def test_a_plan_is_answered_and_nothing_done(api: APIClient, node: Node, image: Image) -> None:
    answer = api.post("/api/v1/vms?plan=1", GOOD)
    assert answer.status_code == 200
    first = answer.json()["steps"][0]
    assert (first["name"], first["seconds_before"]) == ("reserve_records", None)
    assert first["changes"] == f"VM “web1” on “{node.name}” with an address of “private”"
    russian = api.post("/api/v1/vms?plan=1", GOOD, HTTP_ACCEPT_LANGUAGE="ru").json()["steps"][0]
    assert russian["changes"] == f"ВМ «web1» на «{node.name}» с адресом из «private»"
    assert russian["title"] == "Зарезервировать имя, диск и адрес"
    assert Task.objects.count() == 0


def test_a_plan_says_how_long_each_step_took_before_and_who_holds_what_it_needs(
    api: APIClient, api_as_user: APIClient, user: User, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    vm = api.post("/api/v1/vms", {**GOOD, "owner": user.name}).json()["vm"]
    run_tasks()
    for _ in range(3):
        api.post(f"/api/v1/vms/{vm}/force-off", {})
        run_tasks()
    began = timezone.now()
    for seconds, step in zip((1, 60, 2), TaskStep.objects.filter(name="force_off"), strict=True):
        ended = began + timedelta(seconds=seconds)
        TaskStep.objects.filter(pk=step.pk).update(started_at=began, finished_at=ended)
    waits = api.post(f"/api/v1/vms/{vm}/stop", {}).json()["task"]["id"]

    plan = api.post(f"/api/v1/vms/{vm}/force-off?plan=1", {}).json()
    assert {step["name"]: step["seconds_before"] for step in plan["steps"]}["force_off"] == 2.0
    held = {"kind": "vm", "id": vm, "exclusive": True, "task": waits}
    assert plan["locks"] == [held, {"kind": "node", "id": node.pk, "exclusive": False, "task": None}]
    # A customer is not told of nodes.
    assert api_as_user.post(f"/api/v1/vms/{vm}/force-off?plan=1", {}).json()["locks"] == [held]


def test_a_plan_asks_for_the_same_number_of_rows_after_few_and_many_runs(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    vm = api.post("/api/v1/vms", GOOD).json()["vm"]
    run_tasks()

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert api.post(f"/api/v1/vms/{vm}/force-off?plan=1", {}).status_code == 200
        return len(found)

    counts = []
    for runs in (1, RECENT + 5):
        for _ in range(runs):
            api.post(f"/api/v1/vms/{vm}/force-off", {})
            run_tasks()
        counts.append(queries())
    assert counts[0] == counts[1]


def test_a_customer_reaches_nothing_of_another(
    api: APIClient, api_as_user: APIClient, user: User, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    created = api.post("/api/v1/vms", GOOD).json()
    run_tasks()
    path = f"/api/v1/vms/{created['vm']}"

    for answer in (
        api_as_user.get(path),
        api_as_user.delete(path),
        api_as_user.post(f"{path}/start", {}),
        api_as_user.get(f"{path}/history"),
        api_as_user.get(f"/api/v1/tasks/{created['task']['id']}"),
        api_as_user.post(f"/api/v1/tasks/{created['task']['id']}/cancel"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert api_as_user.get("/api/v1/vms").json()["results"] == []
    assert api_as_user.post("/api/v1/nodes", {"name": "n", "address": "a"}).status_code == 403
    assert api_as_user.get("/api/v1/nodes").status_code == 403


def test_a_customer_runs_their_own_vm(
    api_as_user: APIClient, user: User, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    created = api_as_user.post("/api/v1/vms", GOOD).json()
    run_tasks()
    path = f"/api/v1/vms/{created['vm']}"
    assert api_as_user.get(path).json()["owner"] == "anna"
    assert api_as_user.post(f"{path}/stop", {}).status_code == 202
    run_tasks()
    assert api_as_user.get(path).json()["status"] == "shut off"
    assert api_as_user.delete(path).status_code == 202
    run_tasks()
    assert api_as_user.get(path).status_code == 404


def test_a_guest_that_does_not_obey_is_forced_off(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    created = api.post("/api/v1/vms", GOOD).json()
    run_tasks()
    next(iter(fake.node(node.pk).domains.values())).obeys = False
    answer = api.post(f"/api/v1/vms/{created['vm']}/stop", {"timeout_seconds": 0})
    run_tasks()
    task = api.get(f"/api/v1/tasks/{answer.json()['task']['id']}").json()
    assert task["result"] == {"forced": True}
    assert api.get(f"/api/v1/vms/{created['vm']}").json()["status"] == "shut off"


def test_a_failed_task_tells_why_and_its_log_when(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    refusal = LibvirtFailure(node="fake1", command="host_start", text="no emulator", libvirt_code=1)
    fake.node(node.pk).fail("host_start", refusal)
    created = api.post("/api/v1/vms", GOOD).json()
    run_tasks()
    task = api.get(f"/api/v1/tasks/{created['task']['id']}").json()
    assert task["status"] == "failed"
    assert task["error"]["code"] == "libvirt_failure"
    assert "no emulator" in task["error"]["message"]
    assert api.get(f"/api/v1/tasks/{created['task']['id']}/log").json()[-1]["level"] == "error"
    assert Vm.objects.count() == 0


def test_passwords_of_guests_stand_in_no_row(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    api.post("/api/v1/vms", {**GOOD, "password": "a very secret word"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT params, result FROM tasks_task")
        assert "secret word" not in str(cursor.fetchall())
        cursor.execute("SELECT sealed FROM tasks_tasksecret")
        assert "secret word" not in str(cursor.fetchall())
    run_tasks()
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM tasks_tasksecret")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("path", ["/api/v1/vms", "/api/v1/nodes", "/api/v1/tasks", "/api/v1/networks", "/api/v1/pools"])
def test_a_list_makes_the_same_queries_for_few_and_many(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None], path: str
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get(path).status_code == 200
        return len(captured)

    for number in range(3):
        api.post("/api/v1/vms", {**GOOD, "name": f"few{number}", "flavor": "tiny"})
    few = queries()
    for number in range(20):
        api.post("/api/v1/vms", {**GOOD, "name": f"many{number}", "flavor": "tiny"})
    make_node("fake2")
    assert queries() == few
    assert few <= 8


def test_a_list_has_bounded_pages(api: APIClient, node: Node, image: Image) -> None:
    for number in range(5):
        api.post("/api/v1/vms", {**GOOD, "name": f"page{number}", "flavor": "tiny"})
    first = api.get("/api/v1/vms?limit=2").json()
    second = api.get(first["next"]).json()
    assert [vm["name"] for vm in first["results"] + second["results"]] == ["page0", "page1", "page2", "page3"]
    refused = api.get("/api/v1/vms?limit=100000")
    assert (refused.status_code, refused.json()["field"]) == (400, "limit")


def test_addresses_are_given_out_once(api: APIClient, node: Node, image: Image) -> None:
    given = [
        api.post("/api/v1/vms", {**GOOD, "name": f"n{number}", "flavor": "tiny"}).json()["address"]
        for number in range(10)
    ]
    assert len(set(given)) == 10


def test_identical_requests_at_the_same_time_make_one_vm(
    admin: User, node: Node, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = registry.get("vm.create")
    together = threading.Barrier(8)
    check = operation.check
    found: list[int] = []

    def all_before_any_is_made(ctx: Any, viewer: User) -> None:
        # Everybody has looked for an earlier task, and found none.
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(10)
        check(ctx, viewer)

    def ask() -> None:
        found.append(operation.submit(admin, dict(GOOD), idempotency_key="an order").pk)
        connection.close()

    monkeypatch.setattr(operation, "check", all_before_any_is_made)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8 and len(set(found)) == 1
    assert Vm.objects.count() == 1


def test_an_order_is_known_again_by_a_release_that_can_be_asked_for_more(
    admin: User, node: Node, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = registry.get("vm.create")
    first = operation.submit(admin, dict(GOOD), idempotency_key="an order")

    class Later(operation.params):  # type: ignore[name-defined]
        colour: str = "white"

    monkeypatch.setattr(operation, "params", Later)
    assert operation.submit(admin, dict(GOOD), idempotency_key="an order") == first
    with pytest.raises(IdempotencyMismatch):
        operation.submit(admin, {**GOOD, "colour": "red"}, idempotency_key="an order")


class TestGroups:
    """One operation on many VMs."""

    @pytest.fixture
    def vms(self, api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]) -> list[int]:
        """Three VMs that run."""
        made = [api.post("/api/v1/vms", {**GOOD, "name": f"web{number}"}).json()["vm"] for number in range(3)]
        run_tasks()
        return made

    def test_each_has_its_answer(self, api: APIClient, vms: list[int], run_tasks: Callable[[], None]) -> None:
        api.post(f"/api/v1/vms/{vms[1]}/restart")
        answer = api.post("/api/v1/vms/group/stop", {"ids": [*vms, 999]}, format="json")
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [each["id"] for each in results] == [*vms, 999]
        assert [each.get("error", {}).get("code") for each in results] == [None, "busy", None, "not_found"]
        assert results[1]["error"]["task"] == Task.objects.get(operation="vm.restart").pk
        run_tasks()
        assert [Vm.objects.get(pk=pk).status for pk in vms] == ["shut off", "running", "shut off"]

    def test_the_parameters_are_those_of_all(self, api: APIClient, vms: list[int]) -> None:
        body = {"ids": vms, "params": {"timeout_seconds": 7}}
        assert all("task" in each for each in api.post("/api/v1/vms/group/stop", body, format="json").json()["results"])
        assert [task.params["timeout_seconds"] for task in Task.objects.filter(operation="vm.stop")] == [7, 7, 7]

    def test_the_same_key_makes_the_same_tasks(self, api: APIClient, vms: list[int]) -> None:
        answers = [
            api.post("/api/v1/vms/group/stop", {"ids": vms}, format="json", headers={"Idempotency-Key": "a"}).json()
            for _ in range(2)
        ]
        assert answers[0] == answers[1]
        assert Task.objects.filter(operation="vm.stop").count() == 3

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "ids"),
            ({"ids": []}, "ids"),
            ({"ids": list(range(1, 102))}, "ids"),
            ({"ids": ["x"]}, "ids"),
            ({"ids": [1], "params": {"no_such": 1}}, "no_such"),
            ([1], "body"),
        ],
    )
    def test_what_is_wrong_for_all_is_told_once(self, api: APIClient, vms: list[int], body: object, field: str) -> None:
        answer = api.post("/api/v1/vms/group/stop", body, format="json")
        assert (answer.status_code, answer.json()["field"]) == (400, field)
        assert not Task.objects.filter(operation="vm.stop").exists()

    def test_each_more_costs_few_queries(self, api: APIClient, user: User, node: Node) -> None:
        def asked(count: int, name: str) -> int:
            ids = [make_vm(node, user, f"{name}{number}").pk for number in range(count)]
            with CaptureQueriesContext(connection) as queries:
                results = api.post("/api/v1/vms/group/stop", {"ids": ids}, format="json").json()["results"]
            assert all("task" in each for each in results)
            return len(queries)

        asked(1, "warm")
        assert asked(12, "many") - asked(2, "few") <= 10 * 15

    def test_none_is_begun_before_all_are_asked_for(
        self, api: APIClient, vms: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts: list[int] = []
        monkeypatch.setattr(queue.app, "send_task", lambda *_args, **_options: counts.append(Task.objects.count()))
        before = Task.objects.count()
        assert api.post("/api/v1/vms/group/stop", {"ids": vms}, format="json").status_code == 200
        assert counts == [before + 3] * 3

    def test_anothers_are_as_absent(self, api: APIClient, api_as_user: APIClient, vms: list[int]) -> None:
        results = api_as_user.post("/api/v1/vms/group/stop", {"ids": vms}, format="json").json()["results"]
        assert {each["error"]["code"] for each in results} == {"not_found"}
