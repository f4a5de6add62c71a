"""What holds for every operation: each step failing, repeated, undone twice, and the worker dying at each moment.

Runs over the registry. An operation without a scenario fails test_every_operation_has_a_scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.utils import timezone

from nodeagent.protocol import REQUESTS
from nodeagent.protocol.host import DiskSpec, HostCreate, HostSpec, InterfaceSpec
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import OperationFailed
from panel.doctor.services import look
from panel.images.models import Image, Iso
from panel.network.models import Address, IpPool, Network
from panel.network.node_part import bridge_of
from panel.storage.models import Pool, Volume
from panel.tasks import engine, registry, services
from panel.tasks.models import Status, StepStatus, Task, TaskLock, TaskSecret, TaskStep
from panel.tasks.operation import Operation, Step
from panel.vms.models import Disk, Interface, Sighting, Snapshot, Spare, Vm, VmStatus
from panel.vms.spec import host_spec
from panel.vms.usage import differing
from tests.db.conftest import make_node, run_task

PAST = "2000-01-01T00:00:00Z"
# These prepare a real host over ssh: tests/faults has the worker of node.add killed at every step, there and back, and
# the sweep that of node.reconnect.
ON_REAL_HOSTS = {"node.add", "node.reconnect"}


class Died(BaseException):
    """The worker is killed: nothing of the engine may catch this."""


class Strike(engine.Observer):
    """Strikes once, at one moment of one step, in one direction."""

    def __init__(self, step: str, moment: str, blow: BaseException, *, undoing: bool = False) -> None:
        self.step, self.moment, self.blow, self.undoing = step, moment, blow, undoing
        self.struck = False

    def _strike(self, moment: str, task: Task, step: TaskStep) -> None:
        if self.struck or (moment, step.name, task.undoing) != (self.moment, self.step, self.undoing):
            return
        self.struck = True
        raise self.blow

    def before(self, task: Task, step: TaskStep) -> None:
        """Before the step's function."""
        self._strike("before", task, step)

    def ran(self, task: Task, step: TaskStep) -> None:
        """After it, before its output is stored."""
        self._strike("ran", task, step)

    def stored(self, task: Task, step: TaskStep) -> None:
        """After its output is stored."""
        self._strike("stored", task, step)


class FailAndStrike(Strike):
    """Fails the last step, and strikes on the way back."""

    def __init__(self, last: str, step: str, moment: str) -> None:
        super().__init__(step, moment, Died(), undoing=True)
        self.last = last

    def before(self, task: Task, step: TaskStep) -> None:
        """Fail the last step forwards."""
        if step.name == self.last and not task.undoing:
            raise OperationFailed("It was meant to fail.", step=step.name)
        super().before(task, step)


def world() -> dict[str, Any]:
    """All that an operation could have left behind, in the database and on the nodes in memory."""
    nodes = {}
    for pk in Node.objects.values_list("pk", flat=True):
        memory = fake.node(pk)
        nodes[pk] = {
            "domains": {uuid: (domain.state, domain.spec, domain.now) for uuid, domain in memory.domains.items()},
            "snapshots": {uuid: sorted(domain.snapshots) for uuid, domain in memory.domains.items()},
            "seeds": {path: identity.hostname for path, (_, identity) in memory.seeds.items()},
            "files": sorted(path for path in memory.files if "/images/" not in path),
            "bridges": sorted(memory.bridges),
            "links": sorted(memory.links),
            "guards": {uuid: sorted(each.port for each in guards) for uuid, guards in memory.guards.items()},
            "rules": sorted(memory.rules),
            "nvram": sorted(memory.nvram),
            "pools": sorted(memory.pools),
            "tickets": sorted(memory.tickets),
        }
    counts = {
        model.__name__: model.objects.count() for model in (Vm, Disk, Interface, Volume, Address, Node, Snapshot, Spare)
    }
    return {"nodes": nodes, "rows": counts, "locks": TaskLock.objects.count(), "secrets": TaskSecret.objects.count()}


def ask_create(admin: User) -> Task:
    """A new VM with all that one can have."""
    raw = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}
    return registry.get("vm.create").submit(admin, raw)


def _vm(admin: User) -> int:
    task = run_task(ask_create(admin))
    assert task.status == Status.DONE, task.error
    return int(task.object_id or 0)


def _on_vm(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        return lambda: registry.get(name).submit(admin, {}, object_id=vm_id)

    return prepare


def _start(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm_id))
    return lambda: registry.get("vm.start").submit(admin, {}, object_id=vm_id)


