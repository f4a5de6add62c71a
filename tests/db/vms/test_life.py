"""VMs live through thousands of sequences of operations, deaths and meddling; what is always so holds after each.

The operations, the engine and the database are the panel's, the agent is the real one on libvirt's test driver
(life.py). VMPANEL_LIFE=N tries N sequences (rounded up to hundreds) instead of the sample of each run, in parts that
processes can share; VMPANEL_LIFE_SEED chooses others. script/life does a night's run of them.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from nodeagent.protocol import guest, host, snapshot
from panel.accounts.models import Level, User
from panel.core.errors import Busy, CapacityError, OperationFailed, RequestError
from panel.doctor.findings import CODES
from panel.tasks import engine, locks, registry, services
from panel.tasks.models import ENDED, Status, Task, TaskStep
from panel.vms.models import Snapshot, Vm, VmStatus
from panel.vms.spec import host_spec
from tests.db.conftest import run_task
from tests.db.vms.life import Glance, World, assert_nothing_left, assert_right

SEQUENCES = int(os.environ.get("VMPANEL_LIFE", "0"))
SEED = int(os.environ.get("VMPANEL_LIFE_SEED", "1"))
SAMPLE = 8
RUN = 10
"""So many sequences come from one seed: Hypothesis makes its later ones by changing its earlier ones a little."""
RUNS = 10
PARTS = [f"{SEED}.{number}" for number in range(-(-SEQUENCES // (RUN * RUNS)))] or ["sample"]
"""What is tried, by seed; the sample is the same each time."""
STEPS = 10
MOST_VMS = 3
PAST = "2000-01-01T00:00:00Z"
ON = (VmStatus.RUNNING, VmStatus.PAUSED)
MOMENTS = ("before", "ran", "stored")
POWER = ("start", "stop", "force-off", "restart", "pause", "resume", "reset")
OTHERS = (
    *("autostart", "suspend", "unsuspend", "configure", "rename", "change-owner", "repair", "adopt", "delete"),
    *("discard-saved", "adopt-snapshot", "forget-snapshot"),
    *("snapshot", "revert-snapshot", "delete-snapshot", "clone", "reinstall", "rescue", "end-rescue"),
    *("add-disk", "grow-disk", "change-disk", "remove-disk", "add-interface", "change-interface", "remove-interface"),
)
PLUGGING = OTHERS[-7:]
"""libvirt's test driver plugs nothing into running domains."""
REPAIRED = {"domain_missing", "domain_name"}
TO_RUNNING, TO_OFF = ("start", "stop", "pause", "save"), ("undefine", "rename")
MEDDLING = (*TO_RUNNING, *TO_OFF, "redefine", "snapshot", "drop snapshot")


class Died(BaseException):
    """The worker is killed: nothing of the engine may catch this."""


class Strike(engine.Observer):
    """What befalls a task: its step fails, its worker dies there, or the one and, on the way back, the other."""

    def __init__(self, kind: str, step: str, moment: str, back: int) -> None:
        self.kind, self.step, self.moment, self.back = kind, step, moment, back
        self.failed = self.died = False

    def _at(self, moment: str, task: Task, step: TaskStep) -> None:
        if task.undoing:
            self.back -= 1
            if self.kind == "both" and not self.died and self.back < 0:
                self.died = True
                raise Died
            return
        if self.failed or self.died or (step.name, moment) != (self.step, self.moment):
            return
        if self.kind == "dies":
            self.died = True
            raise Died
        if moment != "stored":
            self.failed = True
            raise OperationFailed("It was meant to fail.", step=step.name)

    def before(self, task: Task, step: TaskStep) -> None:
        """Before the step's function."""
        self._at("before", task, step)

    def ran(self, task: Task, step: TaskStep) -> None:
        """After it, before its output is stored."""
        self._at("ran", task, step)

    def stored(self, task: Task, step: TaskStep) -> None:
        """After its output is stored."""
        self._at("stored", task, step)


