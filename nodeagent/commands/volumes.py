"""Volumes: copy from an image, create, grow, read, delete, customize."""

from __future__ import annotations

import functools
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from nodeagent import guest_network, holders, libvirtd
from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.commands.guests import check as check_change
from nodeagent.commands.images import refuse_references
from nodeagent.commands.seeds import check_guest
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.probe import kvm_works
from nodeagent.protocol import Nothing, guest, identity, storage
from nodeagent.run import run
from nodeagent.storage.driver import image_info


@handles(storage.VolumeCopy)
def volume_copy(request: storage.VolumeCopy, job: Job) -> storage.VolumeState:
    """Make the volume from the node's copy of the image."""
    pool, name = storages.volume(request.volume)
    pool.check_format(request.format)
    if not pool.exists(name):
        image = storages.files(request.store).image(request.image_sha256)
        if not image.exists():
            raise InvalidParams("The pool has no copy of this image.", field="image_sha256")
        refuse_references(image, request.image_format)
        _refuse_other_files(image_info(str(image), request.image_format, job))
        return pool.fill(name, request.format, image, request.image_format, job)
    return pool.info(name, request.format, job)


def _refuse_other_files(info: Dict[str, Any]) -> None:
    """Raise InvalidParams where QEMU itself would open another file for the image."""
    names = {"backing-filename", "full-backing-filename"} & info.keys()
    if names or "data-file" in info.get("format-specific", {}).get("data", {}):
        raise InvalidParams("The image refers to another file of the node.", field="image_sha256")


@handles(guest.VolumeClone)
def volume_clone(request: guest.VolumeClone, job: Job) -> storage.VolumeState:
    """Make the volume from another."""
    pool, name = storages.volume(request.volume)
    return pool.clone(name, request.format, *storages.volume(request.source), job)


@handles(storage.VolumeCreate)
def volume_create(request: storage.VolumeCreate, job: Job) -> storage.VolumeState:
    """Make an empty volume."""
    pool, name = storages.volume(request.volume)
    return pool.create(name, request.size_bytes, request.format, job)


@handles(storage.VolumeGrow)
def volume_grow(request: storage.VolumeGrow, job: Job) -> storage.VolumeState:
    """Grow the volume, never shrink it."""
    pool, name = storages.volume(request.volume)
    return pool.grow(name, request.size_bytes, request.format, job)


@handles(storage.VolumeInfo)
def volume_info(request: storage.VolumeInfo, job: Job) -> storage.VolumeState:
    """Read a volume."""
    pool, name = storages.volume(request.volume)
    return pool.info(name, request.format, job)


@handles(storage.UsesRead)
def uses_read(request: storage.UsesRead, job: Job) -> storage.VolumeUses:
    """Tell who has what."""
    places = [storages.place(each) for each in request.volumes]
    wanted = {os.path.realpath(place): place for place in places}
    with libvirtd.translated() as conn:
        found = [
            replace(each, place=wanted.get(os.path.realpath(each.place), each.place)) for each in holders.uses(conn)
        ]
    if wanted or request.uuid:
        found = [each for each in found if each.place in places or each.uuid == request.uuid]
    return storage.VolumeUses(uses=found)


@handles(storage.VolumeDelete)
def volume_delete(request: storage.VolumeDelete, job: Job) -> Nothing:
    """Remove a volume and what an interrupted copy left."""
    pool, name = storages.volume(request.volume)
    pool.delete(name, job)
    return Nothing()


@handles(identity.VolumeCustomize)
def volume_customize(request: identity.VolumeCustomize, job: Job) -> Nothing:
    """Write the guest's identity into its file system; secrets go by files that only root reads."""
    image = _to_change(request.volume, request.format)
    guest = request.guest
    check_guest(guest)
    with tempfile.TemporaryDirectory(prefix="vmpanel-") as folder:
        argv = [*_customize(image, request.format), "--hostname", guest.hostname, "--timezone", guest.timezone]
        for name, target, text in _guest_files(guest):
            argv += ["--upload", f"{_write(folder, name, text)}:{target}"]
        argv += ["--run-command", SETUP]
        if guest.ssh_keys:
            argv += ["--ssh-inject", f"{guest.login}:file:{_write(folder, 'keys', chr(10).join(guest.ssh_keys))}"]
        run(argv, job, env={"LIBGUESTFS_BACKEND": "direct", **_emulation()})
    return Nothing()


NETWORKD = "networkd"
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
    image = _to_change(request.volume, request.format)
    change = request.change
    check_change(change, request.login)
    with tempfile.TemporaryDirectory(prefix="vmpanel-") as folder:
        argv = _customize(image, request.format)
        if change.hostname is not None:
            argv += ["--hostname", change.hostname]
        for name, text in _changed_files(request.login, change):
            argv += ["--upload", f"{_write(folder, name, text)}:/root/.vmpanel-{name}"]
        argv += ["--run-command", CHANGE]
        run(argv, job, env={"LIBGUESTFS_BACKEND": "direct", **_emulation()})
    return Nothing()


def _to_change(volume: storage.VolumeRef, kind: str) -> str:
    """What QEMU opens of a volume that is written to; raises InvalidParams for none, InUse where one builds upon it."""
    pool, name = storages.volume(volume)
    pool.check_format(kind)
    if not pool.exists(name):
        raise InvalidParams("There is no such volume.", field="volume")
    pool.refuse_built_upon(name)
    return pool.image(name)


def _customize(image: str, kind: str) -> List[str]:
    """What changes the volume begins with."""
    return ["virt-customize", "-q", "--no-network", "--format", kind, "-a", image]


def _changed_files(login: str, change: guest.GuestChange) -> Iterator[Tuple[str, str]]:
    yield "login", login
    if change.password_hash is not None:
        yield "hash", f"{login}:{change.password_hash}"
    if change.ssh_keys is not None:
        yield "keys", "\n".join(change.ssh_keys)
    if change.network is not None:
        yield from _networkd(change.network.every_interface())


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
    # Of an interface that it has no more nothing is left.
    rm -f /etc/systemd/network/10-vmpanel*.network
    for file in /root/.vmpanel-networkd*; do
        install -D -m 644 "$file" "/etc/systemd/network/10-vmpanel${file#/root/.vmpanel-networkd}.network"
    done
fi
rm -f /root/.vmpanel-*
"""
"""Run inside the guest; a constant, as SETUP."""


@functools.cache
def _emulation() -> Dict[str, str]:
    # KVM that is there but does not work would hang libguestfs's appliance; without a device it would fall back itself.
    return {} if kvm_works(8.0) else {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}


def _guest_files(guest: identity.GuestIdentity) -> Iterator[Tuple[str, str, str]]:
    yield "login", "/root/.vmpanel-login", guest.login
    if guest.password_hash:
        # virt-customize takes plain passwords only, so the hash goes in by a file that chpasswd reads.
        yield "hash", "/root/.vmpanel-hash", f"{guest.login}:{guest.password_hash}"
    for name, text in _networkd(guest.every_interface()):
        yield name, f"/etc/systemd/network/10-vmpanel{name[len(NETWORKD) :]}.network", text


def _networkd(interfaces: Sequence[identity.GuestInterface]) -> Iterator[Tuple[str, str]]:
    for number, text in enumerate(guest_network.networkd(interfaces)):
        yield f"{NETWORKD}-{number}" if number else NETWORKD, text


def _write(folder: str, name: str, text: str) -> str:
    path = Path(folder) / name
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="utf-8")
    return str(path)
