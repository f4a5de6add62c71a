"""A node's own copies of OS images."""

from __future__ import annotations

import contextlib
import hashlib
import os

from nodeagent import paths
from nodeagent.commands import handles
from nodeagent.errors import Corrupt, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import Nothing, storage

BLOCK = 4 * 1024 * 1024


@handles(storage.ImageStatus)
def image_status(request: storage.ImageStatus, job: Job) -> storage.ImageState:
    """Look whether the copy is there."""
    return _state(request.pool, request.sha256, request.task)


@handles(storage.ImageCommit)
def image_commit(request: storage.ImageCommit, job: Job) -> storage.ImageState:
    """Check the upload and put it in place; an upload that is not what it should be is removed."""
    final = paths.image_file(request.pool, request.sha256)
    upload = paths.upload_file(request.pool, request.sha256, request.task)
    if final.exists():
        with contextlib.suppress(FileNotFoundError):
            upload.unlink()
        return _state(request.pool, request.sha256, request.task)
    if not upload.exists():
        raise InvalidParams("The image was not uploaded.", field="sha256")
    digest, done, size = hashlib.sha256(), 0, upload.stat().st_size
    with open(upload, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            job.progress(done, size, "checking the image")
        os.fsync(file.fileno())
    if digest.hexdigest() != request.sha256:
        upload.unlink()
        raise Corrupt("The image arrived with another checksum than it left with.")
    os.chmod(upload, 0o644)
    upload.rename(final)
    return _state(request.pool, request.sha256, request.task)


@handles(storage.ImageDelete)
def image_delete(request: storage.ImageDelete, job: Job) -> Nothing:
    """Remove the copy."""
    final = paths.image_file(request.pool, request.sha256)
    uploads = final.parent.glob(f"{request.sha256}.*.upload")
    for file in (final, *uploads):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
    return Nothing()


def _state(pool: str, sha256: str, task: int) -> storage.ImageState:
    final = paths.image_file(pool, sha256)
    return storage.ImageState(
        present=final.exists(), path=str(final), upload_path=str(paths.upload_file(pool, sha256, task))
    )


@handles(storage.UploadDelete)
def upload_delete(request: storage.UploadDelete, job: Job) -> Nothing:
    """Remove what one task uploaded and did not commit."""
    with contextlib.suppress(FileNotFoundError):
        paths.upload_file(request.pool, request.sha256, request.task).unlink()
    return Nothing()
