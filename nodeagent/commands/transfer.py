"""What a domain that is off has, from node to node: QEMU's own block protocol through the migration tunnel."""

from __future__ import annotations

import re
from pathlib import Path

from nodeagent import paths, tunnel
from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import Nothing, migration, storage
from nodeagent.run import run

PERCENT = re.compile(r"\((\d+(?:\.\d+)?)/100%\)")
MIB = 1024**2
SEND = ("qemu-img", "convert", "-p", "-n", "--target-is-zero", "-t", "writeback")


@handles(migration.VolumeOpen)
def volume_open(request: migration.VolumeOpen, job: Job) -> Nothing:
    """Receive a volume's content."""
    pool, name = storages.volume(request.volume)
    if not pool.exists(name):
        raise InvalidParams("There is no such volume.", field="volume")
    pool.keep_private(name)
    _receive(request.ticket, pool.image(name), request.format, job)
    return Nothing()


def _receive(ticket: int, image: str, kind: str, job: Job) -> None:
    """Have it written by whoever sends for the ticket."""
    tunnel.make_folders(ticket, job)
    tunnel.end_receiver(ticket)
    argv = ["qemu-nbd", "--fork", "--persistent", "--pid-file", str(tunnel.receiver_pid(ticket))]
    # It outlives this request: its close, migration_close or the next one that is received ends it.
    run([*argv, "-k", str(tunnel.receiver_socket(ticket)), "-f", kind, "--", image], job)


@handles(migration.VolumeSend)
def volume_send(request: migration.VolumeSend, job: Job) -> Nothing:
    """Send a volume's content; its image lock is taken, so a guest that runs is noticed."""
    pool, name = storages.volume(request.volume)
    state = pool.info(name, request.format, job)
    if not state.exists:
        raise InvalidParams("There is no such volume.", field="volume")
    size = state.allocated_bytes

    def watch(printed: str) -> None:
        found = PERCENT.findall(printed)
        if found:
            sent = size * float(found[-1]) / 100
            job.progress(sent, size, f"{int(sent) // MIB} of {size // MIB} MiB sent")

    limit = ["-r", str(int(request.bandwidth_mib) * MIB)] if request.bandwidth_mib else []
    argv = [*SEND, *limit, "-f", request.format, "-O", "raw", pool.image(name)]
    socket = tunnel.receiver_socket(request.ticket)
    with tunnel.open_through(request.ticket, request.target, {socket: str(socket)}, job):
        run([*argv, f"nbd:unix:{socket}"], job, watch=watch)
    return Nothing()


@handles(migration.VolumeClose)
def volume_close(request: migration.VolumeClose, job: Job) -> storage.VolumeState:
    """Receive no more."""
    tunnel.end_receiver(request.ticket)
    pool, name = storages.volume(request.volume)
    return pool.info(name, request.format, job)


@handles(migration.NvramOpen)
def nvram_open(request: migration.NvramOpen, job: Job) -> Nothing:
    """Receive what a UEFI remembers, beside the file that it will be."""
    if not 0 < request.size_bytes <= migration.NVRAM_MOST_BYTES:
        raise InvalidParams("A UEFI does not remember so much.", field="size_bytes")
    partial = _partial(request.uuid)
    partial.parent.mkdir(parents=True, exist_ok=True)
    tunnel.end_receiver(request.ticket)
    with open(partial, "wb") as file:
        file.truncate(request.size_bytes)
    partial.chmod(0o600)
    _receive(request.ticket, str(partial), "raw", job)
    return Nothing()


@handles(migration.NvramSend)
def nvram_send(request: migration.NvramSend, job: Job) -> Nothing:
    """Send it; a guest that runs with it holds its lock."""
    path, socket = paths.nvram_file(request.uuid), tunnel.receiver_socket(request.ticket)
    if not path.exists():
        raise InvalidParams("There is nothing that its UEFI remembers.", field="uuid")
    with tunnel.open_through(request.ticket, request.target, {socket: str(socket)}, job):
        run([*SEND, "-f", "raw", "-O", "raw", str(path), f"nbd:unix:{socket}"], job)
    return Nothing()


@handles(migration.NvramClose)
def nvram_close(request: migration.NvramClose, job: Job) -> Nothing:
    """Receive no more; closed already is success."""
    tunnel.end_receiver(request.ticket)
    partial, path = _partial(request.uuid), paths.nvram_file(request.uuid)
    if partial.exists():
        partial.replace(path)
    elif not path.exists():
        raise InvalidParams("Nothing was being received.", field="uuid")
    return Nothing()


def _partial(uuid: str) -> Path:
    return Path(f"{paths.nvram_file(uuid)}.part")
