"""Tasks in flight: of every operation one that waits, one whose worker died, and one that is put aside or goes back.

They are prepared by the scenarios that the generic tests of operations use; those that are about a node, or look at all
that it has, have a node of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import NodeUnreachable, OperationFailed
from panel.network.models import IpPool, Network
from panel.notices.services import open_problem
from panel.storage.models import NodePool, Pool
from panel.tasks import engine, registry, services
from panel.tasks.models import Status, StepStatus, Task
from panel.tasks.operation import Step
from tests.db.conftest import make_node, run_task
from tests.db.tasks.scenarios import SCENARIOS, ask_create
from tests.db.tasks.strikes import Died, FailAndStrike, Strike

ROOT = {"password": "correct horse"}
OWN_NODES = ("vm.take-over", "vm.migrate", "vm.settle")
KEPT = 5
"""How many tasks that have ended are left in the dump."""


def fly(admin: User) -> None:
    """Have a task of every operation in each of the states; none of them is carried on with."""
    first = make_node()
    _widen(first)
    for number, name in enumerate(sorted(SCENARIOS)):
        for bring in _ways(name.partition(":")[0], number):
            _one(admin, name, bring, first)
    with _alone(first):
        _stuck(admin)
        _cancelled(admin)
        _behind_another(admin)
    _on_real_hosts(admin)
    _give_addresses()
    # What has ended says nothing to a later release but its row: a few are enough.
    ended = Task.objects.filter(status__in=(Status.DONE, Status.FAILED, Status.CANCELLED)).order_by("pk")
    ended.filter(pk__lt=ended[ended.count() - KEPT].pk).delete()


def _ways(operation: str, number: int) -> Sequence[Callable[[Task], None]]:
    """How the operation's tasks are left: in all ways but those of what has no steps, or takes long with many nodes."""
    if operation == "cluster.examine" or not _steps_of(operation):
        return (_leave,)
    return (_leave, _die, (_put_aside, _turn_back)[number % 2])


def _one(admin: User, name: str, bring: Callable[[Task], None], first: Node) -> None:
    own = name.startswith("node.") or name in OWN_NODES
    node = make_node(f"{name.replace('.', '-')}-{bring.__name__.strip('_')}") if own else first
    if name == "node.accept-storage":
        _give_pool(node)
    _give_addresses()
    with _alone(node):
        bring(SCENARIOS[name](admin, node)())


def _give_addresses() -> None:
    """Nodes have addresses instead of names, which would be looked up again and again."""
    for node in Node.objects.filter(address__endswith=".invalid"):
        Node.objects.filter(pk=node.pk).update(address=f"198.18.{node.pk // 256}.{node.pk % 256}")


def _give_pool(node: Node) -> None:
    """A pool that no other node has: the operation keeps everybody else from it."""
    pool = Pool.objects.create(cluster=node.cluster, name=node.name, options={"path": f"/srv/{node.name}"})
    NodePool.objects.create(node=node, pool=pool)
    fake.node(node.pk).pools.add(pool.name)


@contextmanager
def _alone(node: Node) -> Iterator[None]:
    """No other node takes VMs meanwhile."""
    others = list(Node.objects.exclude(pk=node.pk).filter(maintenance=False).values_list("pk", flat=True))
    Node.objects.filter(pk__in=others).update(maintenance=True)
    yield
    Node.objects.filter(pk__in=others).update(maintenance=False)


def _widen(node: Node) -> None:
    """The node and its network have room for a VM of every task."""
    Node.objects.filter(pk=node.pk).update(facts={"memory_mib": 1024 * 1024, "cpu_count": 256})
    NodePool.objects.update(capacity_bytes=2**44, free_bytes=2**44)
    network = Network.objects.get()
    prefix = network.subnet.rpartition(".")[0]
    for pool in IpPool.objects.filter(subnet__network=network):
        pool.first, pool.last = f"{prefix}.2", f"{prefix}.254"
        pool.save()


def _steps_of(operation: str) -> list[Step]:
    """The steps that a worker carries out."""
    return [step for step in registry.get(operation).steps if not step.inline]


def _steps(task: Task) -> list[Step]:
    return _steps_of(task.operation)


def _leave(task: Task) -> None:
    """It waits for a worker."""


def _die(task: Task) -> None:
    """Its worker dies in the middle, after a step has run and before its answer is stored."""
    steps = _steps(task)
    with pytest.raises(Died):
        run_task(task, Strike(steps[len(steps) // 2].name, "ran", Died()))


def _put_aside(task: Task) -> None:
    """Its node does not answer at its last step, so that it waits for another try."""
    silent = NodeUnreachable(node="fake1", reason="no route to host")
    engine.run(task.pk, "test", Strike(_steps(task)[-1].name, "before", silent))


def _turn_back(task: Task) -> None:
    """It fails at its last step that can be undone, and its worker dies on the way back."""
    operation, steps = registry.get(task.operation), _steps(task)
    commits = next((place for place, step in enumerate(steps) if step.commits), len(steps) - 1)
    if operation.on_failure != "undo":
        _put_aside(task)
    elif commits == 0:
        _die_going_back(task, steps[0].name, steps[0].name)
    else:
        _die_going_back(task, steps[commits].name, steps[commits - 1].name)


def _die_going_back(task: Task, last: str, undone: str) -> None:
    with pytest.raises(Died):
        run_task(task, FailAndStrike(last, undone, "ran"))


def _stuck(admin: User) -> None:
    """One that could not be undone."""
    task = ask_create(admin)
    broken = OperationFailed("It was meant to fail.", step="define_domain")
    with pytest.raises(Died):
        run_task(task, FailAndStrike("start_domain", "define_domain", "before"))
    task.refresh_from_db()
    task.steps.filter(name="define_domain").update(status=StepStatus.FAILED, error=broken.as_dict())
    Task.objects.filter(pk=task.pk).update(status=Status.STUCK, lease_until=None)
    open_problem(f"task:{task.pk}:stuck", broken.message, object_type="task", object_id=task.pk)


def _cancelled(admin: User) -> None:
    """One that is to be cancelled, and that no worker has taken up yet."""
    services.cancel(ask_create(admin), admin)


def _behind_another(admin: User) -> None:
    """Two that wait for a third."""
    first = ask_create(admin)
    for verb in ("force-off", "start"):
        registry.get(f"vm.{verb}").submit(admin, {}, object_id=first.object_id, queue=True)


def _on_real_hosts(admin: User) -> None:
    """Those that need a host whom one reaches by ssh: they wait."""
    node = make_node("to-reconnect")
    registry.get("node.reconnect").submit(admin, {"address": "192.0.2.1", **ROOT}, object_id=node.pk)
    registry.get("node.add").submit(admin, {"name": "to-add", "address": "192.0.2.2", **ROOT})
    registry.get("cluster.read-host-key").submit(admin, {"address": "192.0.2.3"}, object_id=1)
