"""Django's entry for the images app."""

from django.apps import AppConfig


class ImagesConfig(AppConfig):
    """The images app."""

    name = "panel.images"

    def ready(self) -> None:
        """Register the app's kinds of objects."""
        from panel.core import kinds

        kinds.register(
            kinds.Kind("image", "images", "image"),
            kinds.Kind("iso", "isos", "ISO image"),
            kinds.Kind("flavor", "flavors", "flavor"),
        )
