"""VMs live through thousands of sequences of operations, deaths and meddling; what is always so holds after each.

The operations, the engine and the database are the panel's, the agent is the real one on libvirt's test driver
(life.py); striking.py has the deaths, meddling.py what is done by hand, always.py what is always so.
VMPANEL_LIFE=N tries N sequences (rounded up to hundreds) instead of the sample of each run, in parts that processes
can share; VMPANEL_LIFE_SEED chooses others. script/life does a night's run of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from panel.accounts.models import Level, User
from panel.core.errors import Busy, CapacityError, Drifted, RequestError
from panel.doctor.findings import CODES
from panel.tasks import locks, registry, services
from panel.tasks.models import ENDED, Status, Task
from panel.vms.models import Snapshot, Vm
from tests.db.conftest import run_task
from tests.db.vms.always import ON, assert_nothing_left, assert_right
from tests.db.vms.life import Glance, World
from tests.db.vms.meddling import LOSES_OVERLAYS, Meddling
from tests.db.vms.striking import STRIKES, Died, Drawn, Strike

SEQUENCES = int(os.environ.get("VMPANEL_LIFE", "0"))
SEED = int(os.environ.get("VMPANEL_LIFE_SEED", "1"))
SAMPLE = 8
RUN = 10
"""So many sequences come from one seed: Hypothesis makes its later ones by changing its earlier ones a little."""
RUNS = 10
PARTS = [f"{SEED}.{number}" for number in range(-(-SEQUENCES // (RUN * RUNS)))] or ["sample"]
"""What is tried, by seed; the sample is the same each time."""
STEPS = 10
SETTLING = st.fixed_dictionaries({"stop_others": st.booleans(), "delete_others": st.booleans()})
MOST_VMS = 3
PAST = "2000-01-01T00:00:00Z"
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
FAULT = "a fault of its own"
"""What the engine says of an exception that nobody foresaw."""


class Life(Meddling):
    """What may happen, in any order: what the panel is asked for, and what is done by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[int, Strike | None] = {}
        self.together: set[int] = set()
        self.about: dict[int, int] = {}
        self.glances: list[Glance] = []
        self.seen["sequences"] += 1
        self.create(None)

    # What the panel is asked for.

    @precondition(lambda self: Vm.objects.count() < MOST_VMS)
    @rule(strike=STRIKES)
    def create(self, strike: Drawn | None) -> None:
        raw = {"name": self._name(), "image": "life", "memory_mib": 128, "vcpus": 1, "disk_gib": 1}
        self._ask("vm.create", None, {**raw, "password": "correct horse"}, strike, later=False)

    @rule(which=st.integers(0, 2), verb=st.sampled_from(POWER), strike=STRIKES, later=st.booleans())
    def power(self, which: int, verb: str, strike: Drawn | None, later: bool) -> None:
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
    def operate(self, which: int, verb: str, strike: Drawn | None, choice: int, off: bool) -> None:
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
        asked: list[tuple[str, Drawn | None, int]],
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

    @rule(which=st.integers(0, 2), raw=SETTLING, strike=STRIKES)
    def settle(self, which: int, raw: dict[str, bool], strike: Drawn | None) -> None:
        """A person says that it lives where it is."""
        vm = self._vm(which)
        if vm is not None and vm.pk in self.away | self.strayed and (place := self.world.seat(vm)) is not None:
            self._ask("vm.settle", vm, {"node": place.name, **raw}, strike, later=False)

    @rule(how=st.sampled_from(["at once", "later", "arrives", "arrives twice"]))
    def look(self, how: str) -> None:
        """vmwatch-node makes a full report, which arrives at once or later; or the oldest that is under way arrives."""
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
        self._assert_kept()
        assert_right(
            self.world,
            open_tasks=set(self.waiting),
            left=self._excuses(),
            drifted=set(self.left) | self.drifted | self.away,
            overlaid=self.overlays,
            lost=self.lost,
            litter=self._litter(),
        )

    def teardown(self) -> None:
        """Everything can be deleted, and then nothing is left."""
        if sys.exc_info()[0] is not None:
            return
        if self.waiting:
            self.work()
        self.world.deliver(self.world.glance())
        self._keep_off()
        for vm in Vm.objects.all():
            if vm.pk in self.away | self.strayed and (place := self.world.seat(vm)) is not None:
                self._succeed("vm.settle", vm, {"node": place.name})
            self._succeed("vm.delete", vm, {})
        assert_nothing_left(self.world)

    def _succeed(self, name: str, vm: Vm, raw: dict[str, Any]) -> None:
        task = run_task(registry.get(name).submit(self.world.admin, raw, object_id=vm.pk))
        assert task.status == Status.DONE, task.error
        self._judge(task, None)

    # How.

    def _name(self) -> str:
        self.number += 1
        return f"vm{self.number}"

    def _runs(self, vm: Vm) -> bool:
        there = self.world.at(vm).domains().get(str(vm.uuid))
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
            "repair": {"discard_newer": choice == 0},
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

    def _operate(self, verb: str, vm: Vm, strike: Drawn | None, choice: int, *, queue: bool = False) -> Task | None:
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
        strike: Drawn | None,
        *,
        later: bool,
        queue: bool = False,
    ) -> Task | None:
        """Ask for it; what is refused has no task, what is not refused is carried out now or later."""
        operation = registry.get(name)
        try:
            task = operation.submit(self.world.admin, raw, object_id=vm.pk if vm else None, queue=queue)
        except (RequestError, CapacityError, Drifted) as error:
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
        if vm is not None:
            self.about[task.pk] = vm.pk
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
        # A clone's task is about the new VM in the end.
        operation, pk = registry.get(ended.operation), self.about.get(ended.pk, ended.object_id or 0)
        if ended.status == Status.DONE:
            self._done(ended.operation, pk, ended.params)
            return
        message = (ended.error or {}).get("message", "")
        assert FAULT not in message, message
        struck = strike is not None and strike.failed
        # What one asks for, another that waits with it may make impossible: it ends without a trace.
        waited = ended.pk in self.together or ended.status == Status.CANCELLED
        known = self._known(pk)
        assert struck or known or waited, f"{ended.title}: {ended.error}"
        if ended.operation in ("vm.suspend", "vm.unsuspend"):
            # It holds, but libvirt may not have been told whether the VM starts with its node.
            self.drifted.add(pk)
        if ended.operation == "vm.delete" and pk in self.overlays:
            # Whoever asks for it again has what is left of it deleted, or finds it.
            self.litter[pk] = self.overlays.pop(pk).path
        if operation.on_failure == "stop" and (struck or known) and Vm.objects.filter(pk=pk).exists():
            # It goes forward only: whoever asks again has it done.
            self._leave(pk, set(CODES))
            self.drifted.add(pk)

    def _done(self, name: str, pk: int, raw: dict[str, Any]) -> None:
        """What follows of it for what was done by hand."""
        if pk in self.away:
            self.seen[f"away: {name} done"] += 1
        assert pk not in self.overlays or name not in LOSES_OVERLAYS, name
        if name == "vm.settle":
            self._settled(pk, raw)
        if name in ("vm.repair", "vm.delete"):
            assert name == "vm.delete" or pk not in self.overlays or raw.get("discard_newer")
            self._give_up_overlay(pk, kept=name == "vm.repair")
            self.left[pk] = self.left.get(pk, set()) - REPAIRED if name == "vm.repair" else set()
            if not self.left[pk]:
                del self.left[pk]
            self.drifted.discard(pk)
        self._forget_lost()

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
