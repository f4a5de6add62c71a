"""The doctor finds each thing that is not as it should be, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from nodeagent.protocol.host import DomainSpec
from nodeagent.protocol.network import AntiSpoofingFilter, BridgeEnsure
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.cluster.session import BAD_ANSWER
from panel.core.errors import CommandFailed
from panel.doctor import findings, services
from panel.doctor.services import examine, look
from panel.images.models import Image
from panel.network.models import Address, Subnet
from panel.network.security import add_group
from panel.storage.models import Volume
from panel.tasks import registry
from panel.tasks.models import Status, Task, TaskLock, TaskSecret
from panel.vms.models import Disk, Sighting, Snapshot, SnapshotState, Vm, VmStatus
from tests.db.conftest import make_node, run_task

STRANGER = "6695eb01-f6a4-8304-79aa-97f2502e193f"
BRIDGE = BridgeEnsure("vmbr-old", "10.9.0.1/24", "10.9.0.0/24")
CREATE = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory nothing takes its time."""
    monkeypatch.setattr(services, "SECOND_LOOK_SECONDS", 0.0)


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A VM with all that it needs."""
    task = run_task(registry.get("vm.create").submit(admin, CREATE))
    return Vm.objects.get(pk=task.object_id)


def codes() -> list[str]:
    """What kinds of things are found."""
    return [finding.code for finding in examine()]


def files(vm: Vm) -> dict[str, fake.FakeVolume]:
    """The files of the VM's node."""
    return fake.node(vm.node_id).files


def domains(vm: Vm) -> dict[str, fake.FakeDomain]:
    """The domains of the VM's node."""
    return fake.node(vm.node_id).domains


def run_unmanaged(vm: Vm) -> None:
    spec = DomainSpec(STRANGER, "stranger", 64, 1, "qemu", [], [])
    domains(vm)[spec.uuid] = fake.FakeDomain(spec, VmStatus.RUNNING)


def copy_elsewhere(vm: Vm, state: str) -> None:
    other = make_node("fake2")
    fake.node(other.pk).domains[str(vm.uuid)] = fake.FakeDomain(domains(vm)[str(vm.uuid)].spec, state)


def task_of(vm: Vm, **fields: object) -> Task:
    given = {"operation": "vm.start", "title": "Start web1", "status": Status.DONE, **fields}
    return Task.objects.create(**given)


def node_of(vm: Vm) -> fake.FakeNode:
    """The VM's node."""
    return fake.node(vm.node_id)


def guard_otherwise(vm: Vm) -> None:
    """The node remembers another address, and has the rules of it."""
    (guard,) = node_of(vm).guards[str(vm.uuid)]
    other = replace(guard, addresses=["10.77.0.99"])
    node_of(vm).guards[str(vm.uuid)] = [other]
    node_of(vm).rules[guard.port] = other


def leave_filter(vm: Vm, uuid: str) -> None:
    """An anti-spoofing filter for a domain that is not there; of no UUID: in the kernel alone."""
    guard = AntiSpoofingFilter("tap525400000099", uuid, "52:54:00:00:00:99", ["10.77.0.99"])
    node_of(vm).rules[guard.port] = guard
    if uuid:
        node_of(vm).guards[uuid] = [guard]


def save_memory(vm: Vm) -> None:
    """By virsh managedsave, and the panel knows."""
    domains(vm)[str(vm.uuid)].state = VmStatus.SAVED
    Vm.objects.update(status=VmStatus.SAVED)


