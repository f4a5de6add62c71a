"""What VMs use: the newest counters of each, and rows of what was added in a stretch of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import models

from panel.core.rows import QuickModel
from panel.vms.models import Vm

COUNTERS = (
    "cpu_ns",
    "read_bytes",
    "read_requests",
    "write_bytes",
    "write_requests",
    "rx_bytes",
    "rx_packets",
    "tx_bytes",
    "tx_packets",
)
"""What libvirt counts from a domain's start; disks and interfaces are added up."""


class Step(models.IntegerChoices):
    """How long a stretch of time a row is about, in seconds."""

    TEN_MINUTES = 600, "10m"
    HOUR = 3600, "hour"
    DAY = 86400, "day"


def slot(at: datetime, step: int = Step.TEN_MINUTES) -> datetime:
    """The begin of the stretch of time that `at` lies in."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % step, UTC)


def kept_since(step: int, now: datetime) -> datetime:
    """From when on rows of a step are kept: from the begin of a day, so that what days are made of is whole."""
    days = {
        Step.TEN_MINUTES: settings.CONFIG.statistics_days,
        Step.HOUR: settings.CONFIG.statistics_hour_days,
        Step.DAY: settings.CONFIG.statistics_day_days,
    }
    return slot(now - timedelta(days=days[Step(step)]), Step.DAY)


class WaitingStatistics(models.Model):
    """A message with counters that no worker has taken in yet; see statistics/waiting.py."""

    node_id = models.BigIntegerField()
    at = models.DateTimeField(help_text="When they were read, by the panel's clock.")
    body = models.BinaryField(help_text="The message as it came, whose proof was checked.")

    def __str__(self) -> str:
        return f"statistics of node {self.node_id} at {self.at}"


class VmCounters(QuickModel):
    """A VM's counters as last collected, from which the next collection's differences are made.

    `quiet_packets` and `quiet_writes` say that in the whole period before nothing was received, or written.
    """

    vm = models.OneToOneField(
        Vm, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="counters"
    )
    node_id = models.BigIntegerField()
    run = models.BigIntegerField(help_text="libvirt's id of the running domain; another one counts from 0.")
    at = models.DateTimeField()
    epoch = models.BigIntegerField(default=0, help_text="Of the message, as `sequence`; they order a node's.")
    sequence = models.BigIntegerField(default=0)
    clock = models.FloatField(default=0.0, help_text="When they were read, by the node's own clock; 0: unknown.")
    boot = models.CharField(max_length=36, blank=True, help_text="Which start of the node `clock` and `run` are of.")
    reading = models.JSONField(default=dict, help_text="The counters of each device; see statistics/counters.py.")
    quiet_packets = models.BooleanField(default=False)
    quiet_writes = models.BooleanField(default=False)
    closed = models.BooleanField(default=False, help_text="Whether these are the run's last, read as it ended.")

    def __str__(self) -> str:
        return f"counters of {self.vm_id}"


class VmUsage(models.Model):
    """What was added to a VM's counters in the stretch of time that begins at `at`.

    It was counted over `seconds`, which are more than the stretch has where nothing was heard before;
    memory is the mean over them. The primary key keeps a VM's series together, and there is no constraint
    on the VM: its deletion must not wait for thousands of rows.
    """

    pk = models.CompositePrimaryKey("vm_id", "step", "at")
    vm = models.ForeignKey(Vm, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    step = models.IntegerField(choices=Step.choices)
    at = models.DateTimeField()
    seconds = models.IntegerField(default=0)
    memory_kib = models.BigIntegerField(default=0)
    rss_kib = models.BigIntegerField(default=0)
    cpu_ns = models.BigIntegerField(default=0)
    read_bytes = models.BigIntegerField(default=0)
    read_requests = models.BigIntegerField(default=0)
    write_bytes = models.BigIntegerField(default=0)
    write_requests = models.BigIntegerField(default=0)
    rx_bytes = models.BigIntegerField(default=0)
    rx_packets = models.BigIntegerField(default=0)
    tx_bytes = models.BigIntegerField(default=0)
    tx_packets = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"usage of {self.vm_id} at {self.at}"


class VmTraffic(models.Model):
    """What a VM received and sent in a calendar month (UTC), counted apart so that no purge touches it."""

    pk = models.CompositePrimaryKey("vm_id", "month")
    vm = models.ForeignKey(Vm, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    month = models.DateField(help_text="Its first day.")
    rx_bytes = models.BigIntegerField(default=0)
    tx_bytes = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"traffic of {self.vm_id} in {self.month:%Y-%m}"


class Unread(models.Model):
    """A stretch of time in which a VM ran and of which its last counters were not read: its traffic is not known.

    Never taken back, so that a period which was told as incomplete stays so. Outlives the VM.
    """

    vm = models.ForeignKey(Vm, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    begin = models.DateTimeField()
    end = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["vm", "end"], name="unread_vm")]

    def __str__(self) -> str:
        return f"{self.vm_id} unread from {self.begin} until {self.end}"


class RolledUp(models.Model):
    """Until when the rows of a step were made from the finer ones."""

    step = models.IntegerField(primary_key=True, choices=Step.choices)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.get_step_display()} until {self.until}"
