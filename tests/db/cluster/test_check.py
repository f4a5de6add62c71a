"""node.check: what is wrong with one part of a node is that part's problem; the others are looked at all the same."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from nodeagent.protocol import storage
from nodeagent.protocol.network import AntiSpoofingFilter
from panel.accounts.models import User
from panel.accounts.system import system_user
from panel.cluster import fake
from panel.cluster.fake.state import FakeVolume
from panel.cluster.models import Node, NodeState
from panel.cluster.periodic import check_nodes
from panel.core.errors import (
    CommandFailed,
    Fenced,
    LibvirtFailure,
    NodeError,
    NodeRefused,
    NodeTimeout,
    NodeUnreachable,
    VersionMismatch,
)
from panel.images.models import Image
from panel.monitoring import keys, reaching
from panel.monitoring import services as monitoring
from panel.monitoring.models import MasterWatch, NodeWatch
from panel.notices.models import Problem
from panel.notices.services import open_problem
from panel.storage.models import Pool
from panel.tasks import engine, registry
from panel.tasks.models import Status, Task
from panel.vms.models import Vm
from tests.db.conftest import GIB, make_network, make_node, run_task
from tests.db.monitoring.messages import full_report
from vmwatch import wire

BROKEN = CommandFailed(node="fake1", command="bridge_ensure", agent_code="command_failed", text="ip says no")
AWAY = LibvirtFailure(node="fake1", command="libvirt_ensure", text="it does not answer", connection_lost=True)
LOST = NodeUnreachable(node="fake1", reason="the connection was lost")


def check(node: Node) -> dict[str, Any]:
    """Check the node; answers the task's result."""
    task = run_task(registry.get("node.check").submit(system_user(), {}, object_id=node.pk))
    assert task.status == Status.DONE, task.error
    return dict(task.result)


def problems(node: Node) -> dict[str, str]:
    """The severities of the node's open problems, by part."""
    opened = Problem.objects.filter(object_type="node", object_id=node.pk, open_key__isnull=False)
    return {problem.key.removeprefix(f"node:{node.pk}:"): problem.severity for problem in opened}


def state(node: Node) -> str:
    """The node's state as the database has it."""
    return str(Node.objects.get(pk=node.pk).state)


def asked(node: Node) -> set[str]:
    """The commands that the node was given."""
    return {request.COMMAND for request in fake.node(node.pk).calls}


def test_a_node_that_is_well_has_no_problem(node: Node) -> None:
    assert check(node) == {"reachable": True, "complaints": []}
    assert problems(node) == {}
    assert asked(node) >= {"libvirt_ensure", "node_facts", "pool_ensure", "bridge_ensure", "vmwatch_configure"}


class TestReachable:
    """Only a node that cannot be spoken to is unreachable."""

    @pytest.mark.parametrize(
        "error",
        [
            LOST,
            NodeRefused(node="fake1", reason="it does not accept the key or password"),
            NodeTimeout(node="fake1", command="hello", seconds=20),
            VersionMismatch(node="fake1", panel=2, agent=1),
        ],
        ids=lambda error: error.code,
    )
    def test_a_node_without_ssh_or_agent_is_unreachable_until_it_answers(self, node: Node, error: NodeError) -> None:
        fake.node(node.pk).fail("update_programs", error)
        assert not check(node)["reachable"]
        assert (state(node), problems(node)) == (NodeState.UNREACHABLE, {"unreachable": "error"})
        assert asked(node) == set()
        check(node)
        assert (state(node), problems(node)) == (NodeState.READY, {})

    def test_a_connection_that_dies_on_the_way_is_made_again(self, node: Node) -> None:
        fake.node(node.pk).fail("pool_ensure", LOST)
        assert check(node) == {"reachable": True, "complaints": []}

    def test_a_node_that_is_lost_on_the_way_is_unreachable_and_its_other_problems_stay(self, node: Node) -> None:
        memory = fake.node(node.pk)
        memory.fail("bridge_ensure", BROKEN)
        check(node)
        memory.fail("pool_ensure", LOST, times=2)
        check(node)
        assert (state(node), problems(node)) == (NodeState.UNREACHABLE, {"unreachable": "error", "network": "error"})

    def test_a_worker_that_lost_the_task_says_nothing_of_the_node(self, node: Node) -> None:
        fake.node(node.pk).fail("bridge_ensure", Fenced(node="fake1", task=""))
        task = registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
        engine.run(task.pk, "test")
        assert (state(node), problems(node)) == (NodeState.READY, {})

    @pytest.mark.parametrize("in_between", [NodeState.PREPARING, NodeState.REMOVING])
    def test_a_node_that_is_not_in_service_does_not_get_there_by_a_check(self, node: Node, in_between: str) -> None:
        Node.objects.filter(pk=node.pk).update(state=in_between)
        fake.node(node.pk).fail("update_programs", LOST)
        for _ in range(2):
            check(node)
            assert state(node) == in_between


