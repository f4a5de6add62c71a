"""What libvirt tells besides a state: troubles that are problems, and guests that end their installation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.monitoring import installing, services
from panel.notices.models import Problem
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Installation, InstallStage, Vm, VmStatus
from tests.db.monitoring.messages import define, event, history, make_vm
from vmwatch import wire


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A running VM."""
    vm = make_vm(node, user, "web1")
    define(node, vm, VmStatus.RUNNING)
    return vm


def open_keys() -> list[str]:
    """The keys of what is open."""
    return list(Problem.objects.filter(open_key__isnull=False).values_list("open_key", flat=True))


@pytest.mark.parametrize("trouble", ["io-error:vda", "watchdog:reset"])
def test_a_trouble_is_one_problem_until_the_guest_goes_on(vm: Vm, trouble: str) -> None:
    services.take_messages([event(vm, wire.PAUSED, n, detail=trouble) for n in (1, 2)])
    assert open_keys() == [f"vm:{vm.pk}:{trouble.partition(':')[0]}"]
    services.take_messages([event(vm, wire.RUNNING, 3, detail="resumed:unpaused")])
    assert open_keys() == []
    assert history(vm)[0][0] == wire.PAUSED


def test_a_change_of_status_keeps_libvirts_word_for_it(vm: Vm) -> None:
    services.take_messages([event(vm, wire.CRASHED, 1, detail="stopped:crashed")])
    assert vm.status_changes.get().detail == "stopped:crashed"


class TestInstalling:
    """Rows of Installation."""

    @pytest.fixture(autouse=True)
    def installation(self, vm: Vm) -> Installation:
        """The installer runs."""
        return Installation.objects.create(vm=vm)

    def stage(self, vm: Vm) -> str:
        return str(Installation.objects.get(vm=vm).stage)

    @pytest.mark.parametrize("detail", ["stopped:shutdown", "rebooted"])
    def test_a_guest_that_ends_itself_has_its_system_started(
        self, vm: Vm, detail: str, run_tasks: Callable[[], None]
    ) -> None:
        fake.node(vm.node_id).domains[str(vm.uuid)].state = VmStatus.SHUT_OFF
        services.take_messages([event(vm, wire.SHUT_OFF, 1, detail=detail)])
        assert self.stage(vm) == InstallStage.FINISHING
        run_tasks()
        assert self.stage(vm) == InstallStage.DONE
        assert fake.node(vm.node_id).domains[str(vm.uuid)].state == VmStatus.RUNNING
        services.take_messages([event(vm, wire.SHUT_OFF, 2, detail=detail)])
        assert Task.objects.count() == 1

    @pytest.mark.parametrize("detail", ["stopped:destroyed", "stopped:crashed", "suspended:paused"])
    def test_a_guest_that_was_ended_is_still_installing(self, vm: Vm, detail: str) -> None:
        services.take_messages([event(vm, wire.SHUT_OFF, 1, detail=detail)])
        assert self.stage(vm) == InstallStage.INSTALLING
        assert not Task.objects.exists()

    @pytest.mark.parametrize("verb", ["stop", "restart"])
    def test_a_guest_that_was_asked_to_go_off_is_still_installing(self, vm: Vm, admin: User, verb: str) -> None:
        registry.get(f"vm.{verb}").submit(admin, {}, object_id=vm.pk)
        services.take_messages([event(vm, wire.SHUT_OFF, 1, detail="stopped:shutdown")])
        assert self.stage(vm) == InstallStage.INSTALLING

    def test_it_waits_for_a_task_that_holds_the_vm(self, vm: Vm, admin: User, run_tasks: Callable[[], None]) -> None:
        holder = registry.get("vm.configure").submit(admin, {"title": "Shop"}, object_id=vm.pk)
        services.take_messages([event(vm, wire.SHUT_OFF, 1, detail="stopped:shutdown")])
        assert Task.objects.count() == 1
        Task.objects.filter(pk=holder.pk).update(status=Status.DONE)
        holder.locks.all().delete()
        installing.finish_installations()
        assert Task.objects.count() == 2
        run_tasks()
        assert self.stage(vm) == InstallStage.DONE