def _on_node(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    return lambda admin, node: lambda: registry.get(name).submit(admin, {}, object_id=node.pk)


def ask_install(admin: User) -> Task:
    """A new VM with an installer in its drive."""
    image = Image.objects.get()
    fields = {"file_name": image.file_name, "sha256": image.sha256, "size_bytes": image.size_bytes}
    Iso.objects.get_or_create(name="installer", defaults={"title": "Installer", **fields})
    return registry.get("vm.create").submit(admin, {"name": "web1", "iso": "installer", "flavor": "small"})


def _finish_install(admin: User, node: Node) -> Callable[[], Task]:
    task = run_task(ask_install(admin))
    assert task.status == Status.DONE, task.error
    vm_id = int(task.object_id or 0)
    run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm_id))
    return lambda: registry.get("vm.finish-install").submit(admin, {}, object_id=vm_id)


def _settle(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    other = make_node("fake2")
    [(uuid, domain)] = fake.node(node.pk).domains.items()
    fake.node(other.pk).domains[uuid] = fake.FakeDomain(domain.spec, VmStatus.RUNNING)
    Sighting.objects.create(vm_id=vm_id, node=other, status=VmStatus.RUNNING, seen_at=timezone.now())
    raw = {"node": node.name, "stop_others": True}
    return lambda: registry.get("vm.settle").submit(admin, raw, object_id=vm_id)


def _resume(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    run_task(registry.get("vm.pause").submit(admin, {}, object_id=vm_id))
    return lambda: registry.get("vm.resume").submit(admin, {}, object_id=vm_id)


def _discard_saved(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    [domain] = fake.node(node.pk).domains.values()
    domain.state = VmStatus.SAVED
    Vm.objects.filter(pk=vm_id).update(status=VmStatus.SAVED)
    return lambda: registry.get("vm.discard-saved").submit(admin, {}, object_id=vm_id)


def _suspended(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        run_task(registry.get("vm.suspend").submit(admin, {"reason": "unpaid"}, object_id=vm_id))
        return lambda: registry.get(name).submit(admin, {}, object_id=vm_id)

    return prepare


def _guest(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    """On a VM that runs, with parameters."""

    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        return lambda: registry.get(name).submit(admin, RAW[name], object_id=vm_id)

    return prepare


def _take_snapshot(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    return lambda: registry.get("vm.snapshot").submit(admin, {"name": "before"}, object_id=vm_id)


def _on_snapshot(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        for each in ("first", "second"):
            run_task(registry.get("vm.snapshot").submit(admin, {"name": each}, object_id=vm_id))
        first = Snapshot.objects.get(name="first")
        return lambda: registry.get(name).submit(admin, {"snapshot": first.pk}, object_id=vm_id)

    return prepare


def _forget_snapshot(admin: User, node: Node) -> Callable[[], Task]:
    submit = _on_snapshot("vm.forget-snapshot")(admin, node)
    [domain] = fake.node(node.pk).domains.values()
    del domain.snapshots[Snapshot.objects.get(name="first").on_node]
    return submit


def _adopt_snapshot(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    [domain] = fake.node(node.pk).domains.values()
    domain.snapshots["by_hand"] = fake.FakeSnapshot("running", with_memory=True, parent=None)
    return lambda: registry.get("vm.adopt-snapshot").submit(admin, {"name": "by_hand"}, object_id=vm_id)


def _on_devices(name: str, raw: dict[str, Any]) -> Callable[[User, Node], Callable[[], Task]]:
    """On a running VM with two disks, two interfaces and an ISO image in its drive."""

    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm = Vm.objects.get(pk=_vm(admin))
        image = vm.image
        assert image is not None
        for iso in ("installer", "rescue"):
            fields = {"file_name": image.file_name, "sha256": image.sha256, "size_bytes": image.size_bytes}
            Iso.objects.create(name=iso, title=iso, **fields)
        other = Network.objects.create(
            cluster=vm.cluster, name="other", bridge="vmbr1", subnet="10.78.0.0/24", gateway="10.78.0.1"
        )
        IpPool.objects.create(network=other, first="10.78.0.10", last="10.78.0.20")
        fake.node(node.pk).call(bridge_of(other))
        for verb, values in (
            ("add-disk", {"size_gib": 2}),
            ("add-interface", {}),
            ("mount-iso", {"iso": "rescue", "boot": True}),
        ):
            task = run_task(registry.get(f"vm.{verb}").submit(admin, values, object_id=vm.pk))
            assert task.status == Status.DONE, task.error
        Interface.objects.filter(vm=vm, position=1).update(mac=SECOND_MAC)
        vm.refresh_from_db()
        fake.node(node.pk).call(HostCreate(spec=host_spec(vm)))
        fake.node(node.pk).domains[str(vm.uuid)].running = None
        return lambda: registry.get(name).submit(admin, raw, object_id=vm.pk)

    return prepare


def _guest_off(name: str) -> Callable[[User, Node], Callable[[], Task]]:
    """On a VM that is off, with parameters."""

    def prepare(admin: User, node: Node) -> Callable[[], Task]:
        vm_id = _vm(admin)
        run_task(registry.get("vm.force-off").submit(admin, {}, object_id=vm_id))
        return lambda: registry.get(name).submit(admin, RAW[name], object_id=vm_id)

    return prepare


SECOND_MAC = "52:54:00:00:00:02"
DEVICES: dict[str, dict[str, Any]] = {
    "vm.add-disk": {"size_gib": 3, "bus": "scsi"},
    "vm.grow-disk": {"disk": "vdb", "size_gib": 4},
    "vm.remove-disk": {"disk": "vdb"},
    "vm.change-disk": {"disk": "vdb", "bus": "scsi", "cache": "writeback", "read_iops_sec": 100},
    "vm.mount-iso": {"iso": "installer"},
    "vm.eject-iso": {},
    "vm.add-interface": {"network": "other"},
    "vm.remove-interface": {"interface": SECOND_MAC},
    "vm.change-interface": {"interface": SECOND_MAC, "network": "other", "mac": "52:54:00:00:00:03"},
}


def _end_rescue(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    assert run_task(registry.get("vm.rescue").submit(admin, RAW["vm.rescue"], object_id=vm_id)).status == Status.DONE
    return lambda: registry.get("vm.end-rescue").submit(admin, {}, object_id=vm_id)


RAW: dict[str, dict[str, Any]] = {
    "vm.rename": {"name": "web2"},
    "vm.change-owner": {"owner": "admin"},
    "vm.reinstall": {"password": "another horse"},
    "vm.configure-guest": {"password": "another horse", "hostname": "inside"},
    "vm.clone": {"name": "web2", "password": "another horse"},
    "vm.rescue": {"image": "small", "password": "another horse"},
    "node.accept-storage": {"pool": "local"},
    "vm.take-over": {
        "domain": "0a3c1de5-77aa-4d2e-9c11-2f4a5b6c7d8e",
        "owner": "admin",
        "name": "shop",
        "addresses": {"52:54:00:aa:bb:01": "10.77.0.200"},
    },
}
"""What is asked for where an operation has something to choose."""


def _migrate(admin: User, node: Node) -> Callable[[], Task]:
    vm_id = _vm(admin)
    make_node("fake2")
    return lambda: registry.get("vm.migrate").submit(admin, {}, object_id=vm_id)


def _end_maintenance(admin: User, node: Node) -> Callable[[], Task]:
    run_task(registry.get("node.maintain").submit(admin, {}, object_id=node.pk))
    return lambda: registry.get("node.end-maintenance").submit(admin, {}, object_id=node.pk)


def _accept_storage(admin: User, node: Node) -> Callable[[], Task]:
    """Another disk is where the storage was."""
    run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
    fake.node(node.pk).marks[Pool.objects.get().path] = "f" * 32
    run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
    return lambda: registry.get("node.accept-storage").submit(admin, RAW["node.accept-storage"], object_id=node.pk)


def _forget(admin: User, node: Node) -> Callable[[], Task]:
    _vm(admin)
    return lambda: registry.get("node.forget").submit(admin, {"forget_vms": True}, object_id=node.pk)


def _take_over(admin: User, node: Node) -> Callable[[], Task]:
    """A domain that somebody defined, with a name that no VM can have."""
    raw, memory = RAW["vm.take-over"], fake.node(node.pk)
    pool, network = Pool.objects.get(), Network.objects.get()
    path = f"{pool.path}/volumes/legacy.qcow2"
    memory.files[path] = fake.FakeVolume("qcow2", 1024**3)
    interfaces = [InterfaceSpec(mac=mac, bridge=network.bridge) for mac in raw["addresses"]]
    spec = HostSpec(raw["domain"], "Old_Name", 512, 1, "qemu", [DiskSpec(path, "qcow2", "vda")], interfaces, iso="")
    memory.domains[spec.uuid] = fake.FakeDomain(spec)
    run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
    return lambda: registry.get("vm.take-over").submit(admin, raw, object_id=node.pk)


SCENARIOS: dict[str, Callable[[User, Node], Callable[[], Task]]] = {
    "vm.create": lambda admin, node: lambda: ask_create(admin),
    "vm.delete": _on_vm("vm.delete"),
    "vm.start": _start,
    "vm.stop": _on_vm("vm.stop"),
    "vm.force-off": _on_vm("vm.force-off"),
    "vm.restart": _on_vm("vm.restart"),
    "vm.pause": _on_vm("vm.pause"),
    "vm.resume": _resume,
    "vm.reset": _on_vm("vm.reset"),
    "vm.discard-saved": _discard_saved,
    "vm.autostart": _on_vm("vm.autostart"),
    "vm.suspend": _on_vm("vm.suspend"),
    "vm.unsuspend": _suspended("vm.unsuspend"),
    "vm.keep-off": _suspended("vm.keep-off"),
    "vm.snapshot": _take_snapshot,
    "vm.revert-snapshot": _on_snapshot("vm.revert-snapshot"),
    "vm.delete-snapshot": _on_snapshot("vm.delete-snapshot"),
    "vm.forget-snapshot": _forget_snapshot,
    "vm.adopt-snapshot": _adopt_snapshot,
    "vm.finish-install": _finish_install,
    "vm.settle": _settle,
    "vm.rename": _guest_off("vm.rename"),
    "vm.change-owner": _guest("vm.change-owner"),
    "vm.reinstall": _guest("vm.reinstall"),
    "vm.configure-guest": _guest("vm.configure-guest"),
    "vm.clone": _guest("vm.clone"),
    "vm.clone:off": _guest_off("vm.clone"),
    "vm.rescue": _guest("vm.rescue"),
    "vm.end-rescue": _end_rescue,
    "cluster.examine": lambda admin, node: lambda: registry.get("cluster.examine").submit(admin, {}, object_id=1),
    "vm.configure": _on_vm("vm.configure"),
    "vm.repair": _on_vm("vm.repair"),
    "vm.adopt": _on_vm("vm.adopt"),
    **{name: _on_devices(name, raw) for name, raw in DEVICES.items()},
    "vmwatch.configure": lambda admin, node: lambda: registry.get("vmwatch.configure").submit(admin, {}, object_id=1),
    "vm.migrate": _migrate,
    "vm.take-over": _take_over,
    "node.check": _on_node("node.check"),
    "node.accept-storage": _accept_storage,
    "node.maintain": _on_node("node.maintain"),
    "node.end-maintenance": _end_maintenance,
    "node.evacuate": _on_node("node.evacuate"),
    "node.remove": _on_node("node.remove"),
    "node.forget": _forget,
}
"""What each operation needs; behind a colon is how another scenario of the same operation differs."""


def operation_of(name: str) -> Operation[Any]:
    """The operation of a scenario."""
    return registry.get(name.partition(":")[0])


REMAINS = {"vm.settle": {"domain_elsewhere"}}
"""What the doctor finds afterwards: a copy that was stopped is kept until a person has looked at it."""
STEPS = [
    pytest.param(name, step.name, id=f"{name}-{step.name}")
    for name in sorted(SCENARIOS)
    for step in operation_of(name).steps
    if not step.inline
]


def undoable(name: str) -> Sequence[Step]:
    """The steps of an operation that are undone when one of them fails: all, or those up to the one that commits."""
    steps = operation_of(name).steps
    commit = next((position for position, step in enumerate(steps) if step.commits), len(steps) - 1)
    return steps[: commit + 1]


UNDO_STEPS = [
    pytest.param(name, step.name, id=f"{name}-{step.name}")
    for name in sorted(SCENARIOS)
    if operation_of(name).on_failure == "undo"
    for step in undoable(name)[:-1]
]
# What a step did is not stored: the hardest of the three.
MOMENTS = ["ran", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("before", "stored"))]


@pytest.fixture
def prepared(request: pytest.FixtureRequest, admin: User, node: Node, image: Image) -> Callable[[], Task]:
    """The function that asks for the operation, its world being ready."""
    ask = SCENARIOS[request.node.callspec.params["name"]](admin, node)
    for memory in nodes():
        memory.unheeded.clear()
    return ask


def nodes() -> list[fake.FakeNode]:
    """The nodes in memory."""
    return [fake.node(pk) for pk in Node.objects.values_list("pk", flat=True)]


@pytest.fixture(autouse=True)
def cancelling_is_heeded(database: None) -> Iterator[None]:
    """Whatever a step waits for of a node, it notices meanwhile that its task was cancelled."""
    yield
    assert {command for memory in nodes() for command in memory.unheeded} == set()


@pytest.fixture(autouse=True)
def usage_is_noted(database: None) -> Iterator[None]:
    """Whatever becomes of an operation, the ledger of usage says what the rows say."""
    yield
    assert not list(differing())


def die_and_go_on(task: Task, observer: engine.Observer) -> Task:
    """Run into the worker's death, let its lease run out, and have another worker go on."""
    with pytest.raises(Died):
        run_task(task, observer)
    assert not list(differing())
    Task.objects.filter(pk=task.pk).update(lease_until=PAST)
    return run_task(task)


def test_every_operation_has_a_scenario() -> None:
    assert {operation.name for operation in registry.every()} == {
        name.partition(":")[0] for name in SCENARIOS
    } | ON_REAL_HOSTS


@pytest.mark.parametrize(("name", "step"), STEPS)
def test_a_failing_step_leaves_nothing_behind(prepared: Callable[[], Task], name: str, step: str) -> None:
    before = world()
    task = prepared()
    ended = run_task(task, Strike(step, "before", OperationFailed("It was meant to fail.", step=step)))

    if step not in [each.name for each in undoable(name)]:
        # It had committed: it waits for a person, and ends well when it is tried again.
        assert ended.status == Status.STUCK
        assert services.retry_undo(ended, User.objects.get(name="admin")).status == Status.RETRYING
        assert run_task(ended).status == Status.DONE
        return
    assert ended.status == Status.FAILED
    assert ended.error is not None and ended.error["code"] == "operation_failed"
    assert (TaskLock.objects.count(), TaskSecret.objects.count()) == (0, 0)
    if operation_of(name).on_failure == "undo":
        assert world() == before
    else:
        # It goes forward only, so asking again carries it to its end.
        assert run_task(prepared()).status == Status.DONE


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("name", "step"), STEPS)
def test_a_worker_that_dies_is_made_up_for(prepared: Callable[[], Task], name: str, step: str, moment: str) -> None:
    ended = die_and_go_on(prepared(), Strike(step, moment, Died()))

    assert ended.status == Status.DONE, ended.error
    assert ended.fence == 2
    assert not ended.steps.exclude(status=StepStatus.DONE).exists()
    assert (TaskLock.objects.count(), TaskSecret.objects.count()) == (0, 0)
    assert {finding.code for finding in look()} == REMAINS.get(name, set())


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("name", "step"), UNDO_STEPS)
def test_an_undo_may_be_repeated(prepared: Callable[[], Task], name: str, step: str, moment: str) -> None:
    before = world()
    last = undoable(name)[-1].name
    ended = die_and_go_on(prepared(), FailAndStrike(last, step, moment))

    assert ended.status == Status.FAILED
    assert world() == before


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_answer_of_the_node_may_be_lost_once(prepared: Callable[[], Task], name: str, node: Node) -> None:
    task = prepared()
    memory = fake.node(node.pk)
    for command in REQUESTS:
        memory.lose_answer(command)
    ended = run_task(task)

    assert ended.status == Status.DONE, ended.error


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_plan_names_the_steps_and_changes_nothing(
    prepared: Callable[[], Task], name: str, admin: User, node: Node
) -> None:
    operation = operation_of(name)
    before = world()
    vm = Vm.objects.first()
    objects = {"node": node.pk, "vm": vm.pk if vm else None, "vmwatch": 1, "cluster": 1}
    object_id = None if operation.creates else objects[operation.object_type]
    kept = Snapshot.objects.first()
    asked: dict[str, dict[str, Any]] = {
        "vm.create": {"name": "web9", "image": "small", "flavor": "small"},
        "vm.snapshot": {"name": "planned"},
        "vm.revert-snapshot": {"snapshot": kept.pk if kept else 0},
        "vm.delete-snapshot": {"snapshot": kept.pk if kept else 0},
        "node.forget": {"forget_vms": True},
        "vm.forget-snapshot": {"snapshot": kept.pk if kept else 0},
        "vm.adopt-snapshot": {"name": "by_hand"},
    }
    raw = asked.get(name, DEVICES.get(name, RAW.get(operation.name, {})))
    plan = operation.plan(admin, raw, object_id=object_id)

    assert [step["name"] for step in plan["steps"]] == [step.name for step in operation.steps]
    assert {lock["kind"] for lock in plan["locks"]} <= {spec.kind for spec in operation.locks}
    assert world() == before
