"""virsh managedsave: what is shown of such a VM, what is refused, and what becomes of its memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from panel.monitoring import causes
from panel.vms import saved
from tests.db.vms.test_saved import BODIES
from tests.lab.guests import make_key
from tests.lab.hosts import Node
from tests.lab.test_power import Guest
from tests.stack import done, wait_until

NAME = "memory"
VMWATCH = "^/usr/bin/python3 /usr/lib/vmpanel/vmwatch.pyz"


class Saved(Guest):
    """The VM, and the hand that saves its memory."""

    def becomes(self, status: str, seconds: float = 20.0) -> None:
        """The panel says so, and so does libvirt."""
        wait_until(lambda: self.shown("status") == status, f"the panel says {status}", seconds)
        assert self.domstate() == status

    def domstate(self) -> str:
        """What virsh says of it."""
        return self.virsh("domstate", NAME)

    def save(self) -> None:
        """By virsh; the panel knows of it. What is seen within a moment of a task's end may be the task's."""
        wait_until(self._is_left_alone, "no task ended a moment ago")
        self.virsh("managedsave", NAME)
        wait_until(lambda: self.shown("status") == "saved", "the panel says saved", 20)
        assert self.domstate() == "shut off"

    def _is_left_alone(self) -> bool:
        tasks = self.api.get("tasks", params={"object_type": "vm", "object_id": self.path.split("/")[1]}).json()[
            "results"
        ]
        ended = [datetime.fromisoformat(each["finished_at"]) for each in tasks if each["finished_at"]]
        return datetime.now(UTC) - max(ended) > 2 * causes.ON_ITS_WAY

    def is_saved(self) -> bool:
        """Whether libvirt keeps its memory."""
        return NAME in self.virsh("list", "--all", "--with-managed-save", "--name").split()

    def boot(self) -> str:
        """What tells one start of its guest from another."""
        return self.inside("cat", "/proc/sys/kernel/random/boot_id")


@pytest.fixture(scope="module")
def vm(cluster: list[Node], api: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """The VM, for all tests of this file."""
    private, public = make_key(str(tmp_path_factory.mktemp("key")))
    raw = {"name": NAME, "image": "tiny", "flavor": "tiny", "node": cluster[0].name, "ssh_keys": [public]}
    answer = api.post("vms", json=raw)
    done(api, answer)
    vm = Saved(cluster[0], api, private, answer.json())
    yield vm
    if not vm.is_saved() and vm.domstate() == "running":
        vm.save()
    task = done(api, api.delete(f"{vm.path}?queue=1"))
    # It goes with its memory, and the log says so.
    assert "memory is discarded" in api.get(f"tasks/{task['id']}/log").text
    assert NAME not in vm.virsh("list", "--all", "--name").split()


@pytest.fixture(autouse=True)
def running(vm: Saved) -> None:
    """Each test begins with a running VM."""
    if vm.shown("status") != "running":
        vm.do("start")


def test_it_is_shown_nothing_that_its_memory_knows_changes_and_a_start_goes_on(vm: Saved) -> None:
    boot = vm.boot()
    vm.save()
    newest = vm.api.get(f"{vm.path}/history").json()[0]
    assert (newest["status"], newest["cause"], newest["detail"]) == ("saved", "outside", "stopped:saved")
    described = vm.virsh("dumpxml", "--inactive", NAME)
    for name, deal in saved.DEALS.items():
        if deal == saved.Deal.REFUSED:
            answer = vm.ask(name.partition(".")[2], **BODIES.get(name, {}))
            assert (answer.status_code, answer.json()["state"]) == (409, "saved"), (name, answer.text)
    vm.do("stop")
    vm.do("autostart", enabled=True)
    vm.do("autostart", enabled=False)
    assert vm.virsh("dumpxml", "--inactive", NAME) == described
    assert vm.is_saved() and vm.shown("status") == "saved"

    vm.do("start")
    vm.becomes("running")
    assert vm.boot() == boot
    assert not vm.is_saved()


def test_it_is_discarded_on_request_and_by_a_repair(vm: Saved) -> None:
    boot = vm.boot()
    for verb in ("repair", "discard-saved"):
        vm.save()
        vm.do(verb)
        vm.becomes("shut off")
        assert not vm.is_saved()
        vm.do("start")
        assert vm.boot() != boot


def test_a_memory_that_is_saved_as_a_task_begins_is_seen_at_the_node(vm: Saved) -> None:
    memory = vm.shown("memory_mib")
    # vmwatch says nothing meanwhile: the panel's word is that it runs.
    vm.node.run(["pkill", "-STOP", "-f", VMWATCH])
    try:
        vm.virsh("managedsave", NAME)
        task = vm.api.post(f"{vm.path}/configure", json={"memory_mib": memory + 8})
        failed = wait_until(lambda: _ended(vm, task), "the task has ended")
        assert failed["status"] == "failed" and "memory is saved" in failed["error"]["message"], failed
        assert (vm.shown("memory_mib"), vm.shown("status")) == (memory, "saved")
    finally:
        vm.node.run(["pkill", "-CONT", "-f", VMWATCH])
    vm.do("start")


def _ended(vm: Saved, answer: httpx.Response) -> dict[str, object] | None:
    task = dict(vm.api.get(f"tasks/{answer.json()['task']['id']}").json())
    return task if task["finished_at"] else None
