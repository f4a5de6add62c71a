"""manage.py token_create USER NAME: a new API token, shown this once."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from panel.accounts.models import User
from panel.accounts.tokens import create_token
from panel.core.errors import PanelError


class Command(BaseCommand):
    """Makes an API token."""

    help = "Make an API token of a user."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose token, and what it is called."""
        parser.add_argument("user")
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print {"token"} as JSON."""
        user = User.objects.filter(name=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user “{options['user']}”.")
        try:
            _token, text = create_token(user, options["name"])
        except PanelError as error:
            raise CommandError(error.message) from error
        self.stdout.write(json.dumps({"token": text}))