class TestParts:
    """Each part has one problem, which closes by itself."""

    @pytest.mark.parametrize(
        ("command", "error", "part"),
        [
            ("update_programs", CommandFailed(node="fake1", command="update", agent_code="", text="full"), "programs"),
            ("libvirt_ensure", AWAY, "libvirt"),
            ("libvirt_ensure", NodeTimeout(node="fake1", command="libvirt_ensure", seconds=60), "libvirt"),
            ("node_facts", NodeTimeout(node="fake1", command="node_facts", seconds=30), "clock"),
            ("pool_ensure", CommandFailed(node="fake1", command="x", agent_code="internal", text="x"), "storage"),
            ("bridge_ensure", BROKEN, "network"),
            ("vmwatch_configure", CommandFailed(node="fake1", command="x", agent_code="x", text="x"), "vmwatch"),
        ],
    )
    def test_a_broken_part_is_one_problem_and_the_others_are_looked_at(
        self, node: Node, command: str, error: NodeError, part: str
    ) -> None:
        memory = fake.node(node.pk)
        for _ in range(3):
            memory.calls.clear()
            memory.fail(command, error)
            result = check(node)
            assert result["reachable"] and len(result["complaints"]) == 1
            assert (state(node), problems(node)) == (NodeState.READY, {part: "error"})
            others = {"libvirt_ensure", "node_facts", "pool_ensure", "bridge_ensure", "vmwatch_configure"} - {command}
            assert asked(node) >= others
        assert Problem.objects.count() == 1
        assert check(node)["complaints"] == []
        assert problems(node) == {}
        memory.fail(command, error)
        check(node)
        assert Problem.objects.count() == 2

    def test_a_libvirtd_that_stands_still_is_called_so(self, node: Node) -> None:
        text = "The request did not end by its deadline."
        fake.node(node.pk).fail("libvirt_ensure", NodeTimeout(text, node="fake1", command="libvirt_ensure", seconds=60))
        (complaint,) = check(node)["complaints"]
        assert complaint.startswith("libvirtd does not answer")

    def test_of_two_bridges_and_storages_the_second_is_made_though_the_first_cannot(self, node: Node) -> None:
        make_network(node.cluster, "b", "vmbr-b", "10.9.0.0/24")
        Pool.objects.create(cluster=node.cluster, name="b", options={"path": "/srv/b/pool"})
        memory = fake.node(node.pk)
        memory.fail("bridge_ensure", BROKEN)
        memory.fail("pool_ensure", CommandFailed(node="fake1", command="x", agent_code="internal", text="broken disk"))
        check(node)
        assert "vmbr-b" in memory.bridges
        assert any(
            isinstance(each, storage.PoolEnsure) and each.pool.options == {"path": "/srv/b/pool"}
            for each in memory.calls
        )
        text = Problem.objects.get(key=f"node:{node.pk}:network").text
        assert "ip says no" in text and "“b”" not in text

    def test_vmwatch_that_ends_for_lack_of_libvirt_is_no_problem_of_its_own(self, node: Node) -> None:
        memory = fake.node(node.pk)
        memory.fail("libvirt_ensure", AWAY)
        memory.fail("vmwatch_configure", CommandFailed(node="fake1", command="x", agent_code="x", text="it ended"))
        check(node)
        assert problems(node) == {"libvirt": "error"}

    def test_a_node_whose_libvirt_is_away_gets_no_new_vm_until_it_is_back(
        self, node: Node, api: APIClient, image: Image
    ) -> None:
        def ask(name: str) -> Any:
            return api.post("/api/v1/vms", {"name": name, "image": "small", "flavor": "small"})

        memory = fake.node(node.pk)
        memory.libvirt = "off"
        memory.fail("libvirt_ensure", AWAY)
        check(node)
        refused = ask("web1")
        assert refused.status_code == 409
        assert refused.json()["candidates"] == {"fake1": "libvirt does not run on the node"}
        check(node)
        assert ask("web1").status_code == 202

    def test_a_node_whose_libvirt_is_slow_is_shown_so_and_takes_vms(
        self, node: Node, api: APIClient, image: Image
    ) -> None:
        memory = fake.node(node.pk)
        memory.libvirt_seconds = 60.0
        [complaint] = check(node)["complaints"]
        assert "slow" in complaint and problems(node) == {"virtualization": "warning"}
        facts = Node.objects.get(pk=node.pk).facts
        assert (facts["libvirt"], facts["libvirt_version"], facts["qemu_version"]) == ("answers", "9.0.0", None)
        assert api.post("/api/v1/vms", {"name": "web1", "image": "small", "flavor": "small"}).status_code == 202
        memory.libvirt_seconds = 0.1
        assert check(node)["complaints"] == []
        assert problems(node) == {}

    def test_what_libvirt_leaves_unanswered_stays_as_it_was_known(self, node: Node) -> None:
        check(node)
        memory = fake.node(node.pk)
        memory.told, memory.libvirt_seconds = False, 60.0
        check(node)
        memory.libvirt = "silent"
        told = "libvirtd does not answer; no new VM is placed on the node meanwhile."
        assert check(node)["complaints"] == [told]
        facts = Node.objects.get(pk=node.pk).facts
        assert (facts["libvirt"], facts["libvirt_version"], facts["qemu_version"]) == ("silent", "9.0.0", "7.2.0")
        assert facts["copies_running"] is True

    def test_a_device_that_qemu_may_not_open_is_a_warning(self, node: Node) -> None:
        fake.node(node.pk).kvm = "QEMU's user may not open /dev/kvm."
        assert check(node)["complaints"] == ["QEMU's user may not open /dev/kvm."]
        assert problems(node) == {"virtualization": "warning"}

    def test_problems_of_a_node_go_with_it(self, node: Node) -> None:
        memory = fake.node(node.pk)
        memory.fail("bridge_ensure", BROKEN)
        check(node)
        run_task(registry.get("node.remove").submit(system_user(), {}, object_id=node.pk))
        assert problems(node) == {}


