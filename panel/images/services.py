"""Registering images, and flavors: those that a new panel begins with, and more."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.db import IntegrityError, transaction
from pydantic import BaseModel, Field, ValidationError

from nodeagent.protocol import image
from panel.accounts import journal
from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import AlreadyExists, InvalidValue, NotFound
from panel.core.validation import Params, parse
from panel.core.wording import Text
from panel.images.models import Customization, Flavor, Image, Iso

GIB = 1024**3
FLAVORS = (
    ("tiny", "Tiny", 128, 1, 1),
    ("small", "Small", 1024, 1, 10),
    ("medium", "Medium", 2048, 2, 20),
    ("large", "Large", 4096, 4, 40),
)


class Metadata(BaseModel):
    """What stands in the NAME.json beside an image's NAME.qcow2."""

    model_config = {"extra": "ignore"}

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")
    title: str
    os_family: str
    format: Literal["qcow2", "raw"] = "qcow2"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    virtual_bytes: int = Field(gt=0)
    customization: Customization = Customization.CLOUD_INIT
    login: str = "root"
    reachable_port: int = 22
    min_memory_mib: int = 64
    min_disk_gib: int = 1


def register_image(metadata_path: Path) -> Image:
    """Make the image beside `metadata_path` known, or known anew; both files lie in VarDir/images.

    A VM that exists is not touched: it keeps the disk that it has.

    Raises InvalidValue or NotFound.
    """
    try:
        metadata = Metadata.model_validate(json.loads(metadata_path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NotFound(object="file", id=str(metadata_path)) from None
    except (ValidationError, json.JSONDecodeError) as error:
        raise InvalidValue(
            Text("{file} does not describe an image: {error}", {"file": metadata_path.name, "error": str(error)}),
            field="file",
        ) from error
    file = metadata_path.with_suffix(f".{metadata.format}")
    if file.resolve().parent != Path(settings.CONFIG.images_dir).resolve():
        raise InvalidValue(
            Text("The image must lie in {folder}.", {"folder": str(settings.CONFIG.images_dir)}), field="file"
        )
    if not file.is_file():
        raise NotFound(object="file", id=str(file))
    refuse_references(file, metadata.format)
    fields = {"size_bytes": file.stat().st_size, "file_name": file.name, **metadata.model_dump(exclude={"name"})}
    registered, _ = Image.objects.update_or_create(name=metadata.name, defaults=fields)
    return registered


def refuse_references(file: Path, kind: str) -> None:
    """Raise InvalidValue for an image that refers to other files: guests would be given those of their node."""
    with file.open("rb") as opened:
        head = opened.read(image.HEAD_BYTES)
    if reason := image.refusal(head, kind):
        raise InvalidValue(Text("{file}: {reason}", {"file": file.name, "reason": reason}), field="file")


ISO_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}\Z")


def register_iso(file: Path, *, name: str = "", title: str = "") -> Iso:
    """Make the ISO image in VarDir/images known to all, or known anew; its name is the file's if none is given.

    Raises InvalidValue, NotFound, or AlreadyExists while a VM has another file of that name in its drive.
    """
    name = name or file.stem.lower()
    if not ISO_NAME.match(name):
        raise InvalidValue("The name of an ISO image consists of a-z, 0-9, points and hyphens.", field="name")
    if file.resolve().parent != Path(settings.CONFIG.images_dir).resolve():
        raise InvalidValue(
            Text("The ISO image must lie in {folder}.", {"folder": str(settings.CONFIG.images_dir)}), field="file"
        )
    if not file.is_file():
        raise NotFound(object="file", id=str(file))
    refuse_references(file, "raw")
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    fields = {"title": title or name, "file_name": file.name, "sha256": sha256, "size_bytes": file.stat().st_size}
    there = Iso.objects.filter(shared_name=name).exclude(sha256=sha256).first()
    if there is not None and there.vms.exists():
        raise AlreadyExists("VMs have another file of this name in their drives: eject it first.", field="name")
    iso, _ = Iso.objects.update_or_create(shared_name=name, defaults={"name": name, **fields})
    return iso


def ensure_flavors() -> None:
    """Make the flavors that a new panel begins with, when it has none."""
    if not Flavor.objects.exists():
        Flavor.objects.bulk_create(
            Flavor(name=name, title=title, memory_mib=memory, vcpus=vcpus, disk_gib=disk)
            for name, title, memory, vcpus, disk in FLAVORS
        )


class FlavorValues(Params):
    """A flavor's name and size."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")
    title: str = Field(default="", max_length=128)
    memory_mib: int = Field(ge=64, le=4 * 1024 * 1024)
    vcpus: int = Field(ge=1, le=512)
    disk_gib: int = Field(ge=1, le=64 * 1024)


def create_flavor(viewer: User, raw: Mapping[str, Any]) -> Flavor:
    """A new flavor of FlavorValues; raises AccessDenied, MissingValue, InvalidValue or AlreadyExists."""
    permissions.require(viewer, "images.manage")
    return _save(viewer, Flavor(), parse(FlavorValues, raw), "flavor.create", {})


def change_flavor(viewer: User, flavor: Flavor, raw: Mapping[str, Any]) -> Flavor:
    """The flavor with these values changed; VMs that exist keep their size. Raises as create_flavor."""
    permissions.require(viewer, "images.manage")
    before = {name: getattr(flavor, name) for name in FlavorValues.model_fields}
    return _save(viewer, flavor, parse(FlavorValues, {**before, **raw}), "flavor.change", before)


@transaction.atomic
def delete_flavor(viewer: User, flavor: Flavor) -> None:
    """The flavor is no more; VMs that were made of it keep their size. Raises AccessDenied."""
    permissions.require(viewer, "images.manage")
    before, flavor_id = {name: getattr(flavor, name) for name in FlavorValues.model_fields}, flavor.pk
    flavor.delete()
    journal.record(viewer, "flavor.delete", "flavor", flavor_id, flavor.name, before=before)


@transaction.atomic
def _save(viewer: User, flavor: Flavor, values: FlavorValues, action: str, before: Mapping[str, Any]) -> Flavor:
    for name, value in values.model_dump().items():
        setattr(flavor, name, value)
    flavor.title = flavor.title or flavor.name
    try:
        with transaction.atomic():
            flavor.save()
    except IntegrityError as error:
        raise AlreadyExists(field="name", object="flavor") from error
    after = {name: getattr(flavor, name) for name in FlavorValues.model_fields}
    earlier, now = journal.changed(before, after)
    journal.record(viewer, action, "flavor", flavor.pk, flavor.name, before=earlier if before else {}, after=now)
    return flavor


class ImageValues(Params):
    """What may be changed of an image: how people know it, and what a VM of it needs at least."""

    title: str = Field(min_length=1, max_length=128)
    min_memory_mib: int = Field(ge=64, le=4 * 1024 * 1024)
    min_disk_gib: int = Field(ge=1, le=64 * 1024)


@transaction.atomic
def change_image(viewer: User, image: Image, raw: Mapping[str, Any]) -> Image:
    """The image with these values changed; VMs that exist are not touched, and its file stays as it is.

    Raises AccessDenied, or InvalidValue: no disk is smaller than the system that is copied to it.
    """
    permissions.require(viewer, "images.manage")
    before = {name: getattr(image, name) for name in ImageValues.model_fields}
    values = parse(ImageValues, {**before, **raw})
    if values.min_disk_gib * GIB < image.virtual_bytes:
        least = -(-image.virtual_bytes // GIB)
        raise InvalidValue(Text("The system alone needs a disk of {gib} GiB.", {"gib": least}), field="min_disk_gib")
    for name, value in values.model_dump().items():
        setattr(image, name, value)
    image.save(update_fields=list(ImageValues.model_fields))
    earlier, now = journal.changed(before, values.model_dump())
    journal.record(viewer, "image.change", "image", image.pk, image.name, before=earlier, after=now)
    return image
