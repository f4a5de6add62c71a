"""A node's own copies of OS images."""

from __future__ import annotations

import hashlib
import os
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Set

from nodeagent import libvirtd, paths
from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.errors import Corrupt, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import Nothing, image, storage
from nodeagent.protocol.storage import PoolRef

BLOCK = 4 * 1024 * 1024


@handles(storage.ImageStatus)
def image_status(request: storage.ImageStatus, job: Job) -> storage.ImageState:
    """Look whether the copy is there; where it is not, it must be possible to bring it."""
    state = _state(request.store, request.sha256, request.task)
    if not state.present:
        storages.driver(request.store).refuse_read_only()
    return state


@handles(storage.UploadBegin)
def upload_begin(request: storage.UploadBegin, job: Job) -> Nothing:
    """Make the file anew, so that a porter of an earlier attempt writes to none that counts."""
    upload = storages.files(request.store).upload(request.sha256, request.task)
    paths.remove_file(upload)
    os.close(os.open(upload, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return Nothing()


@handles(storage.ImageCommit)
def image_commit(request: storage.ImageCommit, job: Job) -> storage.ImageState:
    """Check the upload and put it in place; an upload that is not what it should be is removed."""
    store = storages.files(request.store)
    final, upload = store.image(request.sha256), store.upload(request.sha256, request.task)
    if final.exists():
        paths.remove_file(upload)
        return _state(request.store, request.sha256, request.task)
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
    try:
        refuse_references(upload, "raw")
    except InvalidParams:
        upload.unlink()
        raise
    os.chmod(upload, 0o644)
    upload.rename(final)
    return _state(request.store, request.sha256, request.task)


@handles(storage.ImagesTidy)
def images_tidy(request: storage.ImagesTidy, job: Job) -> storage.Tidied:
    """Remove the copies that nothing needs any more."""
    store = storages.files(request.store)
    kept = {store.image(sha256) for sha256 in request.keep}
    old = time.time() - request.age_seconds
    unneeded = [file for file in store.images() if file not in kept and file.stat().st_mtime <= old]
    if unneeded:
        named = _named_by_domains()
        unneeded = [file for file in unneeded if str(file) not in named and os.path.realpath(file) not in named]
    for file in unneeded:
        paths.remove_file(file)
    return storage.Tidied(removed=sorted(file.stem for file in unneeded))


def _named_by_domains() -> Set[str]:
    """The files that a domain has or will have, and those that it had when a snapshot was taken."""
    libvirt = libvirtd.bindings()
    found: Set[str] = set()
    with libvirtd.translated() as conn:
        for domain in conn.listAllDomains():
            xmls = [domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
            xmls += [each.getXMLDesc(0) for each in domain.listAllSnapshots()]
            for xml in xmls:
                found |= {source.get("file", "") for source in ET.fromstring(xml).iter("source")}
    return found


def refuse_references(path: Path, kind: str) -> None:
    """Raise InvalidParams for an image that refers to other files, which a guest would be given."""
    with open(path, "rb") as file:
        head = file.read(image.HEAD_BYTES)
    if reason := image.refusal(head, kind):
        raise InvalidParams(reason, field="sha256")


def _state(store: PoolRef, sha256: str, task: int) -> storage.ImageState:
    found = storages.files(store)
    final = found.image(sha256)
    return storage.ImageState(present=final.exists(), upload_path=str(found.upload(sha256, task)))


@handles(storage.UploadDelete)
def upload_delete(request: storage.UploadDelete, job: Job) -> Nothing:
    """Remove what one task uploaded and did not commit."""
    paths.remove_file(storages.files(request.store).upload(request.sha256, request.task))
    return Nothing()