HARM: dict[str, Callable[[Vm], object]] = {
    "task_stuck": lambda vm: task_of(vm, status=Status.STUCK),
    "task_abandoned": lambda vm: task_of(vm, status=Status.RUNNING, lease_until=timezone.now() - timedelta(minutes=10)),
    "lock_left": lambda vm: TaskLock.objects.create(task=task_of(vm), kind="vm", object_id=vm.pk, exclusive=True),
    "secret_left": lambda vm: TaskSecret.objects.create(task=task_of(vm), sealed=b"?"),
    "address_left": lambda vm: Address.objects.create(network=vm.interfaces.get().network, ip="10.77.0.99"),
    "volume_left": lambda vm: Volume.objects.create(pool=vm.pool, node=make_node("fake2"), size_gib=1),
    "volume_elsewhere": lambda vm: Volume.objects.update(node=make_node("fake2")),
    "vm_half_made": lambda vm: Vm.objects.update(installed=False),
    "usage_differs": lambda vm: Vm.objects.update(memory_mib=4096),
    "node_silent": lambda vm: fake.node(vm.node_id).lose_answer("hosts_read", times=9),
    "domain_missing": lambda vm: domains(vm).clear(),
    "domain_foreign": run_unmanaged,
    "domain_undefined": lambda vm: setattr(domains(vm)[str(vm.uuid)], "persistent", False),
    "domain_differs": lambda vm: Vm.objects.update(drift=[{"field": "clock", "node": "localtime", "stored": "utc"}]),
    "moved": lambda vm: Sighting.objects.create(
        vm=vm, node=make_node("fake2"), status=VmStatus.SHUT_OFF, seen_at=timezone.now()
    ),
    "domain_elsewhere": lambda vm: copy_elsewhere(vm, VmStatus.SHUT_OFF),
    "domain_name": lambda vm: Vm.objects.update(name="web2"),
    "domain_state": lambda vm: Vm.objects.update(status=VmStatus.SHUT_OFF),
    "memory_saved": save_memory,
    "runs_twice": lambda vm: copy_elsewhere(vm, VmStatus.RUNNING),
    "snapshot_missing": lambda vm: Snapshot.objects.create(vm=vm, name="gone", state=SnapshotState.READY),
    "snapshot_unmanaged": lambda vm: domains(vm)[str(vm.uuid)].snapshots.update(
        by_hand=fake.FakeSnapshot("running", with_memory=True, parent=None)
    ),
    "snapshot_left": lambda vm: Snapshot.objects.create(vm=vm, name="left", state=SnapshotState.FAILED),
    "storage_unread": lambda vm: node_of(vm).fail(
        "pool_list", CommandFailed(node="fake1", command="pool_list", text="not mounted"), times=9
    ),
    "file_missing": lambda vm: files(vm).pop(vm.disks.get().volume.place),
    "file_foreign": lambda vm: files(vm).update({f"{vm.pool.where}/volumes/old.qcow2": fake.FakeVolume("qcow2", 1)}),
    "volume_size": lambda vm: Volume.objects.update(size_gib=99),
    "nvram_foreign": lambda vm: node_of(vm).nvram.setdefault(STRANGER, 1),
    "bridge_missing": lambda vm: node_of(vm).links.clear(),
    "bridge_differs": lambda vm: Subnet.objects.update(gateway="10.77.0.2"),
    "bridge_foreign": lambda vm: node_of(vm).links.update({"vmbr-old": BRIDGE}),
    "guard_missing": lambda vm: node_of(vm).rules.clear(),
    "guard_foreign": lambda vm: leave_filter(vm, STRANGER),
    "security_differs": lambda vm: vm.interfaces.get().security_groups.add(add_group(vm.owner, "closed", "", [])),
}
ALSO = {
    "domain_name": {"usage_differs"},
    "volume_size": {"usage_differs"},
    "runs_twice": {"domain_elsewhere"},
    "volume_left": {"file_missing"},
    "volume_elsewhere": {"file_foreign", "file_missing"},
}
"""What else is then wrong."""


def test_every_kind_of_finding_is_tested() -> None:
    assert set(HARM) == set(findings.CODES)


def test_nothing_is_found_where_all_is_well(vm: Vm) -> None:
    assert examine() == []


@pytest.mark.parametrize("code", sorted(HARM))
def test_each_harm_is_found_and_nothing_else(vm: Vm, code: str) -> None:
    HARM[code](vm)
    found = set(codes())
    assert code in found
    assert found <= {code} | ALSO.get(code, set())


def test_a_vm_of_which_uefi_remembers_something_is_well(vm: Vm) -> None:
    node_of(vm).nvram[str(vm.uuid)] = 1
    assert codes() == []


def test_an_agent_of_another_version_hides_no_other_node(vm: Vm) -> None:
    unread = CommandFailed(node="fake1", command="bridges_read", agent_code=BAD_ANSWER, text="guards: is missing")
    node_of(vm).fail("bridges_read", unread, times=9)
    make_node("fake2")
    fake.node(Node.objects.get(name="fake2").pk).nvram[STRANGER] = 1
    assert [(each.code, each.node, each.mend) for each in examine()] == [
        ("node_silent", "fake1", "node.check"),
        ("nvram_foreign", "fake2", ""),
    ]


def test_a_vm_without_a_domain_lacks_no_filter(vm: Vm) -> None:
    domains(vm).clear()
    node_of(vm).guards.clear()
    node_of(vm).rules.clear()
    assert codes() == ["domain_missing"]


