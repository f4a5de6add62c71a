"""manage.py create_admin: have the first super administrator; its password is shown this once."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from panel.accounts.services import ensure_administrator


class Command(BaseCommand):
    """Makes the super administrator, or leaves the one that is there."""

    help = "Make the super administrator if there is none of that name."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The account's name."""
        parser.add_argument("--name", default="admin")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print {"name", "created", "password"} as JSON; the password only when it was made."""
        user, password = ensure_administrator(options["name"])
        answer = {"name": user.name, "created": password is not None}
        if password is not None:
            answer["password"] = password
        self.stdout.write(json.dumps(answer))
