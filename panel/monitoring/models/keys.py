"""What vmwatch's daemons prove themselves with."""

from __future__ import annotations

from django.db import models


class WatchKeys(models.Model):
    """The keys in force, sealed; one row. keys.py reads and changes it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    sealed = models.BinaryField(default=bytes)

    def __str__(self) -> str:
        return "vmwatch"
