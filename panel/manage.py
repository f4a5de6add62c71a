"""vmpanel-manage: Django's command line for the panel's own machine; VMPANEL_CONF names the configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line
from django.db.utils import OperationalError

from panel.config import DEFAULT_PATH
from panel.core.errors import ConfigError

NO_CONNECTION = (1044, 1045, 1049, 2002, 2003, 2005)
"""MariaDB's numbers for a server that does not answer, and for one that does not let us in."""


def main() -> None:
    """The program; what is wrong with the configuration is told in a sentence."""
    program = Path(sys.argv[0]).name
    where = os.environ.get("VMPANEL_CONF", DEFAULT_PATH)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")
    try:
        execute_from_command_line(sys.argv)
    except ConfigError as error:
        sys.exit(f"{program}: {error}")
    except OperationalError as error:
        if error.args[0] not in NO_CONNECTION:
            raise
        absent = f" There is no configuration {where}: name the panel's, as VMPANEL_CONF=var/vmpanel.conf."
        sys.exit(f"{program}: the database: {error.args[-1]}.{'' if Path(where).exists() else absent}")
