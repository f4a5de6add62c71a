"""Reading images and flavors, which every user sees, and ISO images: one's own and those of all."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from panel.accounts.models import User
from panel.core.errors import NotFound
from panel.images.models import Flavor, Image, Iso


def list_images(viewer: User) -> QuerySet[Image]:
    """All OS images."""
    return Image.objects.all()


def list_flavors(viewer: User) -> QuerySet[Flavor]:
    """All flavors, the smallest first."""
    return Flavor.objects.all()


def get_image(viewer: User, image_id: int) -> Image:
    """One OS image; raises NotFound."""
    image = list_images(viewer).filter(pk=image_id).first()
    if image is None:
        raise NotFound(object="image", id=image_id)
    return image


def get_flavor(viewer: User, flavor_id: int) -> Flavor:
    """One flavor; raises NotFound."""
    flavor = list_flavors(viewer).filter(pk=flavor_id).first()
    if flavor is None:
        raise NotFound(object="flavor", id=flavor_id)
    return flavor


def list_isos(viewer: User) -> QuerySet[Iso]:
    """The ISO images of all, and the viewer's own; administrators see everybody's."""
    isos = Iso.objects.select_related("owner")
    return isos if viewer.sees_all else isos.filter(Q(owner=None) | Q(owner=viewer))


def get_iso(viewer: User, iso_id: int) -> Iso:
    """One ISO image; raises NotFound, also for another's."""
    iso = list_isos(viewer).filter(pk=iso_id).first()
    if iso is None:
        raise NotFound(object="iso", id=iso_id)
    return iso


def isos_for(owner: User) -> QuerySet[Iso]:
    """What VMs of `owner` may have in their drives, whoever puts it there: the owner's own ones first."""
    # NULL is less than any number.
    return Iso.objects.filter(Q(owner=None) | Q(owner=owner)).order_by("-owner_id", "name")


def iso_for(owner: User, name: str) -> Iso:
    """The ISO image of that name for VMs of `owner`: an own one goes before one of all; raises NotFound."""
    iso = isos_for(owner).filter(name=name).first()
    if iso is None:
        raise NotFound(object="iso", id=name, field="iso")
    return iso


def known_sums() -> list[str]:
    """The SHA-256 of every OS and ISO image that is known; two queries."""
    return sorted({*Image.objects.values_list("sha256", flat=True), *Iso.objects.values_list("sha256", flat=True)})


def image_named(name: str) -> Image:
    """The image of that name; raises NotFound."""
    image = Image.objects.filter(name=name).first()
    if image is None:
        raise NotFound(object="image", id=name, field="image")
    return image


def flavor_named(name: str) -> Flavor:
    """The flavor of that name; raises NotFound."""
    flavor = Flavor.objects.filter(name=name).first()
    if flavor is None:
        raise NotFound(object="flavor", id=name, field="flavor")
    return flavor
