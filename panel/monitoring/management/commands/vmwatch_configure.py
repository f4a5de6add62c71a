"""manage.py vmwatch_configure: configure the status subsystem anew, here and on every node."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from panel.cluster.periodic import check_nodes
from panel.core.errors import PanelError
from panel.monitoring.configure import configure_master


class Command(BaseCommand):
    """Writes vmwatch-master.conf and asks for a check of every node, which configures its vmwatch-node."""

    help = "Configure vmwatch-master, and vmwatch-node on every node."

    def handle(self, *args: Any, **options: Any) -> None:
        """Configure both ends."""
        try:
            endpoint, _secret = configure_master()
        except PanelError as error:
            raise CommandError(error.message) from error
        check_nodes()
        self.stdout.write(f"vmwatch-master listens on {endpoint}" if endpoint else "disabled until there is a node")
