"""manage.py doctor: the examination without a worker, for when nothing else works."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from panel.core.texts import escaped
from panel.doctor.services import examine


class Command(BaseCommand):
    """Prints each finding on a line; exit code 1 when there is any."""

    help = "Compare the database with every node, item by item. Changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        """How to print."""
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine and print."""
        found = examine()
        if options["json"]:
            self.stdout.write(json.dumps([each.as_json() for each in found]))
        else:
            for each in found:
                mend = f" → {each.mend}" if each.mend else ""
                line = f"{each.code:16} {each.node:12} {each.object:24} {each.text}{mend}"
                self.stdout.write(escaped(line))
            self.stdout.write(f"{len(found)} findings" if found else "Database and nodes agree.")
        if found:
            sys.exit(1)
