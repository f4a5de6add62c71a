"""manage.py image_register [FILE.json ...]: make images known to the panel, and have the first flavors."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from panel.core.errors import PanelError
from panel.images.services import ensure_flavors, register_image


class Command(BaseCommand):
    """Registers images and, in a new panel, the first flavors."""

    help = "Register images by their NAME.json in VarDir/images."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The metadata files."""
        parser.add_argument("file", nargs="*", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        """Register each file and print what the panel knows of it."""
        ensure_flavors()
        for file in options["file"]:
            try:
                image = register_image(file)
            except PanelError as error:
                raise CommandError(error.message) from error
            self.stdout.write(json.dumps({"id": image.pk, "name": image.name, "sha256": image.sha256}))
