"""vm.configure on a node in memory: what changes, what is refused, what goes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from nodeagent.protocol import audit, host
from panel.accounts.models import Role, User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import LibvirtFailure
from panel.images.models import Image
from panel.tasks.models import Task
from panel.vms.machine import settings_of
from panel.vms.models import AuxiliaryDisk, Interface, Purpose, Vm
from tests.db.conftest import run_task
from tests.refs import ref

MADE = {"name": "web1", "image": "small", "memory_mib": 512, "vcpus": 1, "disk_gib": 1}


@pytest.fixture
def vm(api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]) -> int:
    """A running VM."""
    made: int = api.post("/api/v1/vms", MADE).json()["vm"]
    run_tasks()
    return made


@pytest.fixture
def configure(api: APIClient, vm: int, run_tasks: Callable[[], None]) -> Callable[..., dict[str, Any]]:
    """Change settings and carry it out; answers the task."""

    def change(**values: Any) -> dict[str, Any]:
        answer = api.post(f"/api/v1/vms/{vm}/configure", values)
        assert answer.status_code == 202, answer.json()
        run_tasks()
        task: dict[str, Any] = api.get(f"/api/v1/tasks/{answer.json()['task']['id']}").json()
        return task

    return change


def domain(node: Node) -> fake.FakeDomain:
    """The VM's domain."""
    (found,) = fake.node(node.pk).domains.values()
    return found


EVERYTHING = {
    "memory_mib": 1024,
    "max_memory_mib": 2048,
    "vcpus": 2,
    "max_vcpus": 4,
    "cpu_weight": 512,
    "cpu_limit_percent": 150,
    "io_weight": 300,
    "cpu_mode": "custom",
    "cpu_model": "qemu64",
    "boot_order": ["cdrom", "disk"],
    "machine": "pc",
    "firmware": "uefi",
    "clock": "localtime",
    "title": "The <shop>",
    "description": "One\nTwo",
}


def test_every_setting_reaches_the_node_and_is_shown(
    api: APIClient, vm: int, node: Node, configure: Callable[..., dict[str, Any]]
) -> None:
    assert configure(**EVERYTHING)["status"] == "done"
    shown = api.get(f"/api/v1/vms/{vm}").json()
    assert {name: shown[name] for name in EVERYTHING} == EVERYTHING
    spec = domain(node).spec
    assert (spec.memory_mib, spec.vcpus, spec.machine, spec.title) == (1024, 2, "pc", "The <shop>")
    assert (spec.settings.firmware, spec.settings.boot, spec.settings.cpu_model) == (
        "uefi",
        ["cdrom", "disk"],
        "qemu64",
    )


def test_what_waits_for_the_next_start_is_shown_until_the_vm_was_off(
    api: APIClient, vm: int, configure: Callable[..., dict[str, Any]], run_tasks: Callable[[], None]
) -> None:
    expected = [
        {"field": "max_vcpus", "now": 1, "then": 2},
        {"field": "clock", "now": "utc", "then": "localtime"},
    ]
    task = configure(max_vcpus=2, clock="localtime", title="Now")
    assert task["result"]["pending"] == expected
    assert api.get(f"/api/v1/vms/{vm}").json()["pending"] == expected
    api.post(f"/api/v1/vms/{vm}/restart", {})
    run_tasks()
    assert api.get(f"/api/v1/vms/{vm}").json()["pending"] == []


def test_what_qemu_can_change_is_not_pending(
    api: APIClient, vm: int, node: Node, configure: Callable[..., dict[str, Any]]
) -> None:
    assert configure(cpu_weight=512, cpu_limit_percent=50, title="Now")["result"]["pending"] == []
    running = domain(node).running
    assert running is not None and running.settings.cpu_weight == 512


def test_a_change_back_is_no_more_pending(configure: Callable[..., dict[str, Any]]) -> None:
    assert configure(clock="localtime")["result"]["pending"]
    assert configure(clock="utc")["result"]["pending"] == []


