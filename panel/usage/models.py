"""The ledger: what each VM was from when on. Rows are only ever added, and outlive the VM.

This app lies below the VMs: it knows them by id, uuid and name. vms/usage.py says when a VM's rows
have changed; intervals.py makes sums of the entries.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.db import models


class AppendOnly(models.QuerySet["Entry"]):
    """Rows that are added and read."""

    def update(self, **fields: Any) -> NoReturn:
        """Never: what was billed by an entry would change."""
        raise TypeError("The ledger is only ever added to.")

    def delete(self) -> NoReturn:
        """Never."""
        raise TypeError("The ledger is only ever added to.")


class OrderEnd(models.TextChoices):
    """How an order ended of which no VM came."""

    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class Entry(models.Model):
    """What a VM is from `at` on, until the VM's next entry: whose it is, how large, suspended, or no more.

    `at` is the database's clock in whole seconds, never before the entry before it, and never within a
    period that somebody was told the usage of (Closed). Of several entries of one second the last holds.
    """

    vm_id = models.BigIntegerField()
    sequence = models.PositiveIntegerField()
    at = models.DateTimeField()
    uuid = models.UUIDField()
    name = models.CharField(max_length=63)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    owner_name = models.CharField(max_length=64, blank=True, help_text="What the owner was called then.")
    vcpus = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    disk_gib = models.PositiveIntegerField(help_text="Of all its disks together.")
    addresses = models.PositiveIntegerField()
    suspended = models.BooleanField(default=False)
    exists = models.BooleanField(default=True)
    order = models.CharField(
        max_length=16, blank=True, choices=OrderEnd.choices, help_text="Of a VM whose creation did not succeed: why."
    )
    request_id = models.CharField(max_length=64, help_text="What brought it about.")

    objects = AppendOnly.as_manager()

    class Meta:
        ordering = ["vm_id", "sequence"]
        constraints = [models.UniqueConstraint(fields=["vm_id", "sequence"], name="one_entry_a_number")]
        indexes = [
            models.Index(fields=["owner", "vm_id", "at"], name="entry_owner"),
            models.Index(fields=["owner_name", "owner"], name="entry_owner_name"),
            # One row a VM: the list of all VMs that ever were.
            models.Index(fields=["sequence", "vm_id"], name="entry_first"),
        ]

    def __str__(self) -> str:
        return f"{self.vm_id}/{self.sequence}"


class Closed(models.Model):
    """Until when usage was told of; one row. No entry is ever dated before it, whatever the clock says."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"until {self.until}"
