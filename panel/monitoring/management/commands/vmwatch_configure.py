"""manage.py vmwatch_configure: configure the status subsystem anew, here and on every node."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from panel.accounts.system import system_user
from panel.core.errors import PanelError
from panel.monitoring.configure import configure_master
from panel.tasks import registry


class Command(BaseCommand):
    """Writes vmwatch-master.conf at once where it belongs, and asks for the task that configures every node."""

    help = "Configure vmwatch-master, and vmwatch-node on every node."

    def add_arguments(self, parser: CommandParser) -> None:
        """What to do besides."""
        parser.add_argument("--rotate", action="store_true", help="make a new secret; no event is lost by it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Configure both ends."""
        try:
            endpoint = configure_master()[0] if settings.CONFIG.panel_here else None
            raw = {"rotate": options["rotate"]}
            task = registry.get("vmwatch.configure").submit(system_user(), raw, object_id=1)
        except PanelError as error:
            raise CommandError(error.message) from error
        if endpoint is not None:
            self.stdout.write(f"vmwatch-master listens on {endpoint}" if endpoint else "disabled until there is a node")
        self.stdout.write(f"task {task.pk}: {task.title}")