@pytest.mark.parametrize(
    ("harm", "code", "mend"),
    [
        (lambda vm: node_of(vm).rules.clear(), "guard_missing", "node.check"),
        (guard_otherwise, "guard_missing", "node.check"),
        (lambda vm: node_of(vm).guards.clear(), "guard_missing", "node.check"),
        (lambda vm: node_of(vm).guards.clear() or node_of(vm).rules.clear(), "guard_missing", "node.check"),
        (lambda vm: leave_filter(vm, ""), "guard_foreign", "node.check"),
        (lambda vm: node_of(vm).links.clear(), "bridge_missing", "node.check"),
        (lambda vm: node_of(vm).bridges.clear(), "bridge_differs", "node.check"),
        (lambda vm: Subnet.objects.update(gateway="10.77.0.2"), "bridge_differs", "node.check"),
        (lambda vm: Volume.objects.update(size_gib=2), "volume_size", "vm.grow-disk"),
        (lambda vm: (domains(vm).clear(), Vm.objects.update(status=VmStatus.MISSING)), "domain_missing", "vm.repair"),
    ],
)
def test_the_operation_that_is_named_mends_it(
    admin: User, vm: Vm, harm: Callable[[Vm], object], code: str, mend: str
) -> None:
    harm(vm)
    found = {each.code: each.mend for each in examine()}
    assert found[code] == mend
    raw: dict[str, object] = {
        "vm.grow-disk": {"disk": "vda", "size_gib": 20},
    }.get(mend, {})
    about = vm.node_id if mend.startswith("node.") else vm.pk
    task = run_task(registry.get(mend).submit(admin, raw, object_id=about))
    assert task.status == Status.DONE, task.error
    assert code not in codes()


@pytest.mark.parametrize("leftover", ["volumes/{}.part", "seeds/old.iso", "images/{}.77.upload"])
def test_what_was_never_finished_is_found(vm: Vm, leftover: str) -> None:
    files(vm)[f"{vm.pool.where}/{leftover.format('a' * 64)}"] = fake.FakeVolume("raw", 1)
    assert codes() == ["file_foreign"]


def test_a_copy_of_an_image_is_no_leftover(vm: Vm) -> None:
    assert any("/images/" in path for path in files(vm))
    assert codes() == []


def test_what_a_task_is_at_may_be_between_two_states(admin: User, vm: Vm) -> None:
    registry.get("vm.force-off").submit(admin, {}, object_id=vm.pk)
    domains(vm).clear()
    files(vm).clear()
    node_of(vm).rules.clear()
    assert codes() == []


def test_a_vm_that_is_being_made_is_not_half_made(admin: User, node: Node, image: Image) -> None:
    registry.get("vm.create").submit(admin, CREATE)
    assert codes() == []


def test_what_is_right_at_the_second_look_is_not_told(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    Vm.objects.update(status=VmStatus.SHUT_OFF)
    seen: list[int] = []

    def once_more(*args: object) -> set[findings.Finding]:
        found = look()
        seen.append(len(found))
        Vm.objects.update(status=VmStatus.RUNNING)
        return found

    monkeypatch.setattr(services, "look", once_more)
    assert examine() == []
    assert seen == [1, 0]


def test_the_task_tells_what_was_found_and_who_may_not_see_the_cluster_is_refused(
    api: APIClient, api_as_user: APIClient, vm: Vm
) -> None:
    domains(vm).clear()
    answer = api.post("/api/v1/cluster/examine")
    assert answer.status_code == 202
    task = run_task(Task.objects.get(pk=answer.json()["task"]["id"]))
    told = {"code": "domain_missing", "object": f"vm {vm.pk}", "node": "fake1", "mend": "vm.repair"}
    for language, text in (("en", "web1 has no domain."), ("ru", "У web1 нет домена.")):
        shown = api.get(f"/api/v1/tasks/{task.pk}", headers={"Accept-Language": language}).json()["result"]
        assert shown == {"count": 1, "findings": [{**told, "text": text}]}
    assert api_as_user.post("/api/v1/cluster/examine").status_code == 403


def test_the_command_works_without_a_worker(vm: Vm, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("doctor")
    assert "agree" in capsys.readouterr().out
    domains(vm).clear()
    with pytest.raises(SystemExit):
        call_command("doctor")
    assert "domain_missing" in capsys.readouterr().out


def test_thirty_vms_cost_as_many_queries_as_one(admin: User, vm: Vm) -> None:
    counts = []
    for number in range(2, 32):
        if number in (2, 31):
            with CaptureQueriesContext(connection) as queries:
                look()
            counts.append(len(queries))
        copy = Vm.objects.create(
            cluster=vm.cluster, node=vm.node, owner=admin, pool=vm.pool, name=f"vm{number}", memory_mib=64, vcpus=1
        )
        Disk.objects.create(vm=copy, volume=Volume.objects.create(pool=vm.pool, node=vm.node, size_gib=1))
    assert counts[0] == counts[1]