def test_a_mode_without_a_model_forgets_the_model(
    api: APIClient, vm: int, configure: Callable[..., dict[str, Any]]
) -> None:
    configure(cpu_mode="custom", cpu_model="qemu64")
    configure(cpu_mode="")
    assert api.get(f"/api/v1/vms/{vm}").json()["cpu_model"] == ""


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"memory_mib": 80}, 400, "invalid_value", "memory_mib"),
        ({"memory_mib": 1}, 400, "invalid_value", "memory_mib"),
        ({"memory_mib": 1_000_000}, 409, "no_capacity", "memory_mib"),
        ({"max_memory_mib": 1_000_000}, 409, "no_capacity", "memory_mib"),
        ({"max_memory_mib": 256}, 400, "invalid_value", "max_memory_mib"),
        ({"vcpus": 17}, 409, "no_capacity", "vcpus"),
        ({"vcpus": 17, "max_memory_mib": 1024}, 409, "no_capacity", "vcpus"),
        ({"vcpus": 0}, 400, "invalid_value", "vcpus"),
        ({"vcpus": 4, "max_vcpus": 2}, 400, "invalid_value", "max_vcpus"),
        ({"cpu_weight": 1}, 400, "invalid_value", "cpu_weight"),
        ({"cpu_limit_percent": 1}, 400, "invalid_value", "cpu_limit_percent"),
        ({"io_weight": 5}, 400, "invalid_value", "io_weight"),
        ({"cpu_mode": "host-passthrough"}, 400, "invalid_value", "cpu_mode"),
        ({"cpu_mode": "fast"}, 400, "invalid_value", "cpu_mode"),
        ({"cpu_mode": "custom"}, 400, "missing_value", "cpu_model"),
        ({"cpu_model": "qemu64"}, 400, "invalid_value", "cpu_model"),
        ({"cpu_mode": "custom", "cpu_model": "a'b"}, 400, "invalid_value", "cpu_model"),
        ({"boot_order": []}, 400, "invalid_value", "boot_order"),
        ({"boot_order": ["disk", "disk"]}, 400, "invalid_value", "boot_order"),
        ({"boot_order": ["floppy"]}, 400, "invalid_value", "boot_order.0"),
        ({"machine": "isapc"}, 400, "invalid_value", "machine"),
        ({"firmware": "coreboot"}, 400, "invalid_value", "firmware"),
        ({"clock": "moon"}, 400, "invalid_value", "clock"),
        ({"title": "a\x07b"}, 400, "invalid_value", "title"),
        ({"description": "bell\x07"}, 400, "invalid_value", "description"),
        ({"surprise": 1}, 400, "invalid_value", "surprise"),
    ],
)
def test_bad_values_are_told_with_code_and_field_before_anything_is_touched(
    api: APIClient, vm: int, node: Node, change: dict[str, object], status: int, code: str, field: str
) -> None:
    tasks, calls = Task.objects.count(), len(fake.node(node.pk).calls)
    before = settings_of(Vm.objects.get(pk=vm))
    for path in (f"/api/v1/vms/{vm}/configure", f"/api/v1/vms/{vm}/configure?plan=1"):
        answer = api.post(path, change)
        body = answer.json()
        assert (answer.status_code, body["code"], body["field"]) == (status, code, field)
        assert body["detail"].endswith(".")
    assert settings_of(Vm.objects.get(pk=vm)) == before
    assert (Task.objects.count(), len(fake.node(node.pk).calls)) == (tasks, calls)


def test_a_vm_may_shrink_on_a_full_node(node: Node, configure: Callable[..., dict[str, Any]]) -> None:
    Node.objects.filter(pk=node.pk).update(facts={"memory_mib": 200, "cpu_count": 1})
    assert configure(memory_mib=256)["status"] == "done"


def test_memory_that_a_vm_may_grow_to_is_promised(
    api: APIClient, node: Node, configure: Callable[..., dict[str, Any]]
) -> None:
    configure(max_memory_mib=65000)
    answer = api.post("/api/v1/vms", {**MADE, "name": "web2", "memory_mib": 1024})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_capacity")


def test_what_the_node_refuses_goes_back_everywhere(
    vm: int, node: Node, configure: Callable[..., dict[str, Any]]
) -> None:
    row, spec = settings_of(Vm.objects.get(pk=vm)), domain(node).spec
    fake.node(node.pk).fail("host_configure", LibvirtFailure(node="fake1", command="host_configure", text="no"))
    task = configure(**EVERYTHING)
    assert (task["status"], task["error"]["code"]) == ("failed", "libvirt_failure")
    assert settings_of(Vm.objects.get(pk=vm)) == row
    assert domain(node).spec == spec
    assert Vm.objects.get(pk=vm).pending == []


def test_the_way_back_ends_where_the_domain_is_gone(
    vm: int, node: Node, configure: Callable[..., dict[str, Any]]
) -> None:
    row = settings_of(Vm.objects.get(pk=vm))
    fake.node(node.pk).domains.clear()
    task = configure(vcpus=2)
    assert (task["status"], task["error"]["agent_code"]) == ("failed", "no_such_domain")
    assert settings_of(Vm.objects.get(pk=vm)) == row


