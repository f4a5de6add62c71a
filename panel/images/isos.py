"""ISO images that users and administrators bring in: taken, renamed, deleted; and their owners' limits.

An administrator's is there for all and counts against nobody. `manage.py iso_register` is in services.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, ProtectedError, Sum
from django.utils import timezone
from pydantic import Field

from nodeagent.protocol import image
from panel.accounts import journal
from panel.accounts.limits import limits_of
from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import AlreadyExists, InvalidValue, LimitExceeded, WrongState
from panel.core.validation import Params, parse
from panel.core.wording import Text
from panel.images import incoming
from panel.images.models import Iso

MIB = 1024**2
LARGEST_BYTES = 64 * 1024**3
"""Of any ISO image."""
MAGIC, MAGIC_AT = b"CD001", 16 * 2048 + 1
"""Of an ISO 9660 image: the first volume descriptor's identifier (ECMA-119, 8.1.2)."""
ORPHAN_AGE = timedelta(hours=1)


class IsoValues(Params):
    """What an ISO image is called."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")
    title: str = Field(default="", max_length=128)


@dataclass(frozen=True)
class Used:
    """What an account's ISO images take of its limits."""

    iso_count: int
    size_bytes: int

    @property
    def iso_mib(self) -> int:
        """Begun MiB count."""
        return -(-self.size_bytes // MIB)


def used_by(user: User) -> Used:
    """What the user's own ISO images take; one query."""
    found = Iso.objects.filter(owner=user).aggregate(count=Count("pk"), size=Sum("size_bytes"))
    return Used(found["count"], int(found["size"] or 0))


def bring_in(viewer: User, raw: Mapping[str, Any], body: incoming.Stream, length: int | None) -> Iso:
    """A new ISO image of the viewer's, or of all where an administrator sends it; `length` is what was announced.

    Raises AccessDenied, MissingValue, InvalidValue, AlreadyExists, LimitExceeded, CapacityError, WrongState; nothing
    is left then.
    """
    permissions.require(viewer, "vms.devices")
    values = parse(IsoValues, raw)
    owner = None if permissions.allows(viewer, "images.manage") else viewer
    _refuse_taken_name(owner, values.name)
    _refuse_no_room(owner, length or 1)
    with incoming.part_of(viewer.pk) as part:
        _take(part, body, owner)
        if length is not None and part.size != length:
            raise InvalidValue("The upload broke off.", field="body")
        if part.size < MAGIC_AT + len(MAGIC):
            raise _no_iso()
        return _keep(viewer, owner, values, part)


def _take(part: incoming.Part, body: incoming.Stream, owner: User | None) -> None:
    """The part has all that arrives; refused as soon as it is no ISO image, or too large."""
    room = _room(owner)
    head = b""
    for block in incoming.blocks(body):
        if part.size + len(block) > room:
            _refuse_no_room(owner, part.size + len(block))
        part.add(block)
        if len(head) < MAGIC_AT + len(MAGIC):
            head += block
            if len(head) >= MAGIC_AT + len(MAGIC):
                _refuse_head(head)


def _refuse_head(head: bytes) -> None:
    """Raise InvalidValue for what does not begin as an ISO image, or also as a disk that refers to other files."""
    if head[MAGIC_AT : MAGIC_AT + len(MAGIC)] != MAGIC:
        raise _no_iso()
    if reason := image.refusal(head, "raw"):
        raise InvalidValue(reason, field="body")


def _no_iso() -> InvalidValue:
    return InvalidValue("This is no ISO 9660 image. The body is to be the file itself.", field="body")


@transaction.atomic
def _keep(viewer: User, owner: User | None, values: IsoValues, part: incoming.Part) -> Iso:
    if owner is not None:
        # Two that come to their ends at once cannot both have the last place.
        User.objects.select_for_update().only("pk").get(pk=owner.pk)
    _refuse_no_room(owner, part.size)
    file_name = f"{incoming.FOLDER}/{uuid.uuid4()}.iso"
    iso = Iso(owner=owner, file_name=file_name, sha256=part.sha256, size_bytes=part.size)
    _save(iso, values)
    told = {**public(iso), "sha256": iso.sha256, "size_bytes": iso.size_bytes}
    journal.record(viewer, "iso.create", "iso", iso.pk, iso.name, owner_id=iso.owner_id, after=told)
    part.keep(iso.path)
    return iso


def change_iso(viewer: User, iso: Iso, raw: Mapping[str, Any]) -> Iso:
    """The ISO image with another name or title. Raises AccessDenied, InvalidValue or AlreadyExists."""
    _require_power_over(viewer, iso)
    before = public(iso)
    values = parse(IsoValues, {**before, **raw})
    with transaction.atomic():
        _save(iso, values)
        earlier, now = journal.changed(before, public(iso))
        journal.record(viewer, "iso.change", "iso", iso.pk, iso.name, owner_id=iso.owner_id, before=earlier, after=now)
    return iso


def delete_iso(viewer: User, iso: Iso) -> None:
    """The ISO image is no more, nor its file where it was sent by a caller; nodes drop their copies at a later check.

    Raises AccessDenied, or WrongState while a VM has it in its drive.
    """
    _require_power_over(viewer, iso)
    iso_id, path, before = iso.pk, iso.path, public(iso)
    mounted = WrongState(
        "VMs have it in their drives: eject it first.", object="ISO image", id=iso_id, state="mounted", field="id"
    )
    if iso.vms.exists():
        raise mounted
    try:
        with transaction.atomic():
            iso.delete()
            journal.record(viewer, "iso.delete", "iso", iso_id, iso.name, owner_id=iso.owner_id, before=before)
            if path.parent == incoming.folder():
                transaction.on_commit(lambda: path.unlink(missing_ok=True))
    except (IntegrityError, ProtectedError) as error:
        # Put into a drive at this moment.
        raise mounted from error


def purge() -> None:
    """Delete files that no ISO image has, an hour old: what a killed process left."""
    incoming.drop_abandoned()
    known = set(Iso.objects.filter(file_name__startswith=f"{incoming.FOLDER}/").values_list("file_name", flat=True))
    for path in incoming.folder().glob("*.iso"):
        if f"{incoming.FOLDER}/{path.name}" not in known and _age(path) > ORPHAN_AGE:
            path.unlink(missing_ok=True)


def _age(path: Path) -> timedelta:
    # The time of the rename, not that of the last byte: whoever has just kept it has yet to commit.
    return timedelta(seconds=timezone.now().timestamp() - path.stat().st_ctime)


def public(iso: Iso) -> dict[str, Any]:
    """What may be changed of it."""
    return {"name": iso.name, "title": iso.title}


def _require_power_over(viewer: User, iso: Iso) -> None:
    permissions.require(viewer, "vms.devices" if iso.owner_id == viewer.pk else "images.manage")


def _save(iso: Iso, values: IsoValues) -> None:
    """Write it under this name; raises AlreadyExists."""
    iso.name, iso.title = values.name, values.title or values.name
    iso.shared_name = values.name if iso.owner_id is None else None
    try:
        with transaction.atomic():
            iso.save()
    except IntegrityError as error:
        raise AlreadyExists(field="name", object="ISO image") from error


def _refuse_taken_name(owner: User | None, name: str) -> None:
    if Iso.objects.filter(owner=owner, name=name).exists():
        raise AlreadyExists(field="name", object="ISO image")


def _room(owner: User | None) -> int:
    """How many bytes one more ISO image may have."""
    allowed = limits_of(owner).iso_mib if owner is not None else None
    if owner is None or allowed is None:
        return LARGEST_BYTES
    return min(LARGEST_BYTES, allowed * MIB - used_by(owner).size_bytes)


def _refuse_no_room(owner: User | None, size_bytes: int) -> None:
    """Raise LimitExceeded where one more of this size would pass a limit of the owner's, InvalidValue for too large."""
    if size_bytes > LARGEST_BYTES:
        raise InvalidValue(
            Text("An ISO image has at most {most_mib} MiB.", {"most_mib": LARGEST_BYTES // MIB}), field="body"
        )
    if owner is None:
        return
    limits, used = limits_of(owner), used_by(owner)
    if limits.iso_count is not None and used.iso_count + 1 > limits.iso_count:
        raise LimitExceeded(
            limit="iso_count", used=used.iso_count, allowed=limits.iso_count, asked=1, field="iso_count"
        )
    if limits.iso_mib is not None and used.size_bytes + size_bytes > limits.iso_mib * MIB:
        asked = -(-size_bytes // MIB)
        raise LimitExceeded(limit="iso_mib", used=used.iso_mib, allowed=limits.iso_mib, asked=asked, field="iso_mib")
