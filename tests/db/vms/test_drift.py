"""VMs that are described otherwise on their node, and domains that nobody knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from nodeagent.protocol import audit, host
from nodeagent.storage import place
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import OperationFailed
from panel.images.models import Image
from panel.notices.models import Problem
from panel.tasks import registry
from panel.vms.models import UnmanagedDomain, Vm, VmStatus
from tests.contract.subjects import make_spec
from tests.db.conftest import make_node, run_task
from tests.db.web.buttons import buttons

MADE = {"name": "web1", "image": "small", "memory_mib": 512, "vcpus": 1, "disk_gib": 1}


@pytest.fixture
def vm(api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]) -> int:
    """A running VM."""
    made: int = api.post("/api/v1/vms", MADE).json()["vm"]
    run_tasks()
    return made


@pytest.fixture
def check(admin: User, node: Node) -> Callable[[], None]:
    """Have the node checked, as cron does."""

    def run() -> None:
        task = run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
        assert task.result["reachable"], task.result

    return run


def domain(node: Node) -> fake.FakeDomain:
    """The VM's domain."""
    (found,) = fake.node(node.pk).domains.values()
    return found


def edit(node: Node, **changes: Any) -> None:
    """Somebody changes the domain behind our back; settings by their names too."""
    held = domain(node)
    of_settings = {field.name for field in dataclasses.fields(held.spec.settings)} & set(changes)
    settings = dataclasses.replace(held.spec.settings, **{name: changes.pop(name) for name in of_settings})
    held.running = held.running or held.spec
    held.spec = dataclasses.replace(held.spec, settings=settings, **changes)


def differences(api: APIClient, vm: int) -> list[dict[str, Any]]:
    """What the API says."""
    found: list[dict[str, Any]] = api.get(f"/api/v1/vms/{vm}/drift").json()["differences"]
    return found


def do(api: APIClient, vm: int, verb: str, run_tasks: Callable[[], None]) -> dict[str, Any]:
    """Ask for an operation and carry it out; answers its task."""
    answer = api.post(f"/api/v1/vms/{vm}/{verb}", {})
    assert answer.status_code == 202, answer.json()
    run_tasks()
    task: dict[str, Any] = api.get(f"/api/v1/tasks/{answer.json()['task']['id']}").json()
    return task


def test_a_vm_that_is_as_it_should_be_has_no_drift(api: APIClient, vm: int, check: Callable[[], None]) -> None:
    assert api.get(f"/api/v1/vms/{vm}/drift").json() == {"seen_at": None, "differences": []}
    check()
    shown = api.get(f"/api/v1/vms/{vm}/drift").json()
    assert shown["seen_at"] is not None and shown["differences"] == []
    assert Problem.objects.count() == 0


def test_a_difference_is_shown_and_is_a_problem_until_it_is_gone(
    api: APIClient, vm: int, node: Node, admin: User, check: Callable[[], None]
) -> None:
    held = domain(node).spec
    edit(node, clock="localtime")
    check()
    assert differences(api, vm) == [{"field": "clock", "node": "localtime", "stored": "utc"}]
    assert api.get(f"/api/v1/vms/{vm}").json()["drifted"] is True
    assert "clock" in Problem.objects.get(open_key__isnull=False).text
    client = Client()
    client.force_login(admin)
    page = client.get(f"/vms/{vm}", secure=True).content.decode()
    assert 'id="drift"' in page and {"repair", "adopt"} <= {*buttons(page)}

    domain(node).spec = held
    check()
    assert differences(api, vm) == []
    assert not Problem.objects.filter(open_key__isnull=False).exists()
    page = client.get(f"/vms/{vm}", secure=True).content.decode()
    assert 'id="drift"' not in page and "repair" not in buttons(page)


def test_a_change_that_waits_is_found_by_the_comparison_too(
    api: APIClient, vm: int, node: Node, check: Callable[[], None]
) -> None:
    edit(node, clock="localtime")
    check()
    assert api.get(f"/api/v1/vms/{vm}").json()["pending"] == [{"field": "clock", "now": "utc", "then": "localtime"}]


