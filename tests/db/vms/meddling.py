"""What people do to VMs with virsh and on nodes' disks, as moves of a VM's life (test_life.py), and what is to survive.

What a person made stays as he made it until he takes it back, or asks for what is said to lose it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from nodeagent import storage as storages
from nodeagent.protocol import guest, host, snapshot, storage
from nodeagent.xml.describe import port_name
from panel.storage.models import Volume
from panel.tasks.models import ENDED, Task
from panel.vms.models import Interface, Vm, VmStatus
from panel.vms.spec import domain_spec
from tests.db.vms.always import ON
from tests.db.vms.life import Place, World

DOMAINS = ("start", "stop", "pause", "save", "undefine", "rename", "redefine", "snapshot", "drop snapshot")
FILES = ("lose a file", "overlay", "move", "move a copy", "commit", "find it")
WHEN_ON, WHEN_OFF = ("stop", "pause", "save"), ("undefine", "rename", "lose a file")
NOT_SAVED = ("rename", "redefine", "snapshot", "overlay", "commit", "move", "move a copy")
"""libvirt does none of them, and what is described otherwise it would forget at the next start."""
WITHOUT_SNAPSHOTS = ("rename", "undefine", "move", "move a copy")
AT_HOME = ("undefine", "redefine", "lose a file", "find it")
AS_DESCRIBED = ("undefine", "redefine")
"""Not where an overlay would be lost by it: that is the person's own doing."""
ELSEWHERE = {"moved", "domain_elsewhere", "domain_missing", "file_missing"}
LOSES_OVERLAYS = {f"vm.{verb}" for verb in ("snapshot", "revert-snapshot", "clone", "reinstall", "rescue")}
READ = "Path({file!r}).write_text(domain.XMLDesc(3))"
FORGET = """
    if domain.isActive():
        domain.destroy()
    domain.undefineFlags(1)
    return absent(request.uuid)"""
ARRIVE = """
    if {state!r} in ("running", "paused"):
        domain.create()
    if {state!r} == "paused":
        domain.suspend()"""
GO_ON_IN = """
    state, text = domain.state()[0], domain.XMLDesc(3).replace({old!r}, {new!r})
    if domain.isActive():
        domain.destroy()
    conn.defineXML(text)
    if state in (1, 3):
        domain.create()
    if state == 3:
        domain.suspend()"""
SNAPSHOT = 'domain.snapshotCreateXML("<domainsnapshot><name>{}</name></domainsnapshot>", 0)'


@dataclass(frozen=True)
class Scene:
    """A VM's domain, where it really is, with libvirt's names of its snapshots."""

    vm: Vm
    place: Place
    there: host.HostState
    snapshots: list[str]
    home: bool

    @property
    def uuid(self) -> str:
        """The VM's."""
        return str(self.vm.uuid)

    @property
    def disks(self) -> list[str]:
        """The panel's volumes that the domain has, and that are there."""
        own = {volume.place for volume in Volume.objects.filter(disk__vm=self.vm).select_related("pool")}
        uses = self.place.call(storage.UsesRead(uuid=self.uuid)).uses
        named = {each.place for each in uses if not each.backing} & own
        return sorted(path for path in named if self.place.outside(path).exists())


@dataclass(frozen=True)
class Overlay:
    """A file in which a disk goes on, and what is in the two."""

    base: str
    path: str
    content: tuple[str, str]


@dataclass(frozen=True)
class Lost:
    """A disk's file that somebody removed, and where it is kept from the panel."""

    path: str
    stash: Path