class TestFacts:
    """Clock, disk and system."""

    @pytest.mark.parametrize(("offset", "severity"), [(30.0, "warning"), (-30.0, "warning"), (300.0, "error")])
    def test_a_clock_that_is_off_is_a_problem_until_it_is_right(self, node: Node, offset: float, severity: str) -> None:
        memory = fake.node(node.pk)
        memory.clock_offset = offset
        check(node)
        assert problems(node) == {"clock": severity}
        memory.clock_offset = 0.0
        check(node)
        assert problems(node) == {}

    def test_a_problem_becomes_worse_and_better_without_becoming_two(self, node: Node) -> None:
        memory = fake.node(node.pk)
        for offset, severity in ((30.0, "warning"), (90.0, "error"), (30.0, "warning")):
            memory.clock_offset = offset
            check(node)
            assert problems(node) == {"clock": severity}
        assert Problem.objects.count() == 1

    def test_a_full_disk_is_a_problem_of_the_node_and_of_the_storage_on_it(self, node: Node) -> None:
        memory = fake.node(node.pk)
        memory.capacity_bytes = 100 * GIB
        memory.files["/elsewhere"] = fake.FakeVolume("raw", 97 * GIB)
        check(node)
        assert problems(node) == {"disk": "warning", "storage": "warning"}

    def test_another_system_than_the_first_node_s_is_a_hint(self, node: Node) -> None:
        check(node)
        facts = {**Node.objects.get(pk=node.pk).facts, "os_version": "11", "os_name": "Debian GNU/Linux 11"}
        Node.objects.filter(pk=node.pk).update(facts=facts)
        other = make_node("fake2")
        check(other)
        assert (problems(node), problems(other)) == ({}, {"system": "info"})