STRIKES = st.one_of(
    st.none(),
    st.none(),
    st.tuples(
        st.sampled_from(["fails", "dies", "both"]), st.integers(0, 9), st.sampled_from(MOMENTS), st.integers(0, 5)
    ),
)


class Life(RuleBasedStateMachine):
    """What may happen, in any order."""

    world: ClassVar[World]
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.world.clear()
        self.number = 0
        self.waiting: dict[int, Strike | None] = {}
        self.left: dict[int, set[str]] = {}
        self.drifted: set[int] = set()
        self.unseen: set[int] = set()
        self.together: set[int] = set()
        self.glances: list[Glance] = []
        self.moved = True
        self.seen["sequences"] += 1
        self.create(None)

    # What the panel is asked for.

    @precondition(lambda self: Vm.objects.count() < MOST_VMS)
    @rule(strike=STRIKES)
    def create(self, strike: tuple[str, int, str, int] | None) -> None:
        raw = {"name": self._name(), "image": "life", "memory_mib": 128, "vcpus": 1, "disk_gib": 1}
        self._ask("vm.create", None, {**raw, "password": "correct horse"}, strike, later=False)

    @rule(which=st.integers(0, 2), verb=st.sampled_from(POWER), strike=STRIKES, later=st.booleans())
    def power(self, which: int, verb: str, strike: tuple[str, int, str, int] | None, later: bool) -> None:
        if (vm := self._vm(which)) is not None:
            raw = {"timeout_seconds": 0} if verb in ("stop", "restart") else {}
            self._ask(f"vm.{verb}", vm, raw, strike, later=later)

    @rule(
        which=st.integers(0, 2),
        verb=st.sampled_from(OTHERS),
        strike=STRIKES,
        choice=st.integers(0, 7),
        off=st.booleans(),
    )
    def operate(self, which: int, verb: str, strike: tuple[str, int, str, int] | None, choice: int, off: bool) -> None:
        """Anything else, with a VM as it is, or after it was forced off: much is for those alone."""
        if off:
            self._force_off(which)
        if (vm := self._vm(which)) is not None and not (verb in PLUGGING and self._runs(vm)):
            self._operate(verb, vm, strike, choice)

    @rule(
        which=st.integers(0, 2),
        asked=st.lists(
            st.tuples(st.sampled_from((*POWER, *OTHERS)), STRIKES, st.integers(0, 7)), min_size=2, max_size=3
        ),
        cancelled=st.one_of(st.none(), st.integers(0, 2)),
        off=st.booleans(),
        later=st.booleans(),
    )
    def queue(
        self,
        which: int,
        asked: list[tuple[str, tuple[str, int, str, int] | None, int]],
        cancelled: int | None,
        off: bool,
        later: bool,
    ) -> None:
        """More is asked for while no worker is free: each waits behind those before it, and one may be cancelled."""
        if off:
            self._force_off(which)
        vm = self._vm(which)
        queued = []
        for verb, strike, choice in asked:
            if vm is None or (verb in PLUGGING and not queued and self._runs(vm)):
                continue
            if (task := self._operate(verb, vm, strike, choice, queue=True)) is not None:
                queued.append(task)
                self.is_right()
        if queued and cancelled is not None and services.may_cancel(task := queued[cancelled % len(queued)]):
            services.cancel(task, self.world.admin)
            self._carry(task, self.waiting.pop(task.pk))
            self.is_right()
        if not later:
            self.work()

    @precondition(lambda self: self.waiting)
    @rule()
    def work(self) -> None:
        """A worker carries out what waits, in its order."""
        for pk in sorted(self.waiting):
            self._carry(Task.objects.get(pk=pk), self.waiting.pop(pk))

    # What happens outside.

    @rule(which=st.integers(0, 2), how=st.sampled_from(MEDDLING))
    def meddle(self, which: int, how: str) -> None:
        """Somebody does it with virsh, or the guest itself."""
        vm, domains = self._vm(which), self.world.domains()
        if vm is None or not vm.installed or (there := domains.get(str(vm.uuid))) is None:
            return
        call, runs, uuid = self.world.agent.call, there.state in ON, str(vm.uuid)
        if how in (TO_OFF if runs else TO_RUNNING):
            return
        kept = [each.name for each in call(snapshot.SnapshotsRead(uuid=uuid)).snapshots]
        if (how in ("rename", "undefine") and kept) or (how == "drop snapshot" and not kept):
            return
        if how in ("rename", "redefine", "snapshot") and there.state == VmStatus.SAVED:
            # libvirt renames none of them, and what is described otherwise it would forget at the next start.
            return
        self.seen[f"meddling: {how}"] += 1
        self.moved = True
        self.unseen.add(vm.pk)
        if how == "start":
            call(host.HostStart(uuid=uuid))
        elif how == "stop":
            call(host.HostStop(uuid=uuid))
        elif how == "pause":
            call(host.HostPause(uuid=uuid))
        elif how == "save":
            self.world.save_memory(uuid)
        elif how == "undefine":
            call(host.HostDelete(uuid=uuid))
            self._leave(vm.pk, {"domain_missing"})
        elif how == "rename":
            call(guest.HostRename(uuid=uuid, name=f"mine-{vm.pk}"))
            self._leave(vm.pk, {"domain_name"})
        elif how == "snapshot":
            name = f"by-hand-{len(kept)}-{self.number}"
            told = f"<domainsnapshot><name>{name}</name></domainsnapshot>"
            self.world.by_hand(uuid, f'snapshotCreateXML("{told}", 0).getName')
            self._leave(vm.pk, {"snapshot_unmanaged"})
        elif how == "drop snapshot":
            call(snapshot.SnapshotDelete(uuid=uuid, name=kept[-1]))
            self._leave(vm.pk, {"snapshot_missing", "snapshot_unmanaged"})
        else:
            self._redefine(vm)

    def _redefine(self, vm: Vm) -> None:
        spec = host_spec(vm)
        # By hand it is described under the name that it has there, which may be another by now.
        there = self.world.agent.call(host.HostInfo(uuid=spec.uuid))
        name = there.name if there.exists else spec.name
        self.world.agent.call(host.HostCreate(spec=replace(spec, name=name, title="By hand")))
        self.drifted.add(vm.pk)

    @rule(how=st.sampled_from(["at once", "later", "arrives", "arrives twice"]))
    def look(self, how: str) -> None:
        """vmwatch-node makes a picture, which arrives at once or later; or the oldest that is under way arrives."""
        if how == "later":
            self.glances.append(self.world.glance())
            return
        self.moved = True
        if how == "at once" or not self.glances:
            self.glances.clear()
            self.world.deliver(self.world.glance())
            # What was asked for before is refused by the node, not by the panel.
            self.unseen &= {Task.objects.get(pk=pk).object_id or 0 for pk in self.waiting}
        else:
            glance = self.glances.pop(0)
            for _ in range(1 + how.endswith("twice")):
                self.world.deliver(glance)
        self._keep_off()

    # What is always so.

    @invariant()
    def is_right(self) -> None:
        if not self.moved:
            return
        self.moved = False
        assert_right(self.world, open_tasks=set(self.waiting), left=self.left, drifted=self.drifted)

    def teardown(self) -> None:
        """Everything can be deleted, and then nothing is left."""
        if sys.exc_info()[0] is not None:
            return
        if self.waiting:
            self.work()
        self.world.deliver(self.world.glance())
        self._keep_off()
        for vm in Vm.objects.all():
            task = run_task(registry.get("vm.delete").submit(self.world.admin, {}, object_id=vm.pk))
            assert task.status == Status.DONE, task.error
        assert_nothing_left(self.world)

    # How.

    def _name(self) -> str:
        self.number += 1
        return f"vm{self.number}"

    def _vm(self, which: int) -> Vm | None:
        vms = list(Vm.objects.order_by("pk"))
        return vms[which % len(vms)] if vms else None

    def _runs(self, vm: Vm) -> bool:
        there = self.world.domains().get(str(vm.uuid))
        return there is not None and there.state in ON

    def _raw(self, verb: str, vm: Vm, choice: int) -> dict[str, Any] | None:
        """The parameters; None where there is nothing to choose from."""
        disks = list(vm.disks.select_related("volume"))
        interfaces = list(vm.interfaces.all())
        snapshots = list(Snapshot.objects.filter(vm=vm))
        if verb == "adopt-snapshot":
            return {"name": vm.unmanaged_snapshots[0]["name"]} if vm.unmanaged_snapshots else None
        if verb in ("revert-snapshot", "delete-snapshot", "forget-snapshot"):
            return {"snapshot": snapshots[choice % len(snapshots)].pk} if snapshots else None
        if verb in ("grow-disk", "change-disk", "remove-disk") and not disks:
            return None
        if verb in ("remove-interface", "change-interface") and not interfaces:
            return None
        disk = disks[choice % len(disks)] if disks else None
        mac = interfaces[choice % len(interfaces)].mac if interfaces else ""
        configured = ({"title": "Shop"}, {"memory_mib": 192}, {"clock": "localtime"}, {"vcpus": 2}, {"title": ""})
        changes = ({"bus": "scsi"}, {"bus": "virtio"}, {"cache": "writeback"}, {"read_bytes_sec": 1048576 * choice})
        made: dict[str, dict[str, Any]] = {
            "autostart": {"enabled": bool(choice % 2)},
            "suspend": {"timeout_seconds": 0, "reason": "unpaid"},
            "configure": configured[choice % len(configured)],
            "rename": {"name": self._name()},
            "change-owner": {"owner": ("admin", "anna")[choice % 2]},
            "snapshot": {"name": self._name()},
            "clone": {"name": self._name(), "password": "correct horse"},
            "reinstall": {"password": "another horse"},
            "rescue": {"image": "life", "password": "another horse"},
            "add-disk": {"size_gib": 1, "bus": ("virtio", "scsi", "sata")[choice % 3]},
            "grow-disk": {"disk": disk.target, "size_gib": disk.volume.size_gib + 1} if disk else {},
            "change-disk": {"disk": disk.target, **changes[choice % len(changes)]} if disk else {},
            "remove-disk": {"disk": disk.target} if disk else {},
            "remove-interface": {"interface": mac},
            "change-interface": {"interface": mac, "guarded": bool(choice % 2)},
        }
        return made.get(verb, {})

    def _force_off(self, which: int) -> None:
        if (vm := self._vm(which)) is not None and self._runs(vm):
            self._ask("vm.force-off", vm, {}, None, later=False)

    def _operate(
        self, verb: str, vm: Vm, strike: tuple[str, int, str, int] | None, choice: int, *, queue: bool = False
    ) -> Task | None:
        if verb == "clone" and Vm.objects.count() >= MOST_VMS:
            return None
        if (raw := self._raw(verb, vm, choice)) is None:
            return None
        return self._ask(f"vm.{verb}", vm, raw, strike, later=queue, queue=queue)

    def _ask(
        self,
        name: str,
        vm: Vm | None,
        raw: dict[str, Any],
        strike: tuple[str, int, str, int] | None,
        *,
        later: bool,
        queue: bool = False,
    ) -> Task | None:
        """Ask for it; what is refused has no task, what is not refused is carried out now or later."""
        operation = registry.get(name)
        try:
            task = operation.submit(self.world.admin, raw, object_id=vm.pk if vm else None, queue=queue)
        except (RequestError, CapacityError) as error:
            self.seen[f"{name} refused: {error.code}"] += 1
            return None
        except Busy:
            assert self.waiting
            self.seen[f"{name} refused: busy"] += 1
            return None
        if locks.blocker(task):
            self.together |= {
                task.pk,
                *Task.objects.filter(pk__in=self.waiting, object_id=task.object_id).values_list("pk", flat=True),
            }
        self.moved = True
        steps = [step.name for step in operation.steps if not step.inline]
        observer = None
        if strike is not None:
            kind, step, moment, back = strike
            observer = Strike(kind, steps[step % len(steps)], moment, back)
        self.waiting[task.pk] = observer
        if not later:
            # Whatever it waits for, or takes the place of, goes first.
            self.work()
        return task

    def _carry(self, task: Task, strike: Strike | None) -> None:
        """Carry the task to its end, by another worker where one dies."""
        vm = Vm.objects.filter(pk=task.object_id).first()
        if task.operation in ("vm.grow-disk", "vm.change-disk") and vm is not None and self._runs(vm):
            # The test driver says of every disk of a running domain that it has 1 TiB, so none would grow, and limits
            # none, nor back.
            services.cancel(task, self.world.admin)
        self.moved = True
        try:
            ended = run_task(task, strike)
        except Died:
            Task.objects.filter(pk=task.pk).update(lease_until=PAST)
            ended = run_task(task)
        self.seen[f"{task.operation} {ended.status}"] += 1
        self._judge(ended, strike)

    def _judge(self, ended: Task, strike: Strike | None) -> None:
        operation, pk = registry.get(ended.operation), ended.object_id or 0
        if ended.status == Status.DONE:
            if ended.operation in ("vm.repair", "vm.delete"):
                self.left[pk] = self.left.get(pk, set()) - REPAIRED if operation.name == "vm.repair" else set()
                if not self.left[pk]:
                    del self.left[pk]
                self.drifted.discard(pk)
            return
        struck = strike is not None and strike.failed
        # What one asks for, another that waits with it may make impossible: it ends without a trace.
        waited = ended.pk in self.together or ended.status == Status.CANCELLED
        known = pk in self.unseen | self.drifted or pk in self.left
        assert struck or known or waited, f"{ended.title}: {ended.error}"
        if ended.operation in ("vm.suspend", "vm.unsuspend"):
            # It holds, but libvirt may not have been told whether the VM starts with its node.
            self.drifted.add(pk)
        if operation.on_failure == "stop" and (struck or known) and Vm.objects.filter(pk=pk).exists():
            # It goes forward only: whoever asks again has it done.
            self._leave(pk, set(CODES))
            self.drifted.add(pk)

    def _leave(self, pk: int, codes: set[str]) -> None:
        self.left[pk] = self.left.get(pk, set()) | codes

    def _keep_off(self) -> None:
        """The panel itself asks for suspended VMs to be forced off."""
        for task in Task.objects.exclude(status__in=ENDED).exclude(pk__in=self.waiting).order_by("pk"):
            self._carry(task, None)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A node on libvirt's test driver."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    User.objects.create_user("anna", "correct horse")
    made = World(tmp_path, User.objects.create_user("admin", "correct horse", level=Level.SUPER))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.timeout(0 if SEQUENCES else 600)
@pytest.mark.parametrize("part", PARTS)
def test_whatever_happens_a_vm_ends_in_a_state_that_the_panel_knows(world: World, part: str) -> None:
    Life.world = world
    Life.seen.clear()
    try:
        for run in range(RUNS if SEQUENCES else 1):
            print(f"seed {part}.{run}")
            _live(f"{part}.{run}")
    finally:
        print("\n".join(f"{count:6} {what}" for what, count in sorted(Life.seen.items())))
    assert Life.seen["sequences"] >= (RUNS * RUN if SEQUENCES else SAMPLE)
    done = {what for what in Life.seen if what.endswith(" done")}
    assert len(done) >= (15 if SEQUENCES else 8), done


def _live(name: str) -> None:
    chosen = settings(
        max_examples=RUN if SEQUENCES else SAMPLE,
        stateful_step_count=STEPS,
        database=None,
        derandomize=not SEQUENCES,
        phases=[Phase.generate] if SEQUENCES else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_state_machine_as_test(seed(name)(Life) if SEQUENCES else Life, settings=chosen)
