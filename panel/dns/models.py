"""Name servers, the records that they shall have, and the names that owners gave to addresses.

What shall be stands here; bringing.py has the servers follow. Nothing of a server is done in a request.
"""

from __future__ import annotations

from django.db import models

from panel.core import secretbox
from panel.core.wording import Text, of_row
from panel.network.models import Address
from panel.vms.models import Vm

USUAL_TEMPLATE = "{name}.{domain}"


class DnsServer(models.Model):
    """A PowerDNS that the panel writes records at. `sealed` is the key of its API, encrypted (core/secretbox.py)."""

    name = models.CharField(max_length=64, unique=True)
    url = models.CharField(max_length=255)
    sealed = models.BinaryField()
    ranges = models.JSONField(default=list, help_text="Of which addresses it has the names, as 192.0.2.0/24.")
    domain = models.CharField(max_length=253, blank=True, help_text="Of the names that VMs have without asking.")
    template = models.CharField(max_length=253, blank=True, help_text="What those are made of; empty: there are none.")
    forward = models.BooleanField(default=False, help_text="Whether such names have A and AAAA records too.")
    make_zones = models.BooleanField(default=True, help_text="Whether a zone that is missing is made.")
    zone_nameservers = models.JSONField(default=list, help_text="What a new zone names as its name servers.")
    ttl = models.PositiveIntegerField(default=3600)

    removing = models.BooleanField(default=False, help_text="Its records are being withdrawn; then it is forgotten.")
    look_again = models.BooleanField(default=True, help_text="Its settings changed: all records are to be made anew.")
    compare_at = models.DateTimeField(help_text="When its records are compared next.")
    held_until = models.DateTimeField(null=True, help_text="Until when a worker is at it.")
    failures = models.PositiveIntegerField(default=0, help_text="How often in a row it did not answer.")
    next_try_at = models.DateTimeField(null=True, help_text="When it is tried again, after a failure.")
    answered_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)
    error_said = models.JSONField(null=True, help_text="The Text that the error is made of when it is shown.")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """The key of its API."""
        return str(secretbox.unseal(bytes(self.sealed))["key"])

    @property
    def worded_error(self) -> Text:
        """Why it could not be worked with, to be shown to a reader."""
        return of_row(self.error, self.error_said)


class RecordState(models.TextChoices):
    """How far a record is."""

    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    BY_HAND = "by hand", "Kept by hand"
    REFUSED = "refused", "Refused"


class Record(models.Model):
    """A record that a server shall have, or (not `wanted`) have no more.

    `written` says that the panel may have written it: such a one alone is ever taken away. It is set before the
    server is spoken to.
    """

    server = models.ForeignKey(DnsServer, on_delete=models.CASCADE, related_name="records")
    vm_id = models.BigIntegerField(help_text="Whose address it names; rows outlive the VM until they are withdrawn.")
    ip = models.GenericIPAddressField()
    zone = models.CharField(max_length=255, help_text="The zone to be made where no zone has the name.")
    name = models.CharField(max_length=255)
    type = models.CharField(max_length=8)
    content = models.CharField(max_length=255)
    wanted = models.BooleanField(default=True)
    written = models.BooleanField(default=False)
    state = models.CharField(max_length=16, choices=RecordState.choices, default=RecordState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)
    error_said = models.JSONField(null=True, help_text="The Text that the error is made of when it is shown.")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["server", "vm_id", "type", "name", "content"], name="one_record_of_a_vm")
        ]
        indexes = [
            models.Index(fields=["server", "state", "next_try_at"], name="record_due"),
            models.Index(fields=["server", "name", "type"], name="record_set"),
            models.Index(fields=["vm_id", "ip"], name="record_of_address"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.type} {self.content}"

    @property
    def worded_error(self) -> Text:
        """Why the server does not have it, to be shown to a reader."""
        return of_row(self.error, self.error_said)


class ReverseName(models.Model):
    """The name that somebody gave to an address of a VM; without it the server's template makes one."""

    address = models.OneToOneField(Address, on_delete=models.CASCADE, related_name="reverse_name")
    vm = models.ForeignKey(Vm, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=253)
    set_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name


class Due(models.Model):
    """That a VM's records are to be looked at again; written with what changed, in the same transaction."""

    vm_id = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.vm_id)
