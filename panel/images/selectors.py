"""Reading images and flavors; every user sees them."""

from __future__ import annotations

from django.db.models import QuerySet

from panel.accounts.models import User
from panel.core.errors import NotFound
from panel.images.models import Flavor, Image, Iso


def list_images(viewer: User) -> QuerySet[Image]:
    """All OS images."""
    return Image.objects.all()


def list_flavors(viewer: User) -> QuerySet[Flavor]:
    """All flavors, the smallest first."""
    return Flavor.objects.all()


def list_isos(viewer: User) -> QuerySet[Iso]:
    """All ISO images."""
    return Iso.objects.all()


def iso_named(name: str) -> Iso:
    """The ISO image of that name; raises NotFound."""
    iso = Iso.objects.filter(name=name).first()
    if iso is None:
        raise NotFound(object="iso", id=name, field="iso")
    return iso


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
