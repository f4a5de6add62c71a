"""`osmgr`, `osmgr.edit`, `iso`, `iso.delete`, `recipemgr`: what VMs are made from.

Images and ISO images are files beside the panel, made known there; they are read here.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import InvalidValue, NotFound
from panel.images.isos import delete_iso
from panel.images.models import Image, Iso
from panel.images.selectors import list_images, list_isos
from panel.mgrapi.call import NUMBER, Call
from panel.mgrapi.documents import Answer, Cell, Done, Form, Rows
from panel.mgrapi.functions.lists import listed
from panel.mgrapi.functions.osnames import REPOSITORY

FILTERS = {"id": "pk", "name": "name__icontains"}


def _image_row(image: Image) -> Mapping[str, Cell]:
    return {
        "id": f"{REPOSITORY}__{image.name}",
        "name": image.name,
        "title": image.title,
        "osname": image.name,
        "ostype": image.os_family,
        "repository": REPOSITORY,
        "status": "installed",
        "minmem": image.min_memory_mib,
        "mindisk": image.min_disk_gib * 1024,
    }


def osmgr(viewer: User, call: Call) -> Answer:
    """The OS images. `vmi` takes an `id`, or a `name` after any repository (`ISPsystem__NAME`) or none."""
    return listed(call, list_images(viewer), _image_row, {"name": "name__icontains"})


def osmgr_edit(viewer: User, call: Call) -> Answer:
    """What is known of an image, by its name or number. It is changed beside the panel alone."""
    permissions.require(viewer, "images.manage")
    asked = call.need("elid").rpartition("__")[2]
    images = list_images(viewer)
    image = images.filter(pk=int(asked)).first() if NUMBER.match(asked) else images.filter(name=asked).first()
    if image is None:
        raise NotFound(object="osmgr", id=asked[:64])
    if call.sok:
        raise InvalidValue("Images are changed on the panel's machine: “manage.py image_register”.", field="sok")
    return Form(
        {
            "elid": f"{REPOSITORY}__{image.name}",
            "name": image.name,
            "title": image.title,
            "osname": image.name,
            "ostype": image.os_family,
            "login": image.login,
            "size": image.size_bytes,
            "minmem": image.min_memory_mib,
            "mindisk": image.min_disk_gib * 1024,
            "sha256": image.sha256,
        }
    )


def _iso_row(iso: Iso) -> Mapping[str, Cell]:
    size = -(-iso.size_bytes // 2**20)
    return {
        "id": iso.pk,
        "name": iso.name,
        "title": iso.title,
        "size": size,
        "user": iso.owner.name if iso.owner else None,
    }


def iso(viewer: User, call: Call) -> Answer:
    """The ISO images of all, and the viewer's own, with their sizes in MiB."""
    return listed(call, list_isos(viewer), _iso_row, FILTERS)


def iso_delete(viewer: User, call: Call) -> Answer:
    """The ISO images, by number or name, are no more; one that is in a drive stays, and then all do."""
    found = [_iso_of(viewer, each) for each in call.elids()]
    with transaction.atomic():
        for each in found:
            delete_iso(viewer, each)
    return Done()


def _iso_of(viewer: User, asked: str) -> Iso:
    isos = list_isos(viewer)
    found = isos.filter(pk=int(asked)).first() if NUMBER.match(asked) else isos.filter(name=asked).first()
    if found is None:
        raise NotFound(object="iso", id=asked[:64])
    return found


def recipemgr(viewer: User, call: Call) -> Answer:
    """The recipes: the panel has none."""
    return Rows([])


FUNCTIONS = {"osmgr": osmgr, "osmgr.edit": osmgr_edit, "iso": iso, "iso.delete": iso_delete, "recipemgr": recipemgr}