def test_a_repair_makes_the_node_like_the_panel(
    api: APIClient, vm: int, node: Node, check: Callable[[], None], run_tasks: Callable[[], None]
) -> None:
    wanted = domain(node).spec
    edit(node, clock="localtime", vcpus=3, disks=[])
    check()
    plan = api.post(f"/api/v1/vms/{vm}/repair?plan=1", {}).json()["steps"]
    assert "clock: localtime on the node, utc here" in plan[0]["changes"]
    assert do(api, vm, "repair", run_tasks)["status"] == "done"
    assert domain(node).spec == wanted
    assert differences(api, vm) == []
    assert not Problem.objects.filter(open_key__isnull=False).exists()


def test_a_domain_that_somebody_undefined_while_it_runs_is_repaired_before_it_is_gone(
    api: APIClient, vm: int, node: Node, admin: User, check: Callable[[], None], run_tasks: Callable[[], None]
) -> None:
    domain(node).persistent = False
    check()
    assert differences(api, vm) == [{"field": "persistent", "node": False, "stored": True}]
    found = Problem.objects.get(open_key__isnull=False)
    assert found.text.endswith("it is gone when it stops. Repair it.") and found.severity == "error"
    client = Client()
    client.force_login(admin)
    page = client.get(f"/vms/{vm}", secure=True).content.decode()
    assert '<th scope="row">Defined in libvirt</th><td>No</td><td>Yes</td>' in page
    assert "repair" in buttons(page) and "adopt" not in buttons(page)
    assert do(api, vm, "repair", run_tasks)["status"] == "done"
    assert domain(node).persistent
    assert differences(api, vm) == []


def test_a_repair_brings_a_missing_domain_and_its_seed_back(
    api: APIClient, vm: int, node: Node, run_tasks: Callable[[], None]
) -> None:
    memory = fake.node(node.pk)
    memory.domains.clear()
    [(seed, _)] = memory.seeds.items()
    memory.seeds.clear()
    memory.files.pop(seed)
    Vm.objects.filter(pk=vm).update(status=VmStatus.MISSING)
    assert do(api, vm, "repair", run_tasks)["status"] == "done"
    assert domain(node).spec.name == "web1"
    assert seed in memory.files and memory.seeds[seed][1].keeps_password
    assert api.get(f"/api/v1/vms/{vm}").json()["status"] == "shut off"


def test_a_repair_makes_no_domain_whose_disks_are_gone(
    api: APIClient, vm: int, node: Node, run_tasks: Callable[[], None]
) -> None:
    """As a deletion leaves them that stopped half way."""
    fake.node(node.pk).domains.clear()
    fake.node(node.pk).files.clear()
    Vm.objects.filter(pk=vm).update(status=VmStatus.MISSING)
    task = do(api, vm, "repair", run_tasks)
    assert task["status"] == "failed" and "but disks too" in task["error"]["message"]
    assert not fake.node(node.pk).domains
    assert api.delete(f"/api/v1/vms/{vm}").status_code == 202
    run_tasks()
    assert not Vm.objects.filter(pk=vm).exists()


def test_the_panel_adopts_the_settings_that_the_node_has(
    api: APIClient, vm: int, node: Node, check: Callable[[], None], run_tasks: Callable[[], None]
) -> None:
    edit(
        node, clock="localtime", vcpus=3, memory_mib=256, max_memory_mib=512, title="By hand", boot=["network", "disk"]
    )
    check()
    task = do(api, vm, "adopt", run_tasks)
    assert task["status"] == "done"
    assert task["result"]["left"] == []
    shown = api.get(f"/api/v1/vms/{vm}").json()
    assert {name: shown[name] for name in ("clock", "vcpus", "max_vcpus", "memory_mib", "max_memory_mib")} == {
        "clock": "localtime",
        "vcpus": 3,
        "max_vcpus": 0,
        "memory_mib": 256,
        "max_memory_mib": 512,
    }
    assert (shown["title"], shown["boot_order"], shown["drifted"]) == ("By hand", ["network", "disk"], False)


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_adoption_leaves_a_change_alone_that_waits_behind_it(
    api: APIClient, vm: int, node: Node, check: Callable[[], None], admin: User, cancelled: bool
) -> None:
    edit(node, vcpus=2, memory_mib=256, max_memory_mib=256)
    check()
    adopt = registry.get("vm.adopt").submit(admin, {}, object_id=vm)
    change = registry.get("vm.configure").submit(admin, {"memory_mib": 1024}, object_id=vm, queue=True)
    assert run_task(adopt).status == "done"
    assert (domain(node).spec.memory_mib, Vm.objects.get(pk=vm).memory_mib) == (256, 1024)
    if cancelled:
        assert api.post(f"/api/v1/tasks/{change.pk}/cancel").status_code == 202
    assert run_task(change).status == ("cancelled" if cancelled else "done")
    found, spec = Vm.objects.get(pk=vm), domain(node).spec
    assert (found.memory_mib, found.vcpus) == (256 if cancelled else 1024, 2)
    assert (spec.memory_mib, spec.vcpus) == (found.memory_mib, found.vcpus)


