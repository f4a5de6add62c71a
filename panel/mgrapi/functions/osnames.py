"""Systems as VMmanager names them: `REPOSITORY__NAME`. The panel has one repository, its images."""

from __future__ import annotations

from django.conf import settings

from panel.accounts.models import User
from panel.core.errors import InvalidValue
from panel.images.selectors import list_images
from panel.mgrapi.call import Call
from panel.mgrapi.functions.lists import MOST_ROWS

REPOSITORY = "vmpanel"


def os_choices(viewer: User, first: str | None = None) -> dict[str, str]:
    """The images to choose from, `first` before all others."""
    images = sorted(list_images(viewer)[:MOST_ROWS], key=lambda image: (image.name != first, image.name))
    return {f"{REPOSITORY}__{image.name}": image.title for image in images}


def image_of(call: Call) -> str:
    """The name of the image that `vmi` (with any repository or none) or `osname` asks for; empty for none."""
    asked = call.text("vmi", "osname")
    return asked.partition("__")[2] or asked


def default_image(viewer: User) -> str:
    """The name of the image for orders that name none: what ClassicImage says, else the only one; empty for none."""
    if named := settings.CONFIG.classic_image:
        return str(named)
    images = list_images(viewer)[:2]
    return images[0].name if len(images) == 1 else ""


def refuse_recipe(call: Call) -> None:
    """Raise InvalidValue for a recipe: the panel has none."""
    if call.text("recipe").lower() not in ("", "null"):
        raise InvalidValue("There is no such recipe: the panel has none. Use “null”.", field="recipe")