class Meddling(RuleBasedStateMachine):
    """What may be done by hand, in any order."""

    world: ClassVar[World]
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.world.clear()
        self.mine = self.world.folder / "mine"
        shutil.rmtree(self.mine, ignore_errors=True)
        self.mine.mkdir()
        self.number = 0
        self.left: dict[int, set[str]] = {}
        """What the doctor may say of a VM, by its number."""
        self.drifted: set[int] = set()
        self.unseen: set[int] = set()
        self.overlays: dict[int, Overlay] = {}
        self.committed: set[int] = set()
        """VMs without an overlay by now, which the panel has yet to see."""
        self.away: set[int] = set()
        self.strayed: set[int] = set()
        """VMs that are back from where the panel may have seen them run last."""
        self.copies: dict[int, tuple[Place, list[str]]] = {}
        self.lost: dict[int, Lost] = {}
        self.litter: dict[int, str] = {}
        """What was an overlay of VMs whose deletion stopped half way."""
        self.moved = True

    @rule(which=st.integers(0, 2), choice=st.integers(0, 11))
    def meddle(self, which: int, choice: int) -> None:
        """Somebody does it with virsh, or the guest itself."""
        self._act(which, choice, DOMAINS)

    @rule(which=st.integers(0, 2), choice=st.integers(0, 11), off=st.booleans())
    def rearrange(self, which: int, choice: int, off: bool) -> None:
        """Somebody does it to the VM's files, or brings them and it to the other node; some is done to those off."""
        if off and (scene := self._scene(which)) is not None and scene.there.state in ON:
            self.moved = True
            self.unseen.add(scene.vm.pk)
            self._stop(scene)
        self._act(which, choice, FILES)

    def _act(self, which: int, choice: int, acts: tuple[str, ...]) -> None:
        if (scene := self._scene(which)) is None:
            return
        if not (possible := [how for how in acts if self._may(how, scene)]):
            return
        how = possible[choice % len(possible)]
        note(f"{how}: {scene.vm}")
        self.seen[f"meddling: {how}"] += 1
        self.number += 1
        self.moved = True
        self.unseen.add(scene.vm.pk)
        ACTS[how](self, scene)

    @rule()
    def check(self) -> None:
        """The nodes are checked: what differs is known, and what does not any more."""
        self.moved = True
        self.world.check()
        held = set(Task.objects.exclude(status__in=ENDED).values_list("object_id", flat=True))
        for vm in Vm.objects.exclude(pk__in=held | self.away):
            if not vm.drift:
                self.committed.discard(vm.pk)
            assert vm.pk not in self.overlays or any("disk " in each["field"] for each in vm.drift), vm.drift

    def _vm(self, which: int) -> Vm | None:
        vms = list(Vm.objects.order_by("pk"))
        return vms[which % len(vms)] if vms else None

    def _scene(self, which: int) -> Scene | None:
        vm = self._vm(which)
        if vm is None or not vm.installed or (place := self.world.seat(vm)) is None:
            return None
        uuid = str(vm.uuid)
        kept = [each.name for each in place.call(snapshot.SnapshotsRead(uuid=uuid)).snapshots]
        return Scene(vm, place, place.domains()[uuid], kept, place is self.world.at(vm))

    def _may(self, how: str, scene: Scene) -> bool:
        """Whether libvirt does it, and a person would."""
        pk, state = scene.vm.pk, scene.there.state
        wrong = (
            how in (WHEN_OFF if state in ON else WHEN_ON),
            how in NOT_SAVED and state == VmStatus.SAVED,
            how in WITHOUT_SNAPSHOTS and scene.snapshots,
            how in AT_HOME and not scene.home,
            how in AS_DESCRIBED and pk in self.overlays,
            how == "drop snapshot" and not scene.snapshots,
            how == "overlay" and (pk in self.overlays or not scene.disks),
            how == "commit" and pk not in self.overlays,
            how == "lose a file" and (pk in {*self.overlays, *self.lost, *self.strayed} or not scene.disks),
            how == "find it" and pk not in self.lost,
            how.startswith("move") and pk in self.lost,
        )
        return not any(wrong)

    def _leave(self, pk: int, codes: set[str]) -> None:
        self.left[pk] = self.left.get(pk, set()) | codes

    def _excuses(self) -> dict[int, set[str]]:
        """What the doctor may say of VMs, by their numbers."""
        found = {pk: set(codes) for pk, codes in self.left.items()}
        causes: tuple[tuple[set[int], set[str]], ...] = (
            (self.away, ELSEWHERE),
            (self.strayed, {"moved"}),
            ({*self.overlays, *self.committed, *self.drifted}, {"domain_differs"}),
            (set(self.lost), {"file_missing"}),
        )
        for vms, codes in causes:
            for pk in vms:
                found[pk] = found.get(pk, set()) | codes
        return found

    def _litter(self) -> dict[str, set[str]]:
        """What may lie about: of deletions that stopped half way, and of VMs whose settling did."""
        left = [*self.litter.values(), *(path for _, files in self.copies.values() for path in files)]
        ports = Interface.objects.filter(vm__in=self.away).values_list("mac", flat=True)
        found = {f"file {path}": {"file_foreign"} for path in left}
        return found | {f"port {port_name(mac)}": {"guard_foreign"} for mac in ports}

    def _known(self, pk: int) -> bool:
        """Whether somebody did something to the VM that may be in the way of what is asked for."""
        return pk in {*self.unseen, *self.drifted, *self.left, *self.away, *self.strayed, *self.overlays, *self.lost}

    # The moves.

    def _start(self, scene: Scene) -> None:
        scene.place.call(host.HostStart(uuid=scene.uuid))

    def _stop(self, scene: Scene) -> None:
        scene.place.call(host.HostStop(uuid=scene.uuid))

    def _pause(self, scene: Scene) -> None:
        scene.place.call(host.HostPause(uuid=scene.uuid))

    def _save(self, scene: Scene) -> None:
        scene.place.by_hand(scene.uuid, "domain.managedSave()")

    def _undefine(self, scene: Scene) -> None:
        scene.place.by_hand(scene.uuid, FORGET)
        self._leave(scene.vm.pk, {"domain_missing"})

    def _rename(self, scene: Scene) -> None:
        scene.place.call(guest.HostRename(uuid=scene.uuid, name=f"mine-{scene.vm.pk}"))
        self._leave(scene.vm.pk, {"domain_name"})

    def _redefine(self, scene: Scene) -> None:
        # By hand it is described under the name that it has there, which may be another by now.
        spec = replace(domain_spec(scene.vm), name=scene.there.name, title="By hand")
        scene.place.call(host.HostCreate(spec=spec))
        self.drifted.add(scene.vm.pk)

    def _snapshot(self, scene: Scene) -> None:
        scene.place.by_hand(scene.uuid, SNAPSHOT.format(f"by-hand-{len(scene.snapshots)}-{self.number}"))
        self._leave(scene.vm.pk, {"snapshot_unmanaged"})

    def _drop_snapshot(self, scene: Scene) -> None:
        scene.place.call(snapshot.SnapshotDelete(uuid=scene.uuid, name=scene.snapshots[-1]))
        self._leave(scene.vm.pk, {"snapshot_missing", "snapshot_unmanaged"})

    # An overlay, as by virsh snapshot-create-as --disk-only, and virsh blockcommit.

    def _overlay(self, scene: Scene) -> None:
        base = scene.disks[self.number % len(scene.disks)]
        folder = Path(base).parent if self.number % 3 else self.mine
        path = f"{folder}/{Path(base).stem}.by-hand"
        _in(scene.place, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", path)
        _in(scene.place, "qemu-io", "-f", "qcow2", "-c", "write -q -P 0x5a 0 64k", path)
        self._go_on_in(scene, base, path)
        self.overlays[scene.vm.pk] = Overlay(base, path, (_digest(scene.place, base), _digest(scene.place, path)))

    def _commit(self, scene: Scene) -> None:
        overlay = self.overlays.pop(scene.vm.pk)
        self.committed.add(scene.vm.pk)
        _in(scene.place, "qemu-img", "commit", "-q", "-f", "qcow2", overlay.path)
        self._go_on_in(scene, overlay.path, overlay.base)
        scene.place.outside(overlay.path).unlink()
        _in(scene.place, "qemu-io", "-f", "qcow2", "-c", "read -q -P 0x5a 0 64k", overlay.base)

    def _go_on_in(self, scene: Scene, old: str, new: str) -> None:
        """The test driver changes no running domain: it is started anew, between two looks."""
        scene.place.by_hand(scene.uuid, GO_ON_IN.format(old=f"'{old}'", new=f"'{new}'"))

    def _assert_kept(self) -> None:
        """What is in overlays is as the guest left it, and so is what it builds upon; the domain goes on in it."""
        for pk, overlay in self.overlays.items():
            vm = Vm.objects.get(pk=pk)
            place = self.world.seat(vm)
            assert place is not None, f"{vm} went on in {overlay.path}, and has no domain any more"
            assert (_digest(place, overlay.base), _digest(place, overlay.path)) == overlay.content
            uses = place.call(storage.UsesRead(uuid=str(vm.uuid))).uses
            assert overlay.path in {each.place for each in uses if not each.backing}, f"{vm}: {uses}"

    def _give_up_overlay(self, pk: int, *, kept: bool) -> None:
        """It was asked for that what is in the overlay is lost; the person clears the file away where it was kept."""
        overlay = self.overlays.pop(pk, None)
        path = overlay.path if overlay is not None else self.litter.pop(pk, "")
        there = [file for place in self.world.places if path and (file := place.outside(path)).exists()]
        assert there or overlay is None or not (kept or path.startswith(str(self.mine))), path
        for file in there:
            file.unlink(missing_ok=True)

    # A move to the other node, as by virsh migrate, or back.

    def _move(self, scene: Scene) -> None:
        self._bring(scene, leave=False)

    def _move_a_copy(self, scene: Scene) -> None:
        self._bring(scene, leave=scene.home)

    def _bring(self, scene: Scene, *, leave: bool) -> None:
        pk, place = scene.vm.pk, scene.place
        target = self.world.second() if place is self.world.first else self.world.first
        text = self.mine / "domain.xml"
        uses = {each.place for each in place.call(storage.UsesRead(uuid=scene.uuid)).uses}
        place.by_hand(scene.uuid, READ.format(file=str(text)))
        place.by_hand(scene.uuid, FORGET)
        files = sorted(path for path in uses if _bring_file(path, place, target, leave=leave))
        target.by_hand(
            scene.uuid, ARRIVE.format(state=scene.there.state), find=f"conn.defineXML(Path({str(text)!r}).read_text())"
        )
        left, old = self.copies.pop(pk, (target, []))
        for path in set(old) - set(files):
            # What was committed meanwhile does not come back.
            left.outside(path).unlink(missing_ok=True)
        if leave:
            self.copies[pk] = (place, files)
        if scene.home:
            self.away.add(pk)
        else:
            self.away.discard(pk)
            self.strayed.add(pk)

    def _settled(self, pk: int, raw: dict[str, Any]) -> None:
        """It lives where it is; what was left on the other node was kept unless it was to be deleted."""
        self.away.discard(pk)
        self.strayed.discard(pk)
        place, files = self.copies.pop(pk, (self.world.first, []))
        own = {volume.place for volume in Volume.objects.filter(disk__vm=pk).select_related("pool")}
        for path in files:
            file = place.outside(path)
            assert file.exists() or raw.get("delete_others"), path
            assert not (path in own and file.exists() and raw.get("delete_others")), path
            file.unlink(missing_ok=True)
        vm = Vm.objects.select_related("pool").get(pk=pk)
        for other in self.world.places:
            if other is not self.world.at(vm):
                # The domain of a VM in rescue mode does not name it, so it was not brought along.
                other.outside(storages.place(vm.seed_ref)).unlink(missing_ok=True)

    # A file is lost, and comes back or does not.

    def _lose(self, scene: Scene) -> None:
        path = scene.disks[self.number % len(scene.disks)]
        stash = self.mine / f"lost-{scene.vm.pk}"
        shutil.move(scene.place.outside(path), stash)
        self.lost[scene.vm.pk] = Lost(path, stash)

    def _find(self, scene: Scene) -> None:
        lost = self.lost.pop(scene.vm.pk)
        shutil.move(lost.stash, scene.place.outside(lost.path))

    def _forget_lost(self) -> None:
        """What is not any VM's disk any more does not come back."""
        volumes = Volume.objects.filter(disk__vm__in=self.lost).select_related("pool", "disk")
        wanted = {(volume.disk.vm_id, volume.place) for volume in volumes}
        for pk in [pk for pk, lost in self.lost.items() if (pk, lost.path) not in wanted]:
            self.lost.pop(pk).stash.unlink()


ACTS: dict[str, Callable[[Any, Scene], None]] = {
    "start": Meddling._start,
    "stop": Meddling._stop,
    "pause": Meddling._pause,
    "save": Meddling._save,
    "undefine": Meddling._undefine,
    "rename": Meddling._rename,
    "redefine": Meddling._redefine,
    "snapshot": Meddling._snapshot,
    "drop snapshot": Meddling._drop_snapshot,
    "overlay": Meddling._overlay,
    "commit": Meddling._commit,
    "move": Meddling._move,
    "move a copy": Meddling._move_a_copy,
    "lose a file": Meddling._lose,
    "find it": Meddling._find,
}


def _in(place: Place, *argv: str) -> None:
    """Run a program that sees the node's files."""
    pid: Any = place.agent.link().hello["pid"]
    subprocess.run(["nsenter", f"--mount=/proc/{pid}/ns/mnt", *argv], check=True, capture_output=True)


def _digest(place: Place, path: str) -> str:
    return hashlib.sha256(place.outside(path).read_bytes()).hexdigest()


def _bring_file(path: str, source: Place, target: Place, *, leave: bool) -> bool:
    """The file is on the other node; answers whether it is one of the VM's own in the pool."""
    here, there = source.outside(path), target.outside(path)
    if here == there or not here.exists():
        return False
    if here.parent.name == "images":
        if not there.exists():
            shutil.copy2(here, there)
        return False
    shutil.copy2(here, there)
    if not leave:
        here.unlink()
    return True
