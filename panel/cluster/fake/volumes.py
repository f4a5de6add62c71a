"""Pools, images, volumes and seeds."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from nodeagent import storage as storages
from nodeagent.errors import AgentError
from nodeagent.protocol import BadMessage, Nothing, host, identity, image, storage
from nodeagent.protocol.identity import check_identity
from nodeagent.storage import Driver
from panel.cluster.client import Progress, Report
from panel.cluster.fake.base import Node
from panel.cluster.fake.state import STATES_ON, AgentRefusal, FakeVolume

P = ParamSpec("P")
R = TypeVar("R")


class Volumes(Node):
    """Files, by their places: where the driver of their storage says that they are."""

    def _free(self) -> int:
        return self.capacity_bytes - sum(file.virtual_bytes for file in self.files.values())

    def _pool_state(self, name: str) -> storage.PoolState:
        away, read_only = name in self.unmounted, name in self.read_only
        mark = "" if away else self.marks.get(name, "")
        devices = {} if away else self.devices.get(name, {})
        return storage.PoolState(self.capacity_bytes, self._free(), not read_only, mark, devices, read_only)

    def _checked(self, pool: storage.PoolRef) -> Driver:
        """What says where its volumes are; refuses a pool that is not what the panel knows."""
        driver = refusing(storages.of, pool)
        refusing(driver.refuse_options)
        known, seen = self._known.get(pool.name), self._pool_state(pool.name)
        if known is None or not known.mark:
            return driver
        differs = known.devices is not None and any(
            known.devices.get(name) != seen.devices.get(name) and (name or seen.devices.get(name))
            for name in known.devices
        )
        if seen.mark != known.mark or differs:
            raise _not_mounted(pool, "its mark is gone")
        return driver

    def _check_writable(self, pool: storage.PoolRef) -> None:
        if pool.name in self.read_only:
            raise AgentRefusal("read_only", f"The file system is mounted read-only ({storages.of(pool).where}).")

    def _pool_ensure(self, request: storage.PoolEnsure, _report: Report | None) -> storage.PoolState:
        pool = request.pool
        self._checked(pool)
        if not request.begin and (pool.name in self.unmounted or pool.name not in self.pools):
            raise _not_mounted(pool, "it is not there any more")
        self._check_writable(pool)
        self.pools.add(pool.name)
        self.unmounted.discard(pool.name)
        self.marks.setdefault(pool.name, uuid.uuid4().hex)
        return self._pool_state(pool.name)

    def _pool_info(self, request: storage.PoolInfo, _report: Report | None) -> storage.PoolState:
        self._checked(request.pool)
        if request.pool.name not in self.pools:
            raise AgentRefusal("invalid_params", "There is no pool at this path.", field="path")
        return self._pool_state(request.pool.name)

    def _pool_remove(self, request: storage.PoolRemove, _report: Report | None) -> Nothing:
        self._checked(request.pool)
        there = self._listed(request.pool)
        if there["volumes"] or there.get("seeds"):
            raise AgentRefusal("in_use", "The pool still has volumes.")
        for place in there.get("images", {}).values():
            self.files.pop(place, None)
            self.uploads.pop(place, None)
        self.pools.discard(request.pool.name)
        self.marks.pop(request.pool.name, None)
        return Nothing()

    def _pool_sign(self, request: storage.PoolSign, _report: Report | None) -> Nothing:
        self._check_sign(request.sign)
        self._checked(request.pool)
        if not request.present:
            self.signs.discard((request.pool.name, request.sign))
        elif request.pool.name in self.pools:
            self.signs.add((request.pool.name, request.sign))
        else:
            raise AgentRefusal("invalid_params", "There is no pool at this path.", field="path")
        return Nothing()

    def _pool_sign_status(self, request: storage.PoolSignStatus, _report: Report | None) -> storage.Sight:
        self._check_sign(request.sign)
        self._checked(request.pool)
        return storage.Sight((request.pool.name, request.sign) in self.signs)

    def _check_sign(self, sign: str) -> None:
        if not re.fullmatch(r"[0-9a-f]{32}", sign):
            raise AgentRefusal("invalid_params", "A sign is 32 hexadecimal digits.", field="sign")

    def _pool_list(self, request: storage.PoolList, _report: Report | None) -> storage.PoolFiles:
        self._checked(request.pool)
        there = self._listed(request.pool)
        return storage.PoolFiles(
            files={folder: sorted(names) for folder, names in there.items()},
            sizes={
                name: storage.VolumeSize(
                    file_bytes=file.virtual_bytes, qcow2_bytes=file.virtual_bytes if file.format == "qcow2" else 0
                )
                for name, place in there["volumes"].items()
                if (file := self.files.get(place)) is not None
            },
        )

    def _listed(self, pool: storage.PoolRef) -> dict[str, dict[str, str]]:
        """What lies in the pool: by folder the names with their places."""
        drivers = {"volumes": storages.of(pool)}
        if drivers["volumes"].files is not None:
            for folder in ("images", "seeds"):
                drivers[folder] = storages.of(storage.file_ref(pool, folder, "").pool)
        places = [*self.files, *self.uploads]
        return {
            folder: {name: place for place in places if (name := driver.name_at(place))}
            for folder, driver in drivers.items()
        }

    def _image(self, store: storage.PoolRef, sha256: str) -> str:
        """Where the copy of an image is."""
        self._checked(store)
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise AgentRefusal("invalid_params", "This is not a SHA-256.", field="sha256")
        return storages.place(storage.file_ref(store, "images", f"{sha256}.img"))

    def _image_state(self, store: storage.PoolRef, sha256: str, task: int = 0) -> storage.ImageState:
        place = self._image(store, sha256)
        return storage.ImageState(place in self.files, f"{place.removesuffix('.img')}.{task}.upload")

    def _image_status(self, request: storage.ImageStatus, _report: Report | None) -> storage.ImageState:
        state = self._image_state(request.store, request.sha256, request.task)
        if not state.present:
            self._check_writable(request.store)
        return state

    def _upload_begin(self, request: storage.UploadBegin, _report: Report | None) -> Nothing:
        self._check_writable(request.store)
        self.uploads[self._image_state(request.store, request.sha256, request.task).upload_path] = b""
        return Nothing()

    def _image_commit(self, request: storage.ImageCommit, _report: Report | None) -> storage.ImageState:
        state = self._image_state(request.store, request.sha256, request.task)
        self._check_writable(request.store)
        content = self.uploads.pop(state.upload_path, None)
        if state.present:
            return state
        if content is None:
            raise AgentRefusal("invalid_params", "The image was not uploaded.", field="sha256")
        if hashlib.sha256(content).hexdigest() != request.sha256:
            raise AgentRefusal("corrupt", "The image arrived with another checksum than it left with.")
        if reason := image.refusal(content[: image.HEAD_BYTES], "raw"):
            raise AgentRefusal("invalid_params", reason, field="sha256")
        self.files[self._image(request.store, request.sha256)] = _disk(content)
        return self._image_state(request.store, request.sha256, request.task)

    def _images_tidy(self, request: storage.ImagesTidy, _report: Report | None) -> storage.Tidied:
        self._checked(request.store)
        kept = {self._image(request.store, sha256) for sha256 in request.keep}
        for domain in self.domains.values():
            kept |= {storages.place(each) for each in (*domain.spec.cdroms, *domain.now.cdroms)}
        old = time.time() - request.age_seconds
        unneeded = [
            place
            for place in self._listed(request.store)["images"].values()
            if place in self.files and place not in kept and self.files[place].changed_at <= old
        ]
        for place in unneeded:
            del self.files[place]
        return storage.Tidied(removed=sorted(Path(place).stem for place in unneeded))

    def _upload_delete(self, request: storage.UploadDelete, _report: Report | None) -> Nothing:
        self.uploads.pop(self._image_state(request.store, request.sha256, request.task).upload_path, None)
        return Nothing()

    def _place(self, volume: storage.VolumeRef) -> str:
        """Where the volume is; refuses what can be none."""
        refusing(storages.refuse, volume)
        self._checked(volume.pool)
        return storages.place(volume)

    def _volume_state(self, path: str, kind: str = "") -> storage.VolumeState:
        """A volume of this format; whatever it is, it can be read as a raw one."""
        file = self.files.get(path)
        if file is None:
            return storage.VolumeState(exists=False)
        if kind not in ("", "raw", file.format):
            raise AgentRefusal("command_failed", f"qemu-img ended with 1: Image is not in {kind} format")
        return storage.VolumeState(True, file.format, file.virtual_bytes, file.virtual_bytes)

    def _check_format(self, volume: storage.VolumeRef, kind: str) -> None:
        refusing(storages.of, volume.pool)
        refusing(storages.of(volume.pool).check_format, kind)

    def _volume_copy(self, request: storage.VolumeCopy, report: Report | None) -> storage.VolumeState:
        self._check_format(request.volume, request.format)
        path = self._place(request.volume)
        self._check_writable(request.volume.pool)
        copy = self.files.get(self._image(request.store, request.image_sha256))
        if path not in self.files:
            if copy is None:
                raise AgentRefusal("invalid_params", "The pool has no copy of this image.", field="image_sha256")
            if report is not None:
                report(Progress(copy.virtual_bytes, copy.virtual_bytes))
            self.files[path] = FakeVolume(request.format, copy.virtual_bytes)
        return self._volume_state(path)

    def _volume_create(self, request: storage.VolumeCreate, _report: Report | None) -> storage.VolumeState:
        self._check_format(request.volume, request.format)
        path = self._place(request.volume)
        self._check_writable(request.volume.pool)
        there = self.files.get(path)
        if there is not None and there.virtual_bytes != request.size_bytes:
            raise AgentRefusal("exists", "A volume of another size is there already.")
        self.files[path] = FakeVolume(request.format, request.size_bytes)
        return self._volume_state(path)

    def _volume_grow(self, request: storage.VolumeGrow, _report: Report | None) -> storage.VolumeState:
        self._check_format(request.volume, request.format)
        path = self._place(request.volume)
        file = self.files.get(path)
        if file is None:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="volume")
        self._volume_state(path, request.format)
        if file.virtual_bytes < request.size_bytes:
            self._refuse_built_upon(path)
        file.virtual_bytes = max(file.virtual_bytes, request.size_bytes)
        return self._volume_state(path)

    def _volume_info(self, request: storage.VolumeInfo, _report: Report | None) -> storage.VolumeState:
        self._check_format(request.volume, request.format or "raw")
        path = self._place(request.volume)
        return self._volume_state(path, request.format)

    def _uses(self) -> list[storage.VolumeUse]:
        found: set[storage.VolumeUse] = set()
        for vm, domain in self.domains.items():
            for spec in (domain.spec, domain.now) if domain.state in STATES_ON else (domain.spec,):
                drives = [(f"sd{chr(ord('a') + number)}", seed) for number, seed in enumerate(spec.cdroms)]
                drives += [(host.ISO_TARGET, spec.iso)] if spec.iso else []
                for target, ref in [*((disk.target, disk.volume) for disk in spec.disks), *drives]:
                    own = storages.place(ref)
                    for place, backing in [(own, False), *((each, True) for each in self._below(own))]:
                        found.add(storage.VolumeUse(place, vm, domain.spec.name, target, backing))
        return sorted(found, key=lambda each: (each.place, each.uuid, each.target, each.backing))

    def _below(self, path: str) -> list[str]:
        found: list[str] = []
        while path in self.files and (path := self.files[path].backing):
            found.append(path)
        return found

    def _uses_read(self, request: storage.UsesRead, _report: Report | None) -> storage.VolumeUses:
        every, places = not (request.volumes or request.uuid), [storages.place(each) for each in request.volumes]
        uses = [each for each in self._uses() if every or each.place in places or each.uuid == request.uuid]
        return storage.VolumeUses(uses)

    def _refuse_used(self, path: str) -> None:
        for use in self._uses() if path in self.files else []:
            if use.place == path:
                how = f"{'below ' if use.backing else ''}the disk {use.target} of the domain “{use.domain}”"
                text = f"“{Path(path).name}” is {how}. It is not deleted."
                raise AgentRefusal("in_use", text, domain=use.domain)
        if path in self.volumes_received.values():
            text = f"The process 1 (qemu-nbd) has “{Path(path).name}” open. It is not deleted."
            raise AgentRefusal("in_use", text)
        if path in self.opened:
            raise AgentRefusal("in_use", f"A guest of another host has “{Path(path).name}” open. It is not deleted.")

    def _refuse_built_upon(self, path: str) -> None:
        for use in self._uses():
            if use.place == path and use.backing:
                text = f"“{Path(path).name}” is what the disk {use.target} of the domain “{use.domain}” builds upon."
                raise AgentRefusal("in_use", f"{text} It is not changed.", domain=use.domain)

    def _volume_delete(self, request: storage.VolumeDelete, _report: Report | None) -> Nothing:
        path = self._place(request.volume)
        self._refuse_used(path)
        self.files.pop(path, None)
        return Nothing()

    def _volume_customize(self, request: identity.VolumeCustomize, _report: Report | None) -> Nothing:
        self._check_format(request.volume, request.format)
        path = self._place(request.volume)
        self._check_identity(request.guest)
        if path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="volume")
        self._refuse_built_upon(path)
        return Nothing()

    def _check_identity(self, guest: identity.GuestIdentity) -> None:
        try:
            check_identity(guest)
        except BadMessage as error:
            raise AgentRefusal("invalid_params", str(error), field=error.field) from error

    def _seed_create(self, request: identity.SeedCreate, _report: Report | None) -> storage.VolumeState:
        path = self._seed(request.seed)
        self._check_writable(request.seed.pool)
        self._check_identity(request.guest)
        guest = request.guest
        if request.keep_from:
            if (known := self.seeds.get(self._seed(request.keep_from))) is not None:
                guest = identity.keeping(guest, known[1], keys=request.keep_keys)
            if not guest.password_hash and not guest.ssh_keys:
                raise AgentRefusal("invalid_params", identity.NOBODY_ENTERS, field="guest")
        self.files[path] = FakeVolume("raw", 400 * 1024)
        self.seeds[path] = (request.instance_id, guest)
        return self._volume_state(path)

    def _seed(self, seed: storage.VolumeRef) -> str:
        """Where the seed is; refuses what can be none."""
        place = self._place(seed)
        if seed.pool.options.get("folder") != "seeds":
            raise AgentRefusal("invalid_params", "This is not a seed.", field="seed")
        return place

    def _seed_delete(self, request: identity.SeedDelete, _report: Report | None) -> Nothing:
        path = self._seed(request.seed)
        self._refuse_used(path)
        self.files.pop(path, None)
        self.seeds.pop(path, None)
        return Nothing()


def refusing(act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What the agent's own function answers; its error becomes a refusal."""
    try:
        return act(*args, **kwargs)
    except AgentError as error:
        raise AgentRefusal(error.code, error.message, **error.data) from error


def _not_mounted(pool: storage.PoolRef, reason: str) -> AgentRefusal:
    return AgentRefusal(
        "not_mounted",
        f"The storage at {storages.of(pool).where} is not mounted: {reason}.",
        path=storages.of(pool).where,
    )


def _disk(content: bytes) -> FakeVolume:
    """An image's format and size, as qemu-img would find them."""
    if content[:4] == b"QFI\xfb":
        return FakeVolume("qcow2", int.from_bytes(content[24:32], "big"))
    return FakeVolume("raw", len(content))
