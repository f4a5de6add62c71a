"""What holds for every operation: each step failing, repeated, undone twice, and the worker dying at each moment.

Runs over the registry. An operation without a scenario fails test_every_operation_has_a_scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from nodeagent.protocol import REQUESTS
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import OperationFailed
from panel.core.wording import read_in
from panel.dns.models import DnsServer
from panel.doctor.services import look
from panel.images.models import Image
from panel.network.models import Network, NodeLink, SecurityGroup
from panel.tasks import registry, services
from panel.tasks.models import Status, StepStatus, Task, TaskLock, TaskSecret
from panel.tasks.operation import Operation, Step
from panel.vms.models import InterfaceAddress, PortForward, Snapshot, Vm
from panel.vms.usage import differing
from tests.db.conftest import run_task
from tests.db.tasks.scenarios import DEVICES, DNS, RAW, SCENARIOS
from tests.db.tasks.strikes import Died, FailAndStrike, Strike, die_and_go_on
from tests.db.tasks.world import nodes, world

# These prepare a real host over ssh: tests/faults has the worker of node.add killed at every step, there and back, and
# the sweep that of node.reconnect; tests/db/cluster/test_host_key.py reads the key of a real sshd.
ON_REAL_HOSTS = {"cluster.read-host-key", "node.add", "node.reconnect"}


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


def step_before(name: str, step: str) -> str | None:
    """The step that is undone first when this one fails; None where none is."""
    names = [each.name for each in undoable(name)]
    if operation_of(name).on_failure != "undo" or step not in names[1:]:
        return None
    return names[names.index(step) - 1]


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


@pytest.fixture(autouse=True)
def titles_are_worded_for_their_reader(database: None) -> Iterator[None]:
    """Every operation's title, and those of its steps, have a translation."""
    yield
    for task in Task.objects.prefetch_related("steps"):
        rows = [task, *task.steps.all()]
        with read_in("ru"):
            assert not [row.title for row in rows if row.worded_title.shown(nodes=True) == row.title]
        assert task.worded_title.english == task.title


def test_every_operation_has_a_scenario() -> None:
    assert {operation.name for operation in registry.every()} == {
        name.partition(":")[0] for name in SCENARIOS
    } | ON_REAL_HOSTS


# That a worker dies on the way back as well is the harder of the two.
@pytest.mark.parametrize("dies", [True, pytest.param(False, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(("name", "step"), STEPS)
def test_a_failing_step_leaves_nothing_behind(
    prepared: Callable[[], Task], name: str, step: str, *, dies: bool
) -> None:
    before = world()
    task = prepared()
    undone = step_before(name, step) if dies else None
    if undone is None:
        ended = run_task(task, Strike(step, "before", OperationFailed("It was meant to fail.", step=step)))
    else:
        ended = die_and_go_on(task, FailAndStrike(step, undone, "ran"))

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


@pytest.mark.nightly
@pytest.mark.parametrize("moment", ("before", "ran", "stored"))
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
    network = Network.objects.latest("pk")
    objects = {"node": node.pk, "vm": vm.pk if vm else None, "vmwatch": 1, "cluster": 1, "network": network.pk}
    dns_server, held = DnsServer.objects.last(), InterfaceAddress.objects.first()
    objects["dns-server"] = dns_server.pk if dns_server else None
    group = SecurityGroup.objects.first()
    objects["security-group"] = group.pk if group else None
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
        "security-group.add": {"name": "planned", "rules": ["in icmp"]},
        "security-group.change": {"name": "planned"},
        "vm.set-security-groups": {"interface": vm.interfaces.first().mac if vm else "", "groups": []},
        "vm.add-port-forward": {"to_port": 22},
        "vm.remove-port-forward": {"port": getattr(PortForward.objects.first(), "port", 10000)},
        "network.add": {"name": "planned", "subnet": "10.204.0.0/24"},
        "network.change": {"name": "planned"},
        "network.add-subnet": {"cidr": "10.204.0.0/24"},
        "network.change-subnet": {"subnet": network.subnet, "ranges": []},
        "network.remove-subnet": {"subnet": network.subnet},
        "network.change-range": {"range": str(network.ranges[0]), "owner": "admin"},
        "network.change-address": {"address": getattr(network.addresses.first(), "ip", ""), "comment": "a router"},
        "network.import-addresses": {"lines": [str(network.subnet).replace(".0/24", ".77")]},
        "network.release-address": {"address": getattr(network.addresses.first(), "ip", "")},
        "node.add-link": {"kind": "vlan", "parent": "eno2", "vlan": 40},
        "node.remove-link": {"link": getattr(NodeLink.objects.last(), "name", "")},
        "dns-server.add": {**DNS, "name": "planned", "ranges": ["192.0.2.0/24"], "template": ""},
        "dns-server.change": {"ttl_seconds": 600},
        "vm.set-reverse-name": {"address": held.address.ip if held else "", "name": "web.example.org"},
    }
    raw = asked.get(name, DEVICES.get(name, RAW.get(operation.name, {})))
    plan = operation.plan(admin, raw, object_id=object_id)

    assert [step["name"] for step in plan["steps"]] == [step.name for step in operation.steps]
    assert {lock["kind"] for lock in plan["locks"]} <= {spec.kind for spec in operation.locks}
    assert world() == before
