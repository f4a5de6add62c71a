"""What vmwatch's daemons are told: where they meet, and what they prove themselves with."""

from __future__ import annotations

from django.db import models


class WatchKeys(models.Model):
    """The keys in force, sealed, and what vmwatch-master was told of them; one row. keys.py reads and changes it.

    The address is here and not beside the master's last word: that row changes with every batch, and
    what nodes are told (address and keys) is read and changed under one lock.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    sealed = models.BinaryField(default=bytes)
    endpoint = models.CharField(max_length=255, blank=True, help_text="Where vmwatch-master listens; empty: blocked.")
    enabled_at = models.DateTimeField(null=True, help_text="Since when it is to listen there.")
    master_digest = models.CharField(max_length=16, blank=True, help_text="Which keys its file has.")
    master_nodes = models.JSONField(default=list, help_text="Which nodes its file names.")

    def __str__(self) -> str:
        return "vmwatch"