def test_a_customer_may_not_configure(api_as_user: APIClient, user: User, vm: int) -> None:
    Vm.objects.update(owner=user)
    answer = api_as_user.post(f"/api/v1/vms/{vm}/configure", {"vcpus": 2})
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")


def test_a_plan_shows_the_difference_of_the_xml_and_asks_no_node(api: APIClient, vm: int, node: Node) -> None:
    calls = len(fake.node(node.pk).calls)
    answer = api.post(f"/api/v1/vms/{vm}/configure?plan=1", {"vcpus": 2, "clock": "localtime"})
    noted, changed = answer.json()["steps"]
    assert noted["changes"] == "vcpus: 1 → 2; clock: utc → localtime"
    lines = changed["difference"].splitlines()
    assert "-  <vcpu>1</vcpu>" in lines and "+  <vcpu>2</vcpu>" in lines
    assert '+  <clock offset="localtime" />' in lines
    assert len([line for line in lines if line[0] in "+-"]) == 6
    assert len(fake.node(node.pk).calls) == calls
    assert Vm.objects.get(pk=vm).vcpus == 1


def test_a_plan_of_nothing_changes_nothing(api: APIClient, vm: int) -> None:
    noted, changed = api.post(f"/api/v1/vms/{vm}/configure?plan=1", {}).json()["steps"]
    assert (noted["changes"], changed["difference"]) == ("nothing", "")


def test_devices_that_came_meanwhile_stay(node: Node, configure: Callable[..., dict[str, Any]]) -> None:
    held = domain(node)
    spec = host.DomainSpec(**{**vars(held.spec), "cdroms": [ref("/iso/rescue.iso")]})
    held.spec = spec
    configure(vcpus=2)
    assert domain(node).spec.cdroms == [ref("/iso/rescue.iso")]
    assert any(isinstance(call, audit.HostConfigure) for call in fake.node(node.pk).calls)


@pytest.mark.parametrize("second_fails", [False, True])
def test_a_change_that_waits_is_not_lost_when_the_one_before_it_fails(
    api: APIClient, vm: int, node: Node, second_fails: bool
) -> None:
    asked = [
        Task.objects.get(pk=api.post(f"/api/v1/vms/{vm}/configure?queue=1", raw).json()["task"]["id"])
        for raw in ({"memory_mib": 1024, "vcpus": 2}, {"memory_mib": 2048})
    ]
    refusal = LibvirtFailure(node="fake1", command="host_configure", text="no", libvirt_code=1)
    fake.node(node.pk).fail("host_configure", refusal)
    assert run_task(asked[0]).status == "failed"
    assert domain(node).spec.memory_mib == 512
    if second_fails:
        fake.node(node.pk).fail("host_configure", refusal)
    assert run_task(asked[1]).status == ("failed" if second_fails else "done")
    found, spec = Vm.objects.get(pk=vm), domain(node).spec
    assert (found.memory_mib, found.vcpus) == (512 if second_fails else 2048, 1)
    assert (spec.memory_mib, spec.vcpus) == (found.memory_mib, 1)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_change_that_waits_comes_to_the_node_at_its_turn(
    api: APIClient, vm: int, node: Node, cancelled: bool
) -> None:
    """What goes before it describes the domain too; cancelled afterwards, the node would keep what nobody may have."""
    disk, change = (
        Task.objects.get(pk=api.post(f"/api/v1/vms/{vm}/{path}?queue=1", raw).json()["task"]["id"])
        for path, raw in (("add-disk", {"size_gib": 1}), ("configure", {"memory_mib": 2048, "title": "Large"}))
    )
    assert run_task(disk).status == "done"
    spec = domain(node).spec
    assert (spec.memory_mib, spec.title, len(spec.disks)) == (512, "", 2)
    assert Vm.objects.get(pk=vm).memory_mib == 2048
    if cancelled:
        assert api.post(f"/api/v1/tasks/{change.pk}/cancel").status_code == 202
    assert run_task(change).status == ("cancelled" if cancelled else "done")
    found, spec = Vm.objects.get(pk=vm), domain(node).spec
    assert (found.memory_mib, found.title) == ((512, "") if cancelled else (2048, "Large"))
    assert (spec.memory_mib, spec.title) == (found.memory_mib, found.title)


