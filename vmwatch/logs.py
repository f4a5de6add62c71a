"""The daemons' log files."""

from __future__ import annotations

import logging
from pathlib import Path


def log_to(path: Path) -> None:
    """Log to `path`, or to stderr where that cannot be written."""
    line = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(filename=str(path), level=logging.INFO, format=line)
    except OSError:
        logging.basicConfig(level=logging.INFO, format=line)