class TestHeard:
    """A node that is unreachable and is heard by vmwatch is checked at once."""

    def lose(self, node: Node) -> None:
        """Have a check find the node unreachable."""
        fake.node(node.pk).fail("update_programs", LOST)
        check(node)

    def checks(self, node: Node) -> int:
        """How many checks of it wait."""
        return Task.objects.filter(operation="node.check", object_id=node.pk, status=Status.QUEUED).count()

    def test_it_is_checked_once_however_many_messages_come(self, node: Node) -> None:
        other = make_node("fake2")
        self.lose(node)
        for sequence in range(1, 4):
            monitoring.take_messages([full_report(node, [], sequence), full_report(other, [], sequence)])
            assert (self.checks(node), self.checks(other)) == (1, 0)
        run_task(Task.objects.get(operation="node.check", status=Status.QUEUED))
        assert (state(node), problems(node)) == (NodeState.READY, {})
        monitoring.take_messages([full_report(node, [], 4)])
        assert self.checks(node) == 0

    def test_it_is_not_asked_for_again_when_that_check_fails_too(self, node: Node) -> None:
        self.lose(node)
        monitoring.take_messages([full_report(node, [], 1)])
        fake.node(node.pk).fail("update_programs", LOST)
        run_task(Task.objects.get(operation="node.check", status=Status.QUEUED))
        monitoring.take_messages([full_report(node, [], 2)])
        assert (state(node), self.checks(node)) == (NodeState.UNREACHABLE, 0)

    def test_each_time_that_it_is_lost_it_is_checked_anew(self, node: Node) -> None:
        for sequence in range(1, 3):
            self.lose(node)
            monitoring.take_messages([full_report(node, [], sequence)])
            run_task(Task.objects.get(operation="node.check", status=Status.QUEUED))
            assert state(node) == NodeState.READY

    def test_messages_of_a_node_that_is_ready_cost_no_query_more(self, node: Node) -> None:
        def queries(sequence: int) -> list[str]:
            with CaptureQueriesContext(connection) as captured:
                monitoring.take_messages([wire.Message(node.pk, 1, sequence, time.time(), wire.ALIVE, [])])
            return [each["sql"] for each in captured]

        queries(1)
        assert not any("notices_problem" in sql or "tasks_task" in sql for sql in queries(2))


def test_checks_do_not_pile_up_while_no_worker_takes_them(node: Node) -> None:
    other = make_node("fake2")
    for _ in range(3):
        check_nodes()
    assert Task.objects.count() == 2
    check_nodes([other.pk])
    assert Task.objects.count() == 2


