"""Volumes: copy from an image, create, grow, read, delete, customize."""

from __future__ import annotations

import errno
import functools
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple, Union

from nodeagent import holders, libvirtd, paths
from nodeagent.commands import handles
from nodeagent.commands.guests import check as check_change
from nodeagent.commands.images import refuse_references
from nodeagent.commands.pools import clone
from nodeagent.commands.seeds import check_guest
from nodeagent.errors import CommandFailed, Exists, InUse, InvalidParams
from nodeagent.job import Job
from nodeagent.probe import kvm_works
from nodeagent.protocol import Nothing, guest, storage
from nodeagent.run import run

FORMATS = ("qcow2", "raw")
BLOCK = 8 * 1024 * 1024


@handles(storage.VolumeCopy)
def volume_copy(request: storage.VolumeCopy, job: Job) -> storage.VolumeState:
    """Make the volume from the pool's copy of the image."""
    path = volume_file(request.pool, request.path, request.format)
    if path.exists():
        return _state(path, request.format, job)
    image = paths.image_file(request.pool, request.image_sha256)
    if not image.exists():
        raise InvalidParams("The pool has no copy of this image.", field="image_sha256")
    refuse_references(image, request.image_format)
    _refuse_other_files(_info(image, request.image_format, job))
    partial = Path(f"{path}.part")
    try:
        if request.image_format == request.format:
            _copy(image, partial, job)
        else:
            kinds = ["-f", request.image_format, "-O", request.format]
            run(["qemu-img", "convert", *kinds, str(image), str(partial)], job)
        partial.rename(path)
    finally:
        paths.remove_file(partial)
    return _state(path, request.format, job)


def _refuse_other_files(info: Dict[str, Any]) -> None:
    """Raise InvalidParams where QEMU itself would open another file for the image."""
    names = {"backing-filename", "full-backing-filename"} & info.keys()
    if names or "data-file" in info.get("format-specific", {}).get("data", {}):
        raise InvalidParams("The image refers to another file of the node.", field="image_sha256")


@handles(guest.VolumeClone)
def volume_clone(request: guest.VolumeClone, job: Job) -> storage.VolumeState:
    """Make the volume from another."""
    path, kind = volume_file(request.pool, request.path, request.format), request.format
    if path.exists():
        return _state(path, kind, job)
    source = paths.inside(request.source_pool, request.source)
    if not source.exists():
        raise InvalidParams("There is no such volume.", field="source")
    partial = Path(f"{path}.part")
    try:
        info = _unused_info(source, kind, job)
        if info.get("snapshots") or info.get("backing-filename"):
            run(["qemu-img", "convert", "-f", kind, "-O", kind, str(source), str(partial)], job)
        else:
            _copy(source, partial, job)
        partial.rename(path)
    finally:
        paths.remove_file(partial)
    return _state(path, request.format, job)


def _unused_info(path: Path, kind: str, job: Job) -> Dict[str, Any]:
    """Read a volume, as _info, and refuse one that a QEMU holds."""
    done = run(["qemu-img", "info", "-f", kind, "--output=json", str(path)], job, check=False)
    if done.exit_code and "lock" in done.stderr:
        raise InUse("A running guest holds the volume.")
    return dict(json.loads(done.stdout)) if not done.exit_code else _info(path, kind, job)


def _copy(source: Path, target: Path, job: Job) -> None:
    """Clone by reference, or copy the parts that hold data; the kernel does both without our reading it."""
    size = source.stat().st_size
    with open(source, "rb") as reader, open(target, "wb") as writer:
        if clone(reader.fileno(), writer.fileno()):
            return
        for begin, end in _data(reader.fileno(), size):
            while begin < end:
                begin += _copy_range(reader.fileno(), writer.fileno(), min(BLOCK, end - begin), begin)
                job.progress(begin, size, "copying the image")
        os.ftruncate(writer.fileno(), size)


def _copy_range(source: int, target: int, length: int, offset: int) -> int:
    try:
        return os.copy_file_range(source, target, length, offset, offset)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, offset, length)


