"""manage.py iso_register FILE.iso: make an ISO image known to the panel."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from panel.core.errors import PanelError
from panel.images.services import register_iso


class Command(BaseCommand):
    """Registers an ISO image."""

    help = "Register an ISO image that lies in VarDir/images."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The file, and what it shall be called."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--name", default="", help="Its name; else the file's.")
        parser.add_argument("--title", default="", help="What people read; else its name.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Register the file and print what the panel knows of it."""
        try:
            iso = register_iso(options["file"], name=options["name"], title=options["title"])
        except PanelError as error:
            raise CommandError(error.message) from error
        self.stdout.write(json.dumps({"name": iso.name, "sha256": iso.sha256, "size_bytes": iso.size_bytes}))