def test_what_the_panel_cannot_adopt_stays_different(
    api: APIClient, vm: int, node: Node, check: Callable[[], None], run_tasks: Callable[[], None]
) -> None:
    edit(node, machine="isapc", clock="variable", vcpus=2, disks=[])
    check()
    task = do(api, vm, "adopt", run_tasks)
    assert task["result"]["left"] == ["machine", "clock", "disk vda"]
    assert task["result"]["changes"] == {"vcpus": 2}


def test_an_adoption_that_fails_leaves_the_rows_as_they_were(
    api: APIClient, vm: int, node: Node, check: Callable[[], None], admin: User
) -> None:
    edit(node, vcpus=2)
    check()
    fake.node(node.pk).fail("hosts_audit", OperationFailed("no", step="compare"))
    task = registry.get("vm.adopt").submit(admin, {}, object_id=vm)
    assert run_task(task).status == "failed"
    assert Vm.objects.get(pk=vm).vcpus == 1


def test_a_vm_that_a_task_holds_is_not_compared(
    api: APIClient, vm: int, node: Node, check: Callable[[], None], admin: User
) -> None:
    edit(node, vcpus=2)
    registry.get("vm.configure").submit(admin, {"title": "Soon"}, object_id=vm)
    check()
    assert differences(api, vm) == []
    # Nor is its domain a stranger.
    assert not UnmanagedDomain.objects.exists()


def test_a_vm_that_changed_while_the_node_was_asked_is_left_for_the_next_time(
    api: APIClient, vm: int, node: Node, check: Callable[[], None]
) -> None:
    edit(node, vcpus=2)
    memory = fake.node(node.pk)
    ask = memory._hosts_audit

    def slow(request: audit.HostsAudit, report: Any) -> audit.Audit:
        answer = ask(request, report)
        Vm.objects.filter(pk=vm).update(vcpus=2)
        return answer

    memory._hosts_audit = slow  # type: ignore[method-assign]
    check()
    assert differences(api, vm) == []


def test_unknown_domains_are_listed_until_they_are_gone(
    api: APIClient, vm: int, node: Node, admin: User, check: Callable[[], None]
) -> None:
    spec = make_spec("/srv", name="stranger")
    fake.node(node.pk).call(host.HostCreate(spec=spec))
    check()
    (shown,) = api.get(f"/api/v1/nodes/{node.pk}/foreign").json()
    assert (shown["uuid"], shown["name"], shown["status"]) == (spec.uuid, "stranger", "shut off")
    assert shown["disks"] == [place(spec.disks[0].volume)]
    client = Client()
    client.force_login(admin)
    assert "stranger" in client.get(f"/nodes/{node.pk}", secure=True).content.decode()

    del fake.node(node.pk).domains[spec.uuid]
    check()
    assert api.get(f"/api/v1/nodes/{node.pk}/foreign").json() == []


def test_a_copy_of_another_nodes_vm_is_no_stranger(
    api: APIClient, vm: int, node: Node, admin: User, check: Callable[[], None]
) -> None:
    other = make_node("fake2")
    (known,) = fake.node(node.pk).domains
    fake.node(other.pk).domains[known] = fake.FakeDomain(domain(node).spec)
    run_task(registry.get("node.check").submit(admin, {}, object_id=other.pk))
    assert not UnmanagedDomain.objects.exists()


def test_customers_see_neither(api_as_user: APIClient, user: User, vm: int, node: Node) -> None:
    Vm.objects.update(owner=user)
    assert api_as_user.get(f"/api/v1/vms/{vm}/drift").status_code == 403
    assert api_as_user.get(f"/api/v1/nodes/{node.pk}/foreign").status_code == 404