def test_what_was_asked_for_twice_stays_though_the_first_of_both_fails(
    api: APIClient, vm: int, node: Node, run_tasks: Callable[[], None]
) -> None:
    for _ in range(2):
        assert api.post(f"/api/v1/vms/{vm}/configure?queue=1", {"memory_mib": 768}).status_code == 202
    fake.node(node.pk).fail("host_configure", LibvirtFailure(node=node.name, text="no", libvirt_code=1))
    run_tasks()
    first, second = Task.objects.filter(operation="vm.configure").order_by("pk")
    assert (first.status, second.status) == ("failed", "done")
    assert Vm.objects.get(pk=vm).memory_mib == domain(node).spec.memory_mib == 768


LIMITS = {"inbound_kibps": 2048, "outbound_kibps": 1024}


def limits_of(vm: int, node: Node) -> list[tuple[int, int]]:
    """The limits of the VM's first interface: in its row, in the description, in the running guest."""
    held = domain(node)
    assert held.running is not None
    found = (Interface.objects.get(vm=vm, position=0), held.spec.interfaces[0], held.running.interfaces[0])
    return [(each.inbound_kibps, each.outbound_kibps) for each in found]


def test_settings_and_the_speed_of_the_first_interface_are_one_task(
    api: APIClient, vm: int, node: Node, configure: Callable[..., dict[str, Any]]
) -> None:
    for _ in range(2):
        result = configure(title="Now", **LIMITS)["result"]
        assert result["at_next_start"] is False
        assert limits_of(vm, node) == [(2048, 1024)] * 3
    assert (Vm.objects.get(pk=vm).title, domain(node).spec.title) == ("Now", "Now")
    configure(outbound_kibps=0)
    assert limits_of(vm, node) == [(2048, 0)] * 3


@pytest.mark.parametrize("command", ["host_configure", "host_create", "interface_change"])
def test_a_speed_that_cannot_be_had_takes_the_settings_back_too(
    vm: int, node: Node, configure: Callable[..., dict[str, Any]], command: str
) -> None:
    row, spec = settings_of(Vm.objects.get(pk=vm)), domain(node).spec
    fake.node(node.pk).fail(command, LibvirtFailure(node="fake1", command=command, text="no", libvirt_code=1))
    assert configure(vcpus=2, **LIMITS)["status"] == "failed"
    assert settings_of(Vm.objects.get(pk=vm)) == row
    assert (domain(node).spec, limits_of(vm, node)) == (spec, [(0, 0)] * 3)


def test_two_changes_of_a_speed_do_not_wait_for_each_other(api: APIClient, vm: int, node: Node) -> None:
    mac = Interface.objects.get(vm=vm).mac
    asks = [("configure", LIMITS), ("change-interface", {"interface": mac, "inbound_kibps": 1})]
    for (first, raw), (second, other) in (asks, asks[::-1], [asks[0]] * 2):
        task = Task.objects.get(pk=api.post(f"/api/v1/vms/{vm}/{first}?queue=1", raw).json()["task"]["id"])
        assert api.post(f"/api/v1/vms/{vm}/{second}?queue=1", other).json()["code"] == "busy"
        assert api.post(f"/api/v1/vms/{vm}/configure?queue=1", {"title": "Now"}).status_code == 202
        assert run_task(task).status == "done"
        run_task(Task.objects.latest("pk"))


def test_a_speed_is_refused_as_a_change_of_the_interface_is(api: APIClient, user: User, vm: int) -> None:
    path = f"/api/v1/vms/{vm}/configure"
    row = Vm.objects.get(pk=vm)
    rescue = AuxiliaryDisk.objects.create(vm=row, purpose=Purpose.RESCUE, volume=row.disks.get().volume)
    assert api.post(path, LIMITS).json()["code"] == "wrong_state"
    assert api.post(f"{path}?plan=1", {"title": "Now"}).status_code == 200
    rescue.delete()
    told = api.post(f"{path}?plan=1", LIMITS).json()["steps"][0]["changes"]
    assert told == "inbound_kibps: – → 2048; outbound_kibps: – → 1024"
    assert api.post(path, {"inbound_kibps": -1}).json()["field"] == "inbound_kibps"
    Interface.objects.all().delete()
    refused = api.post(path, LIMITS).json()
    assert (refused["code"], refused["field"]) == ("invalid_value", "inbound_kibps")
    Vm.objects.update(owner=user)
    user.role = Role.objects.create(name="sizes", level="user", rights=["vms.configure"])
    user.save()
    api.force_authenticate(User.objects.get(pk=user.pk))
    assert api.post(path, {"title": "Mine"}).status_code == 202
    assert api.post(f"{path}?queue=1", {"outbound_kibps": 0}).json()["code"] == "access_denied"
