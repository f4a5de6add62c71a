"""manage.py classic_call: a call of the classic API by root on the panel's machine; what mgrctl uses there."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from panel.core.errors import PanelError
from panel.mgrapi.local import answer


class Command(BaseCommand):
    """Reads the parameters, a JSON object of texts, from its input, where other users see no passwords."""

    help = (
        "Make a call of the classic API, whose parameters are read as a JSON object, as the first super administrator."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the document."""
        try:
            asked = json.load(sys.stdin)
        except ValueError as error:
            raise CommandError(f"The parameters are no JSON: {error}.") from error
        if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
            raise CommandError("The parameters are a JSON object of texts.")
        try:
            self.stdout.write(answer(asked), ending="")
        except PanelError as error:
            raise CommandError(error.message) from error
