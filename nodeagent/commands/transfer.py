"""Volumes of a domain that is off, from node to node: QEMU's own block protocol through the way between them."""

from __future__ import annotations

import re

from nodeagent import paths, way
from nodeagent.commands import handles
from nodeagent.commands.volumes import volume_info
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import Nothing, migration, storage
from nodeagent.run import run

PERCENT = re.compile(r"\((\d+(?:\.\d+)?)/100%\)")
MIB = 1024**2


@handles(migration.VolumeOpen)
def volume_open(request: migration.VolumeOpen, job: Job) -> Nothing:
    """Receive a volume's content."""
    path = paths.inside(request.pool, request.path)
    if not path.exists():
        raise InvalidParams("There is no such volume.", field="path")
    way.make_folders(request.ticket)
    way.end_receiver(request.ticket)
    # What arrives may be a secret (a seed); libvirt gives a volume to QEMU when its domain starts.
    path.chmod(0o600)
    argv = ["qemu-nbd", "--fork", "--persistent", "--pid-file", str(way.receiver_pid(request.ticket))]
    # It outlives this request: volume_close, migration_close or the next volume_open ends it.
    run([*argv, "-k", str(way.receiver_socket(request.ticket)), "-f", request.format, "--", str(path)], job)
    return Nothing()


@handles(migration.VolumeSend)
def volume_send(request: migration.VolumeSend, job: Job) -> Nothing:
    """Send a volume's content; its image lock is taken, so a guest that runs is noticed."""
    path = paths.inside(request.pool, request.path)
    state = volume_info(storage.VolumeInfo(pool=request.pool, path=request.path), job)
    if not state.exists:
        raise InvalidParams("There is no such volume.", field="path")
    size, socket = state.allocated_bytes, way.receiver_socket(request.ticket)

    def watch(printed: str) -> None:
        found = PERCENT.findall(printed)
        if found:
            sent = size * float(found[-1]) / 100
            job.progress(sent, size, f"{int(sent) // MIB} of {size // MIB} MiB sent")

    with way.tunnel(request.ticket, request.target, {socket: str(socket)}, job):
        argv = ["qemu-img", "convert", "-p", "-n", "--target-is-zero", "-t", "writeback", "-f", request.format]
        if request.bandwidth_mib:
            argv += ["-r", str(int(request.bandwidth_mib) * MIB)]
        run([*argv, "-O", "raw", str(path), f"nbd:unix:{socket}"], job, watch=watch)
    return Nothing()


@handles(migration.VolumeClose)
def volume_close(request: migration.VolumeClose, job: Job) -> storage.VolumeState:
    """Receive no more."""
    way.end_receiver(request.ticket)
    return volume_info(storage.VolumeInfo(pool=request.pool, path=request.path), job)
