"""Cron entries of images."""

from __future__ import annotations

from panel.images import isos


def purge() -> None:
    """Delete what broken uploads left."""
    isos.purge()
