"""The daemons' log files."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

MOST_BYTES = 10 * 1024 * 1024
KEPT = 3
"""Earlier logs that stay, as NAME.log.1 (the newest) and so on."""


def log_to(path: Path) -> None:
    """Log to `path`, which is begun anew when it is large, or to stderr where that cannot be written."""
    line = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.handlers.RotatingFileHandler(str(path), maxBytes=MOST_BYTES, backupCount=KEPT)
        logging.basicConfig(handlers=[file], level=logging.INFO, format=line)
    except OSError:
        logging.basicConfig(level=logging.INFO, format=line)