@pytest.mark.parametrize("path", ["/api/v1/problems", "/api/v1/nodes"])
def test_lists_make_the_same_queries_for_few_and_many_problems(api: APIClient, path: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get(path).status_code == 200
        return len(captured)

    def add(count: int) -> None:
        for _ in range(count):
            node = make_node(f"node{Node.objects.count()}")
            for part in ("libvirt", "clock", "network"):
                open_problem(f"node:{node.pk}:{part}", "x", object_type="node", object_id=node.pk)

    add(1)
    few = queries()
    add(9)
    assert queries() == few


def test_a_check_costs_as_many_queries_beside_thirty_nodes_as_beside_three(node: Node, user: User) -> None:
    def queries() -> int:
        task = registry.get("node.check").submit(system_user(), {}, object_id=node.pk)
        with CaptureQueriesContext(connection) as captured:
            run_task(task)
        return len(captured)

    for number in range(2):
        make_node(f"few{number}")
    queries()
    few = queries()
    for number in range(27):
        make_node(f"many{number}")
    assert queries() == few


def test_copies_of_images_that_were_deleted_leave_the_node(node: Node, image: Image) -> None:
    pool = Pool.objects.get()
    held = fake.node(node.pk)
    copies = [f"{pool.where}/images/{each}.img" for each in (image.sha256, "e" * 64)]
    for path in copies:
        held.files[path] = FakeVolume("raw", 1, changed_at=time.time() - 7200)
    Pool.objects.update(shared=True)
    assert check(node)["complaints"] == []
    assert set(copies) <= set(held.files), "another node may use them"
    Pool.objects.update(shared=False)
    assert check(node)["complaints"] == []
    assert set(held.files) & set(copies) == {copies[0]}
    held.fail("images_tidy", AWAY)
    assert "Images that were deleted stay" in check(node)["complaints"][0]
    assert problems(node) == {"vms": "error"}


def test_lost_and_stray_filters_are_mended_and_a_vm_that_a_task_holds_is_left_to_it(
    node: Node, admin: User, image: Image
) -> None:
    memory = fake.node(node.pk)
    raw = {"image": "small", "flavor": "small", "password": "correct horse"}
    for name in ("web1", "web2"):
        run_task(registry.get("vm.create").submit(admin, {"name": name, **raw}))
    before, rules = dict(memory.guards), dict(memory.rules)
    stray = AntiSpoofingFilter("tap525400000099", mac="52:54:00:00:00:99")
    memory.guards.clear()
    memory.rules = {**rules, stray.port: stray}
    held = Vm.objects.get(name="web2")
    waiting = registry.get("vm.force-off").submit(admin, {}, object_id=held.pk)
    check(node)
    assert memory.guards == {uuid: guards for uuid, guards in before.items() if uuid != str(held.uuid)}
    assert memory.rules == rules
    run_task(waiting)
    assert check(node)["complaints"] == []
    assert memory.guards == before
    memory.calls.clear()
    check(node)
    assert "guards_ensure" not in asked(node)


class TestDeaf:
    """What makes guests or the panel deaf is said."""

    def test_a_firewall_that_forwards_nothing_for_guests(self, node: Node) -> None:
        fake.node(node.pk).barriers = ["ip filter FORWARD"]
        (complaint,) = check(node)["complaints"]
        assert "“private” do not get out" in complaint and "(ip filter FORWARD)" in complaint
        assert "iptables -I FORWARD -i vmbr-nat0 -j ACCEPT" in complaint
        assert problems(node) == {"network": "warning"}
        fake.node(node.pk).barriers = []
        check(node)
        assert problems(node) == {}

    def test_a_node_that_cannot_reach_a_master_that_speaks(self, node: Node) -> None:
        self.cut(node)
        MasterWatch.objects.create(heard_at=timezone.now() + timedelta(hours=1))
        (complaint,) = check(node)["complaints"]
        where = keys.told()[0].removeprefix("tcp://")
        assert complaint.startswith(f"vmwatch-node cannot reach vmwatch-master at {where} (no answer within 3 s)")
        assert "a firewall on the node, on the panel's machine or between them" in complaint
        assert problems(node) == {"vmwatch": "error"}
        fake.node(node.pk).unreached.clear()
        check(node)
        assert problems(node) == {}

    def test_a_master_that_says_nothing_is_no_problem_of_a_node_s(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reaching, "SPEAKS_SECONDS", 0.0)
        self.cut(node)
        assert check(node)["complaints"] == []

    def test_a_node_that_reaches_the_master_and_is_never_heard(self, node: Node) -> None:
        MasterWatch.objects.create(heard_at=timezone.now())
        assert check(node)["complaints"] == []
        Node.objects.update(created_at=timezone.now() - timedelta(minutes=2))
        (complaint,) = check(node)["complaints"]
        assert "but nothing was heard of it yet" in complaint
        NodeWatch.objects.update(heard_at=timezone.now())
        assert check(node)["complaints"] == []

    def cut(self, node: Node) -> None:
        """It cannot reach the port that vmwatch-master listens on."""
        fake.node(node.pk).unreached[settings.CONFIG.vmwatch_listen_port] = "no answer within 3 s"


def test_programs_that_do_not_fit_are_told_with_where_the_disk_is_full(node: Node) -> None:
    memory = fake.node(node.pk)
    memory.capacity_bytes = 0
    memory.fail("update_programs", CommandFailed(node="fake1", command="update", agent_code="", text="Failure"))
    told = check(node)["complaints"]
    assert "The panel's programs cannot be brought up to date: Failure. Its disk is full: / has 0 MiB free." in told
