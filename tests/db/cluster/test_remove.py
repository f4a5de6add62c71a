"""node.remove looks at the host first: one that does not answer, or is another panel's by now, is left as it is."""

from __future__ import annotations

import pytest

from nodeagent.protocol.node import HostMark
from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.models import Node, NodeState
from panel.core.errors import NodeError, NodeRefused, NodeUnreachable
from panel.notices.models import Problem
from panel.tasks import registry
from panel.tasks.models import Status, Task
from tests.db.conftest import run_task

OTHER = HostMark("other", 7, "alien7", "https://other.example.org")


def remove(node: Node) -> Task:
    """Ask for the removal; answers the task at its end."""
    return run_task(registry.get("node.remove").submit(system_user(), {}, object_id=node.pk))


@pytest.mark.parametrize(
    "error",
    [NodeUnreachable(node="fake1", reason="no route"), NodeRefused(node="fake1", reason="it does not accept the key")],
    ids=lambda error: error.code,
)
def test_a_host_that_does_not_answer_is_not_removing_for_ever(node: Node, error: NodeError) -> None:
    # An unreachable one is tried twice.
    fake.node(node.pk).fail("mark_read", error, times=2 if error.retriable else 1)
    task = remove(node)
    assert (task.status, task.error["code"]) == (Status.FAILED, "operation_failed")
    assert (
        "Nothing was removed. Reconnect the node if it is reached otherwise by now, or forget it"
        in (task.error["message"])
    )
    node.refresh_from_db()
    assert node.state == NodeState.UNREACHABLE
    memory = fake.node(node.pk)
    assert memory.bridges and memory.pools and not memory.removed
    assert remove(node).status == Status.DONE


def test_a_host_that_is_another_panel_s_by_now_is_forgotten_and_not_touched(node: Node) -> None:
    memory = fake.node(node.pk)
    memory.mark = OTHER
    before = (dict(memory.bridges), set(memory.pools), memory.vmwatch)
    assert remove(node).status == Status.DONE
    assert not Node.objects.exists()
    assert (memory.bridges, memory.pools, memory.vmwatch, memory.removed, memory.mark) == (*before, False, OTHER)


def test_its_check_tells_of_the_other_panel(node: Node) -> None:
    fake.node(node.pk).mark = OTHER
    run_task(registry.get("node.check").submit(system_user(), {}, object_id=node.pk))
    problem = Problem.objects.get(open_key=f"node:{node.pk}:owner")
    assert "Another panel manages it too, “https://other.example.org” (node “alien7” there)" in problem.text
