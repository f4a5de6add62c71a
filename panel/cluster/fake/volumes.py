"""Pools, images, volumes and seeds."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from pathlib import Path

from nodeagent.protocol import BadMessage, Nothing, host, image, storage
from nodeagent.protocol.storage import check_identity
from panel.cluster.client import Progress, Report
from panel.cluster.fake.base import Node
from panel.cluster.fake.state import STATES_ON, AgentRefusal, FakeVolume


class Volumes(Node):
    """Files, by their paths."""

    def _free(self) -> int:
        return self.capacity_bytes - sum(file.virtual_bytes for file in self.files.values())

    def _pool_state(self, path: str) -> storage.PoolState:
        away, read_only = path in self.unmounted, path in self.read_only
        mark = "" if away else self.marks.get(path, "")
        devices = {} if away else self.devices.get(path, {})
        return storage.PoolState(path, self.capacity_bytes, self._free(), not read_only, mark, devices, read_only)

    def _check_pool(self, path: str) -> None:
        if not path.startswith("/") or ".." in path.split("/") or len(Path(path).parts) < 3:
            raise AgentRefusal("invalid_params", "A pool must be an absolute path of two folders.", field="path")
        known, seen = self._known.get(path), self._pool_state(path)
        if known is None or not known.mark:
            return
        differs = known.devices is not None and any(
            known.devices.get(name) != seen.devices.get(name) and (name or seen.devices.get(name))
            for name in known.devices
        )
        if seen.mark != known.mark or differs:
            raise AgentRefusal("not_mounted", f"The storage at {path} is not mounted: its mark is gone.", path=path)

    def _check_writable(self, path: str) -> None:
        if path in self.read_only:
            raise AgentRefusal("read_only", f"The file system is mounted read-only ({path}).")

    def _pool_ensure(self, request: storage.PoolEnsure, _report: Report | None) -> storage.PoolState:
        self._check_pool(request.path)
        if not request.begin and (request.path in self.unmounted or request.path not in self.pools):
            raise AgentRefusal("not_mounted", f"The storage at {request.path} is not mounted.", path=request.path)
        self._check_writable(request.path)
        self.pools.add(request.path)
        self.unmounted.discard(request.path)
        self.marks.setdefault(request.path, uuid.uuid4().hex)
        return self._pool_state(request.path)

    def _pool_info(self, request: storage.PoolInfo, _report: Report | None) -> storage.PoolState:
        self._check_pool(request.path)
        if request.path not in self.pools:
            raise AgentRefusal("invalid_params", "There is no pool at this path.", field="path")
        return self._pool_state(request.path)

    def _pool_remove(self, request: storage.PoolRemove, _report: Report | None) -> Nothing:
        self._check_pool(request.path)
        if any(path.startswith((f"{request.path}/volumes/", f"{request.path}/seeds/")) for path in self.files):
            raise AgentRefusal("in_use", "The pool still has volumes.")
        for path in [path for path in self.files if path.startswith(f"{request.path}/")]:
            del self.files[path]
        self.pools.discard(request.path)
        self.marks.pop(request.path, None)
        return Nothing()

    def _pool_sign(self, request: storage.PoolSign, _report: Report | None) -> Nothing:
        self._check_sign(request.sign)
        self._check_pool(request.path)
        if not request.present:
            self.signs.discard((request.path, request.sign))
        elif request.path in self.pools:
            self.signs.add((request.path, request.sign))
        else:
            raise AgentRefusal("invalid_params", "There is no pool at this path.", field="path")
        return Nothing()

    def _pool_sign_status(self, request: storage.PoolSignStatus, _report: Report | None) -> storage.Sight:
        self._check_sign(request.sign)
        self._check_pool(request.path)
        return storage.Sight((request.path, request.sign) in self.signs)

    def _check_sign(self, sign: str) -> None:
        if not re.fullmatch(r"[0-9a-f]{32}", sign):
            raise AgentRefusal("invalid_params", "A sign is 32 hexadecimal digits.", field="sign")

    def _pool_list(self, request: storage.PoolList, _report: Report | None) -> storage.PoolFiles:
        self._check_pool(request.path)
        return storage.PoolFiles(
            files={
                name: sorted(
                    path.rpartition("/")[2]
                    for path in [*self.files, *self.uploads]
                    if path.startswith(f"{request.path}/{name}/")
                )
                for name in ("images", "volumes", "seeds")
            },
            sizes={
                path.rpartition("/")[2]: storage.VolumeSize(
                    file_bytes=file.virtual_bytes, qcow2_bytes=file.virtual_bytes if file.format == "qcow2" else 0
                )
                for path, file in self.files.items()
                if path.startswith(f"{request.path}/volumes/")
            },
        )

    def _image_state(self, pool: str, sha256: str, task: int = 0) -> storage.ImageState:
        self._check_pool(pool)
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise AgentRefusal("invalid_params", "This is not a SHA-256.", field="sha256")
        path = f"{pool}/images/{sha256}.img"
        return storage.ImageState(path in self.files, path, f"{pool}/images/{sha256}.{task}.upload")

    def _image_status(self, request: storage.ImageStatus, _report: Report | None) -> storage.ImageState:
        state = self._image_state(request.pool, request.sha256, request.task)
        if not state.present:
            self._check_writable(request.pool)
        return state

    def _image_commit(self, request: storage.ImageCommit, _report: Report | None) -> storage.ImageState:
        state = self._image_state(request.pool, request.sha256, request.task)
        self._check_writable(request.pool)
        content = self.uploads.pop(state.upload_path, None)
        if state.present:
            return state
        if content is None:
            raise AgentRefusal("invalid_params", "The image was not uploaded.", field="sha256")
        if hashlib.sha256(content).hexdigest() != request.sha256:
            raise AgentRefusal("corrupt", "The image arrived with another checksum than it left with.")
        if reason := image.refusal(content[: image.HEAD_BYTES], "raw"):
            raise AgentRefusal("invalid_params", reason, field="sha256")
        self.files[state.path] = _disk(content)
        return self._image_state(request.pool, request.sha256, request.task)

    def _images_tidy(self, request: storage.ImagesTidy, _report: Report | None) -> storage.Tidied:
        self._check_pool(request.pool)
        kept = {self._image_state(request.pool, sha256).path for sha256 in request.keep}
        for domain in self.domains.values():
            kept |= {*domain.spec.cdroms, *domain.now.cdroms}
        old = time.time() - request.age_seconds
        unneeded = [
            path
            for path, file in self.files.items()
            if path.startswith(f"{request.pool}/images/") and path not in kept and file.changed_at <= old
        ]
        for path in unneeded:
            del self.files[path]
        return storage.Tidied(removed=sorted(Path(path).stem for path in unneeded))

    def _upload_delete(self, request: storage.UploadDelete, _report: Report | None) -> Nothing:
        self.uploads.pop(self._image_state(request.pool, request.sha256, request.task).upload_path, None)
        return Nothing()

    def _inside(self, pool: str, path: str) -> None:
        self._check_pool(pool)
        folder, _, name = path.rpartition("/")
        if ".." in path or folder not in [f"{pool}/{each}" for each in ("images", "volumes", "seeds")] or not name:
            raise AgentRefusal("invalid_params", "The path does not lie in a folder of the pool.", field="path")

    def _volume_state(self, path: str, kind: str = "") -> storage.VolumeState:
        """A volume of this format; whatever it is, it can be read as a raw one."""
        file = self.files.get(path)
        if file is None:
            return storage.VolumeState(exists=False, path=path)
        if kind not in ("", "raw", file.format):
            raise AgentRefusal("command_failed", f"qemu-img ended with 1: Image is not in {kind} format")
        return storage.VolumeState(True, path, file.format, file.virtual_bytes, file.virtual_bytes)

    def _check_format(self, name: str) -> None:
        if name not in ("qcow2", "raw"):
            raise AgentRefusal("invalid_params", "A volume's format is qcow2 or raw.", field="format")

    def _volume_copy(self, request: storage.VolumeCopy, report: Report | None) -> storage.VolumeState:
        self._check_format(request.format)
        self._inside(request.pool, request.path)
        self._check_writable(request.pool)
        copy = self.files.get(self._image_state(request.pool, request.image_sha256).path)
        if request.path not in self.files:
            if copy is None:
                raise AgentRefusal("invalid_params", "The pool has no copy of this image.", field="image_sha256")
            if report is not None:
                report(Progress(copy.virtual_bytes, copy.virtual_bytes))
            self.files[request.path] = FakeVolume(request.format, copy.virtual_bytes)
        return self._volume_state(request.path)

    def _volume_create(self, request: storage.VolumeCreate, _report: Report | None) -> storage.VolumeState:
        self._check_format(request.format)
        self._inside(request.pool, request.path)
        self._check_writable(request.pool)
        there = self.files.get(request.path)
        if there is not None and there.virtual_bytes != request.size_bytes:
            raise AgentRefusal("exists", "A volume of another size is there already.")
        self.files[request.path] = FakeVolume(request.format, request.size_bytes)
        return self._volume_state(request.path)

    def _volume_grow(self, request: storage.VolumeGrow, _report: Report | None) -> storage.VolumeState:
        self._check_format(request.format)
        self._inside(request.pool, request.path)
        file = self.files.get(request.path)
        if file is None:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="path")
        self._volume_state(request.path, request.format)
        if file.virtual_bytes < request.size_bytes:
            self._refuse_built_upon(request.path)
        file.virtual_bytes = max(file.virtual_bytes, request.size_bytes)
        return self._volume_state(request.path)

    def _volume_info(self, request: storage.VolumeInfo, _report: Report | None) -> storage.VolumeState:
        self._check_format(request.format or "raw")
        self._inside(request.pool, request.path)
        return self._volume_state(request.path, request.format)

    def _uses(self) -> list[storage.VolumeUse]:
        found: set[storage.VolumeUse] = set()
        for vm, domain in self.domains.items():
            for spec in (domain.spec, domain.now) if domain.state in STATES_ON else (domain.spec,):
                drives = [(f"sd{chr(ord('a') + number)}", path) for number, path in enumerate(spec.cdroms)]
                drives += [(host.ISO_TARGET, spec.iso)] if spec.iso else []
                for target, path in [*((disk.target, disk.path) for disk in spec.disks), *drives]:
                    below = [(each, True) for each in self._below(path)]
                    for file, backing in [(path, False), *below]:
                        found.add(storage.VolumeUse(file, vm, domain.spec.name, target, backing))
        return sorted(found, key=lambda each: (each.path, each.uuid, each.target, each.backing))

    def _below(self, path: str) -> list[str]:
        found: list[str] = []
        while path in self.files and (path := self.files[path].backing):
            found.append(path)
        return found

    def _uses_read(self, request: storage.UsesRead, _report: Report | None) -> storage.VolumeUses:
        every = not (request.paths or request.uuid)
        uses = [each for each in self._uses() if every or each.path in request.paths or each.uuid == request.uuid]
        return storage.VolumeUses(uses)

    def _refuse_used(self, path: str) -> None:
        for use in self._uses() if path in self.files else []:
            if use.path == path:
                how = f"{'below ' if use.backing else ''}the disk {use.target} of the domain “{use.domain}”"
                text = f"“{Path(path).name}” is {how}. It is not deleted."
                raise AgentRefusal("in_use", text, domain=use.domain)
        if path in self.opened:
            raise AgentRefusal("in_use", f"A guest of another host has “{Path(path).name}” open. It is not deleted.")

    def _refuse_built_upon(self, path: str) -> None:
        for use in self._uses():
            if use.path == path and use.backing:
                text = f"“{Path(path).name}” is what the disk {use.target} of the domain “{use.domain}” builds upon."
                raise AgentRefusal("in_use", f"{text} It is not changed.", domain=use.domain)

    def _volume_delete(self, request: storage.VolumeDelete, _report: Report | None) -> Nothing:
        self._inside(request.pool, request.path)
        self._refuse_used(request.path)
        self.files.pop(request.path, None)
        return Nothing()

    def _volume_customize(self, request: storage.VolumeCustomize, _report: Report | None) -> Nothing:
        self._check_format(request.format)
        self._inside(request.pool, request.path)
        self._check_identity(request.guest)
        if request.path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="path")
        self._refuse_built_upon(request.path)
        return Nothing()

    def _check_identity(self, guest: storage.GuestIdentity) -> None:
        try:
            check_identity(guest)
        except BadMessage as error:
            raise AgentRefusal("invalid_params", str(error), field=error.field) from error

    def _seed_create(self, request: storage.SeedCreate, _report: Report | None) -> storage.VolumeState:
        self._inside(request.pool, request.path)
        self._check_writable(request.pool)
        self._check_identity(request.guest)
        guest = request.guest
        if request.keep_from:
            self._inside(request.pool, request.keep_from)
            if (known := self.seeds.get(request.keep_from)) is not None:
                guest = storage.keeping(guest, known[1], keys=request.keep_keys)
            if not guest.password_hash and not guest.ssh_keys:
                raise AgentRefusal("invalid_params", storage.NOBODY_ENTERS, field="guest")
        self.files[request.path] = FakeVolume("raw", 400 * 1024)
        self.seeds[request.path] = (request.instance_id, guest)
        return self._volume_state(request.path)

    def _seed_delete(self, request: storage.SeedDelete, _report: Report | None) -> Nothing:
        self._inside(request.pool, request.path)
        self._refuse_used(request.path)
        self.files.pop(request.path, None)
        self.seeds.pop(request.path, None)
        return Nothing()


def _disk(content: bytes) -> FakeVolume:
    """An image's format and size, as qemu-img would find them."""
    if content[:4] == b"QFI\xfb":
        return FakeVolume("qcow2", int.from_bytes(content[24:32], "big"))
    return FakeVolume("raw", len(content))