def _data(file: int, size: int) -> Iterator[Tuple[int, int]]:
    """The ranges of a sparse file that hold data."""
    offset = 0
    while offset < size:
        try:
            begin = os.lseek(file, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset = os.lseek(file, begin, os.SEEK_HOLE)
        yield begin, offset


@handles(storage.VolumeCreate)
def volume_create(request: storage.VolumeCreate, job: Job) -> storage.VolumeState:
    """Make an empty volume."""
    path = volume_file(request.pool, request.path, request.format)
    if path.exists():
        state = _state(path, request.format, job)
        if state.virtual_bytes != request.size_bytes:
            raise Exists("A volume of another size is there already.", virtual_bytes=state.virtual_bytes)
        return state
    partial = Path(f"{path}.part")
    try:
        run(["qemu-img", "create", "-q", "-f", request.format, str(partial), str(int(request.size_bytes))], job)
        partial.rename(path)
    finally:
        paths.remove_file(partial)
    return _state(path, request.format, job)


@handles(storage.VolumeGrow)
def volume_grow(request: storage.VolumeGrow, job: Job) -> storage.VolumeState:
    """Grow the volume, never shrink it."""
    path = volume_file(request.pool, request.path, request.format)
    state = _state(path, request.format, job)
    if not state.exists:
        raise InvalidParams("There is no such volume.", field="path")
    if state.virtual_bytes < request.size_bytes:
        holders.refuse_built_upon(path)
        run(["qemu-img", "resize", "-q", "-f", request.format, str(path), str(int(request.size_bytes))], job)
        state = _state(path, request.format, job)
    return state


@handles(storage.VolumeInfo)
def volume_info(request: storage.VolumeInfo, job: Job) -> storage.VolumeState:
    """Read a volume."""
    kind = request.format
    path = volume_file(request.pool, request.path, kind) if kind else paths.inside(request.pool, request.path)
    return _state(path, kind, job)


@handles(storage.UsesRead)
def uses_read(request: storage.UsesRead, job: Job) -> storage.VolumeUses:
    """Tell who has which files."""
    wanted = {os.path.realpath(path): path for path in request.paths}
    with libvirtd.translated() as conn:
        found = [replace(each, path=wanted.get(os.path.realpath(each.path), each.path)) for each in holders.uses(conn)]
    if wanted or request.uuid:
        found = [each for each in found if each.path in request.paths or each.uuid == request.uuid]
    return storage.VolumeUses(uses=found)


@handles(storage.VolumeDelete)
def volume_delete(request: storage.VolumeDelete, job: Job) -> Nothing:
    """Remove a volume and what an interrupted copy left."""
    path = paths.inside(request.pool, request.path)
    holders.refuse_used(path, job)
    for file in (path, Path(f"{path}.part")):
        paths.remove_file(file)
    return Nothing()


@handles(storage.VolumeCustomize)
def volume_customize(request: storage.VolumeCustomize, job: Job) -> Nothing:
    """Write the guest's identity into its file system; secrets go by files that only root reads."""
    path = volume_file(request.pool, request.path, request.format)
    guest = request.guest
    check_guest(guest)
    if not path.exists():
        raise InvalidParams("There is no such volume.", field="path")
    holders.refuse_built_upon(path)
    with tempfile.TemporaryDirectory(prefix="vmpanel-") as folder:
        argv = [*_customize(path, request.format), "--hostname", guest.hostname, "--timezone", guest.timezone]
        for name, target, text in _guest_files(guest):
            argv += ["--upload", f"{_write(folder, name, text)}:{target}"]
        argv += ["--run-command", SETUP]
        if guest.ssh_keys:
            argv += ["--ssh-inject", f"{guest.login}:file:{_write(folder, 'keys', chr(10).join(guest.ssh_keys))}"]
        run(argv, job, env={"LIBGUESTFS_BACKEND": "direct", **_emulation()})
    return Nothing()


SETUP = """
set -e
login=$(cat /root/.vmpanel-login)
id "$login" >/dev/null 2>&1 || useradd -m -s /bin/bash "$login"
if [ -e /root/.vmpanel-hash ]; then
    chpasswd -e < /root/.vmpanel-hash
    if [ "$login" = root ] && [ -d /etc/ssh/sshd_config.d ]; then
        echo "PermitRootLogin yes" > /etc/ssh/sshd_config.d/10-vmpanel.conf
    fi
fi
rm -f /root/.vmpanel-login /root/.vmpanel-hash
# Copies of one image must not share what is to tell them apart.
rm -f /etc/ssh/ssh_host_*
if command -v ssh-keygen >/dev/null; then ssh-keygen -A >/dev/null; fi
if [ -e /etc/machine-id ]; then : > /etc/machine-id; fi
systemctl enable systemd-networkd 2>/dev/null || true
"""
"""Run inside the guest; a constant, so what differs between guests comes in files."""


@handles(guest.VolumeReconfigure)
def volume_reconfigure(request: guest.VolumeReconfigure, job: Job) -> Nothing:
    """Write what changes of the guest's identity into its file system."""
    path = volume_file(request.pool, request.path, request.format)
    change = request.change
    check_change(change, request.login)
    if not path.exists():
        raise InvalidParams("There is no such volume.", field="path")
    holders.refuse_built_upon(path)
    with tempfile.TemporaryDirectory(prefix="vmpanel-") as folder:
        argv = _customize(path, request.format)
        if change.hostname is not None:
            argv += ["--hostname", change.hostname]
        for name, text in _changed_files(request.login, change):
            argv += ["--upload", f"{_write(folder, name, text)}:/root/.vmpanel-{name}"]
        argv += ["--run-command", CHANGE]
        run(argv, job, env={"LIBGUESTFS_BACKEND": "direct", **_emulation()})
    return Nothing()


def _customize(path: Path, kind: str) -> List[str]:
    """What changes the volume begins with."""
    return ["virt-customize", "-q", "--no-network", "--format", kind, "-a", str(path)]


def _changed_files(login: str, change: guest.GuestChange) -> Iterator[Tuple[str, str]]:
    yield "login", login
    if change.password_hash is not None:
        yield "hash", f"{login}:{change.password_hash}"
    if change.ssh_keys is not None:
        yield "keys", "\n".join(change.ssh_keys)
    if change.network is not None:
        yield "networkd", _networkd(change.network)


CHANGE = """
set -e
login=$(cat /root/.vmpanel-login)
if [ -e /root/.vmpanel-hash ]; then chpasswd -e < /root/.vmpanel-hash; fi
if [ -e /root/.vmpanel-keys ]; then
    folder=$(getent passwd "$login" | cut -d: -f6)/.ssh
    install -d -m 700 -o "$login" "$folder"
    install -m 600 -o "$login" /root/.vmpanel-keys "$folder/authorized_keys"
fi
if [ -e /root/.vmpanel-networkd ]; then
    install -D -m 644 /root/.vmpanel-networkd /etc/systemd/network/10-vmpanel.network
fi
rm -f /root/.vmpanel-*
"""
"""Run inside the guest; a constant, as SETUP."""


@functools.cache
def _emulation() -> Dict[str, str]:
    # KVM that is there but does not work would hang libguestfs's appliance; without a device it would fall back itself.
    return {} if kvm_works(8.0) else {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}


def _guest_files(guest: storage.GuestIdentity) -> Iterator[Tuple[str, str, str]]:
    yield "login", "/root/.vmpanel-login", guest.login
    if guest.password_hash:
        # virt-customize takes plain passwords only, so the hash goes in by a file that chpasswd reads.
        yield "hash", "/root/.vmpanel-hash", f"{guest.login}:{guest.password_hash}"
    yield "networkd", "/etc/systemd/network/10-vmpanel.network", _networkd(guest)


def _networkd(told: Union[storage.GuestIdentity, guest.GuestNetwork]) -> str:
    dns = "".join(f"DNS={server}\n" for server in told.nameservers)
    return (
        f"[Match]\nMACAddress={told.mac}\n\n[Network]\n"
        f"Address={told.address}/{told.prefix}\nGateway={told.gateway}\n{dns}"
    )


def _write(folder: str, name: str, text: str) -> str:
    path = Path(folder) / name
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="utf-8")
    return str(path)


def volume_file(pool: str, path: str, kind: str) -> Path:
    """The file of a volume of this format; raises InvalidParams."""
    if kind not in FORMATS:
        raise InvalidParams("A volume's format is qcow2 or raw.", field="format")
    return paths.inside(pool, path)


def _info(path: Path, kind: str, job: Job) -> Dict[str, Any]:
    """Read a file of this format; "" for the one that it looks like, of which only an image's may be believed."""
    # -U: a running guest holds its volume's lock, and reading its size does no harm.
    out = run(["qemu-img", "info", "-U", *(["-f", kind] if kind else []), "--output=json", str(path)], job).stdout
    return dict(json.loads(out))


def _state(path: Path, kind: str, job: Job) -> storage.VolumeState:
    if not path.exists():
        return storage.VolumeState(exists=False, path=str(path))
    try:
        info = _info(path, kind, job)
    except CommandFailed:
        if not path.exists():
            return storage.VolumeState(exists=False, path=str(path))
        raise
    return storage.VolumeState(
        exists=True,
        path=str(path),
        format=str(info["format"]),
        virtual_bytes=int(info["virtual-size"]),
        allocated_bytes=int(info["actual-size"]),
    )
