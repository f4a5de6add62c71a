"""Virtual machines, their disks and interfaces, and the history of their status.

`wanted` is what the owner asked for; `status` is what was last observed, changed by
status.py and nothing else.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models.expressions import OrderByList
from django.db.models.functions import Concat

from nodeagent.protocol.host import EMPTY
from nodeagent.protocol.storage import VolumeRef, file_ref
from panel.cluster.models import Cluster, Node
from panel.core.rows import QuickModel
from panel.core.wording import Text
from panel.images.models import Image, Iso
from panel.network.models import Address, Network, SecurityGroup
from panel.storage.models import Pool, Volume
from panel.vms import happened
from panel.vms.machine import Machine
from panel.vms.unmanaged import UnmanagedDomain as UnmanagedDomain
from vmwatch import wire

T = TypeVar("T", bound=models.Model)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Wanted(models.TextChoices):
    """What the owner asked for."""

    RUNNING = "running", "Running"
    SHUT_OFF = "shut off", "Shut off"


class VmStatus(models.TextChoices):
    """What was last observed; the words are libvirt's, with two of our own for what cannot be seen.

    A saved VM is off, and libvirt keeps its memory: see saved.py.
    """

    RUNNING = wire.RUNNING, "Running"
    PAUSED = wire.PAUSED, "Paused"
    SHUT_OFF = wire.SHUT_OFF, "Shut off"
    SAVED = wire.SAVED, "Saved"
    CRASHED = wire.CRASHED, "Crashed"
    MISSING = wire.MISSING, "Missing"
    UNKNOWN = wire.UNKNOWN, "Unknown"


ON = (VmStatus.RUNNING, VmStatus.PAUSED)
"""There is a guest: its domain is active."""


class Vm(Machine):
    """A virtual machine. Its domain bears its name; its UUID is its identity everywhere."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True)
    name = models.CharField(max_length=63, error_messages={"unique": "Another VM has this name."})
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="vms")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="vms")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="vms")
    image = models.ForeignKey(Image, null=True, on_delete=models.SET_NULL, related_name="+")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="+")
    memory_mib = models.PositiveIntegerField()
    vcpus = models.PositiveIntegerField()
    installed = models.BooleanField(default=False, help_text="Whether its deployment reached its end.")
    iso = models.ForeignKey(Iso, null=True, on_delete=models.PROTECT, related_name="vms")
    boot_iso = models.BooleanField(default=False, help_text="Whether it starts from the ISO image before its disks.")
    boot_iso_once = models.BooleanField(
        default=False, help_text="Whether its next start alone is from the ISO image; the panel's next start, that is."
    )
    seed = models.UUIDField(null=True, help_text="What its seed is called; none: its UUID.")
    known_to_former_owner = models.BooleanField(
        default=False, help_text="Whether its seed's password and keys may be a former owner's: no new system has them."
    )

    wanted = models.CharField(max_length=16, choices=Wanted.choices, default=Wanted.RUNNING)
    status = models.CharField(max_length=16, choices=VmStatus.choices, default=VmStatus.UNKNOWN)
    observed_at = models.DateTimeField(null=True)
    observed_node = models.ForeignKey(Node, null=True, on_delete=models.SET_NULL, related_name="+")
    observed_epoch = models.BigIntegerField(default=0, help_text="Start of the vmwatch-node that saw it (ns).")
    observed_sequence = models.BigIntegerField(default=0)
    observed_clock = models.FloatField(default=0.0, help_text="When by its node's own clock, which nobody sets.")
    observed_boot = models.CharField(max_length=36, blank=True, help_text="The node's start that the clock is of.")
    observed_by_task = models.BooleanField(default=False, help_text="Whether a task's own reading was the last.")
    observed_job = models.CharField(
        max_length=16, blank=True, help_text="What was under way with it on its node when that was last looked at."
    )
    seen_elsewhere = models.BooleanField(default=False, help_text="Whether another node runs a domain of its UUID.")
    autostart = models.BooleanField(default=False, help_text="Whether it starts when its node does.")
    suspended_at = models.DateTimeField(
        null=True, db_index=True, help_text="Since when an administrator keeps it off; null: nobody does."
    )
    suspension_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    unmanaged_snapshots = models.JSONField(
        default=list, blank=True, help_text="Those that its node has and the panel did not take, at its last check."
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["cluster", "name"],
                name="one_vm_name_a_cluster",
                violation_error_message="Another VM has this name.",
            )
        ]
        indexes = [
            models.Index(fields=["owner", "id"], name="vm_owner"),
            models.Index(fields=["name"], name="vm_name"),
            models.Index(fields=["owner", "name"], name="vm_owner_name"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def told_disks(self) -> list[Disk]:
        """Its disks with their volumes; lists read them with the row (told.py)."""
        known: list[Disk] | None = self.__dict__.get("_told_disks")
        return self._read("disks", self.disks.select_related("volume")) if known is None else known

    @property
    def attached_disks(self) -> list[Disk]:
        """Those of its disks that its domain has, with their volumes and storages."""
        return [each for each in self._read("disks", self.disks.select_related("volume__pool")) if each.attached]

    @property
    def told_interfaces(self) -> list[Interface]:
        """Its interfaces with their addresses and networks, likewise."""
        known: list[Interface] | None = self.__dict__.get("_told_interfaces")
        if known is not None:
            return known
        return self._read("interfaces", self.interfaces.select_related("network").with_ips())

    def _read(self, name: str, rows: models.QuerySet[T]) -> list[T]:
        """What hangs on it; as it was read with the VM, where it was."""
        known: models.QuerySet[T] | None = getattr(self, "_prefetched_objects_cache", {}).get(name)
        return list(rows if known is None else known)

    @property
    def installing(self) -> bool:
        """Whether an installer is at work in it; of a row that was read with its installation."""
        found = getattr(self, "installation", None)
        return found is not None and found.stage != InstallStage.DONE

    @property
    def suspended(self) -> bool:
        """Whether an administrator keeps it off."""
        return self.suspended_at is not None

    @property
    def order(self) -> str:
        """Where its status stands among all that was seen of it, as text: of two the larger one is the later."""
        at = (self.observed_at - LONG_AGO) // timedelta(microseconds=1) if self.observed_at else 0
        return f"{at:020d}.{self.observed_epoch:020d}.{self.observed_sequence:020d}"

    @property
    def in_rescue(self) -> bool:
        """Whether it boots a rescue system instead of its own; lists read it with the row."""
        known = getattr(self, "rescued", None)
        return self.auxiliary_disks.filter(purpose=Purpose.RESCUE).exists() if known is None else bool(known)

    @property
    def seed_ref(self) -> VolumeRef:
        """The VM's NoCloud seed, as its node is told of it."""
        return self.seed_called(self.seed)

    def seed_called(self, name: UUID | None) -> VolumeRef:
        """A seed of the VM; the first one bears the VM's UUID."""
        return file_ref(self.pool.store, "seeds", f"{name or self.uuid}.iso")

    @property
    def iso_ref(self) -> VolumeRef:
        """The ISO image in the VM's drive, as its node is told of it; EMPTY for none."""
        return file_ref(self.pool.store, "images", f"{self.iso.sha256}.img") if self.iso else EMPTY


class DiskBus(models.TextChoices):
    """What a disk is joined to. Disks on SATA cannot be plugged while the guest runs."""

    VIRTIO = "virtio", "VirtIO"
    SCSI = "scsi", "SCSI (virtio-scsi)"
    SATA = "sata", "SATA"


class DiskCache(models.TextChoices):
    """What the node keeps in its memory of a disk; all of them obey the guest's flushes."""

    NONE = "none", "None"
    WRITEBACK = "writeback", "Write back"
    WRITETHROUGH = "writethrough", "Write through"
    DIRECTSYNC = "directsync", "Direct and synchronous"


class Disk(QuickModel):
    """A volume attached to a VM under the guest's name for it (vda). The one of the lowest position is started from.

    Limits are a second, 0 for none. `attached` is false before a new disk is plugged in and while an old
    one is being removed: the domain then does not have it.
    """

    vm = models.ForeignKey(Vm, on_delete=models.CASCADE, related_name="disks")
    volume = models.OneToOneField(Volume, on_delete=models.PROTECT, related_name="disk")
    target = models.CharField(max_length=8, default="vda")
    bus = models.CharField(max_length=8, choices=DiskBus.choices, default=DiskBus.VIRTIO)
    cache = models.CharField(max_length=16, choices=DiskCache.choices, default=DiskCache.NONE)
    position = models.PositiveSmallIntegerField(default=0)
    attached = models.BooleanField(default=True)
    read_bytes_sec = models.PositiveBigIntegerField(default=0)
    write_bytes_sec = models.PositiveBigIntegerField(default=0)
    read_iops_sec = models.PositiveBigIntegerField(default=0)
    write_iops_sec = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["vm", "target"], name="one_disk_a_target")]

    def __str__(self) -> str:
        return f"{self.vm_id}/{self.target}"


class JoinedIps(models.Func):
    """Addresses in one text, the primary ones first, IPv4's before IPv6's, then as they were given.

    Django does not know it for an aggregate, and so adds no GROUP BY: all rows are one group, at half the cost.
    """

    function = "GROUP_CONCAT"
    arg_joiner = " "
    output_field = models.TextField(null=True)

    def __init__(self) -> None:
        super().__init__("address__ip", OrderByList(models.F("primary").asc(nulls_last=True), models.F("pk")))


class JoinedGroups(models.Func):
    """The names of security groups in one text, in their order; as JoinedIps."""

    function = "GROUP_CONCAT"
    arg_joiner = " "
    output_field = models.TextField(null=True)

    def __init__(self) -> None:
        super().__init__("securitygroup__name", OrderByList(models.F("securitygroup")))


class JoinedForwards(models.Func):
    """What leads to an interface in one text, in the order of ports; as JoinedIps."""

    function = "GROUP_CONCAT"
    arg_joiner = " "
    output_field = models.TextField(null=True)

    def __init__(self) -> None:
        space, dash = models.Value(" "), models.Value("-")
        told = Concat("protocol", space, "port", dash, "last_port", space, "to_port", output_field=models.TextField())
        super().__init__(told, OrderByList(models.F("port"), models.F("protocol")))


class InterfaceSet(models.QuerySet["Interface"]):
    """Interfaces."""

    def with_ips(self) -> InterfaceSet:
        """Each with its addresses, in the same query."""
        held = InterfaceAddress.objects.filter(interface=models.OuterRef("pk"))
        return self.annotate(joined_ips=models.Subquery(held.values_list(JoinedIps())))

    def with_groups(self) -> InterfaceSet:
        """Each with the names of its security groups, in the same query."""
        through = Interface.security_groups.through.objects.filter(interface=models.OuterRef("pk"))
        return self.annotate(joined_groups=models.Subquery(through.values_list(JoinedGroups())))

    def with_forwards(self) -> InterfaceSet:
        """Each with the ports of its node that lead to it, in the same query."""
        found = PortForward.objects.filter(interface=models.OuterRef("pk")).order_by()
        return self.annotate(joined_forwards=models.Subquery(found.values_list(JoinedForwards())))


class Interface(QuickModel):
    """A network interface of a VM. Limits are KiB a second, 0 for none; `attached` as of a disk."""

    vm = models.ForeignKey(Vm, on_delete=models.CASCADE, related_name="interfaces")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="interfaces")
    mac = models.CharField(max_length=17, unique=True)
    position = models.PositiveSmallIntegerField(default=0)
    attached = models.BooleanField(default=True)
    guarded = models.BooleanField(default=True, help_text="Whether the guest can send as nobody but itself.")
    inbound_kibps = models.PositiveIntegerField(default=0)
    outbound_kibps = models.PositiveIntegerField(default=0)
    security_groups = models.ManyToManyField(
        SecurityGroup, related_name="interfaces", help_text="None: what the cluster's policy says."
    )

    objects = InterfaceSet.as_manager()

    class Meta:
        ordering = ["position"]

    def __str__(self) -> str:
        return self.mac

    @property
    def ips(self) -> list[str]:
        """Its addresses, the primary ones first, IPv4's before IPv6's; with_ips() reads them with the row."""
        if "joined_ips" not in self.__dict__:
            return [each.address.ip for each in self.held_addresses()]
        joined: str | None = self.__dict__["joined_ips"]
        return joined.split(",") if joined else []

    @property
    def group_names(self) -> list[str]:
        """The names of its security groups; with_groups() reads them with the row."""
        if "joined_groups" not in self.__dict__:
            return [each.name for each in self.security_groups.all()]
        joined: str | None = self.__dict__["joined_groups"]
        return joined.split(",") if joined else []

    @property
    def forwards_told(self) -> list[str]:
        """The ports of its node that lead to it, for people; with_forwards() reads them with the row."""
        if "joined_forwards" not in self.__dict__:
            return [str(each) for each in self.port_forwards.all()]
        joined: str | None = self.__dict__["joined_forwards"]
        return [_forward_read(each) for each in joined.split(",")] if joined else []

    @property
    def ip(self) -> str | None:
        """The first of them, by which it is named where one alone is; None where it has none."""
        return next(iter(self.ips), None)

    def held_addresses(self) -> list[InterfaceAddress]:
        """Its addresses as rows, in the order of `ips`."""
        held = self.held.select_related("address").order_by(models.F("primary").asc(nulls_last=True), "pk")
        return list(held)


class InterfaceAddress(models.Model):
    """An address that an interface has. One of each version is primary: the guest is reached by it."""

    interface = models.ForeignKey(Interface, on_delete=models.CASCADE, related_name="held")
    address = models.OneToOneField(Address, on_delete=models.PROTECT, related_name="held")
    primary = models.PositiveSmallIntegerField(
        null=True, help_text="The version of IP of which it is the interface's primary address; null: of none."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["interface", "primary"], name="one_primary_a_version")]

    def __str__(self) -> str:
        return f"{self.address} of {self.interface}"


class PortForward(models.Model):
    """Ports of its node that lead to a VM's interface; several in a row lead to those of the same numbers."""

    interface = models.ForeignKey(Interface, on_delete=models.CASCADE, related_name="port_forwards")
    protocol = models.CharField(max_length=3, help_text="tcp or udp.")
    port = models.PositiveIntegerField()
    last_port = models.PositiveIntegerField()
    to_port = models.PositiveIntegerField()

    class Meta:
        ordering = ["port", "protocol"]

    def __str__(self) -> str:
        return forward_told(self.protocol, self.port, self.last_port, self.to_port)


def _forward_read(joined: str) -> str:
    protocol, ports, to = joined.split()
    first, _, last = ports.partition("-")
    return forward_told(protocol, int(first), int(last), int(to))


def forward_told(protocol: str, port: int, last_port: int, to_port: int) -> str:
    """Ports that lead to others, for people."""
    return f"{protocol} {port}-{last_port}" if last_port > port else f"{protocol} {port} → {to_port}"


class SnapshotState(models.TextChoices):
    """Where a snapshot is."""

    CREATING = "creating", "Being taken"
    READY = "ready", "Ready"
    DELETING = "deleting", "Being deleted"
    FAILED = "failed", "Not deleted"
    MISSING = "missing", "Missing on its node"


class Snapshot(models.Model):
    """A snapshot of a VM's disks, and of its memory where it ran. The node knows it as `on_node`.

    A deletion that failed leaves it `failed`, with the `reason`: perhaps some disks have it no more.
    `current` is the one that the VM goes on from: the last that was taken or gone back to.
    """

    vm = models.ForeignKey(Vm, on_delete=models.CASCADE, related_name="snapshots")
    uuid = models.UUIDField(default=uuid.uuid4, unique=True)
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=500, blank=True)
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="children")
    with_memory = models.BooleanField(default=False)
    vm_status = models.CharField(max_length=16, choices=VmStatus.choices, default=VmStatus.UNKNOWN)
    state = models.CharField(max_length=16, choices=SnapshotState.choices, default=SnapshotState.CREATING)
    current = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    named_by_hand = models.CharField(
        max_length=64, blank=True, help_text="libvirt's name of one that was taken by hand and adopted."
    )
    reason = models.CharField(max_length=500, blank=True, help_text="Why it was not deleted.")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["vm", "name"], name="one_snapshot_name_a_vm")]

    def __str__(self) -> str:
        return self.name

    @property
    def on_node(self) -> str:
        """libvirt's name of it."""
        return self.named_by_hand or str(self.uuid)

    @property
    def lost(self) -> bool:
        """Whether the VM cannot go back to it any more: it can be deleted (again), or forgotten."""
        return self.state in (SnapshotState.MISSING, SnapshotState.FAILED)


class Cause(models.TextChoices):
    """Who brought a change of status about."""

    TASK = "task", "A task of the panel"
    VMWATCH = "vmwatch", "Seen by vmwatch"
    OUTSIDE = "outside", "Done outside the panel"
    SILENCE = "silence", "Nothing is heard"


class StatusChange(models.Model):
    """One observation of a VM that is history: when, where, what, and why.

    `repeated` are those that found the status as it was before (a reboot, an event that followed a
    full report): the history is the others. They are kept so that an observation that comes late can be put
    where it belongs. `epoch` and `sequence` are vmwatch's, 0 for what a task read and for silence.
    """

    vm = models.ForeignKey(Vm, on_delete=models.CASCADE, related_name="status_changes")
    status = models.CharField(max_length=16, choices=VmStatus.choices)
    detail = models.CharField(max_length=64, blank=True, help_text="libvirt's word for what happened.")
    at = models.DateTimeField()
    node = models.ForeignKey(Node, null=True, on_delete=models.SET_NULL, related_name="+")
    cause = models.CharField(max_length=16, choices=Cause.choices)
    task_id = models.BigIntegerField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    epoch = models.BigIntegerField(default=0)
    sequence = models.BigIntegerField(default=0)
    repeated = models.BooleanField(default=False)

    class Meta:
        # Messages of one node may bear the same time; their numbers say which was first.
        ordering = ["-at", "-epoch", "-sequence", "-id"]
        indexes = [models.Index(fields=["vm", "at", "epoch", "sequence"], name="status_change_vm")]

    def __str__(self) -> str:
        return f"{self.vm_id} {self.status}"

    @property
    def worded(self) -> Text:
        """Who brought it about and what happened, to be shown to a reader."""
        return happened.worded(self.get_cause_display(), self.detail)


class Sighting(models.Model):
    """A VM's UUID is active on a node that the VM does not belong to.

    `accepted` once a person has said which copy is right, and this one still runs.
    """

    vm = models.ForeignKey(Vm, on_delete=models.CASCADE, related_name="sightings")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")
    status = models.CharField(max_length=16, choices=VmStatus.choices)
    seen_at = models.DateTimeField()
    accepted = models.BooleanField(default=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["vm", "node"], name="one_sighting_a_node")]

    def __str__(self) -> str:
        return f"{self.vm_id} on {self.node_id}"


class Migration(models.Model):
    """The last move of a VM from node to node; under way while it has not ended.

    While it is, the target's resources are promised, and both nodes show the VM's domain.
    """

    vm = models.OneToOneField(Vm, on_delete=models.CASCADE, related_name="migration")
    source = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")
    target = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="arriving")
    task_id = models.BigIntegerField(null=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.vm_id} to {self.target_id}"


class InstallStage(models.TextChoices):
    """How far the installation of a VM's system is."""

    INSTALLING = "installing", "The installer runs"
    FINISHING = "finishing", "The installed system is being started"
    DONE = "done", "Installed"


class Installation(QuickModel):
    """An installer that runs inside a VM. The guest ends it itself: by powering off or rebooting."""

    vm = models.OneToOneField(Vm, on_delete=models.CASCADE, related_name="installation")
    stage = models.CharField(max_length=16, choices=InstallStage.choices, default=InstallStage.INSTALLING)
    started_at = models.DateTimeField(auto_now_add=True)
    guest_ended_at = models.DateTimeField(null=True, help_text="When the guest powered off or rebooted.")
    done_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.vm_id} {self.stage}"


class Purpose(models.TextChoices):
    """What a system beside a VM's own is there for."""

    PREPARED = "prepared", "The VM shall boot it instead of its own system"
    RESCUE = "rescue", "The VM boots it instead of its own system"
    REINSTALL = "reinstall", "The new system until it is swapped with the old one, then the old one"
    LEFT = "left", "To be deleted"


class AuxiliaryDisk(models.Model):
    """A system that belongs to a VM and is not its own: a volume that is none of its disks, with a seed.

    One for rescue means that the VM is in rescue mode, running or not. The others live as long as a task.
    """

    vm = models.ForeignKey(Vm, on_delete=models.CASCADE, related_name="auxiliary_disks")
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    volume = models.OneToOneField(Volume, on_delete=models.PROTECT, related_name="auxiliary_disk")
    image = models.ForeignKey(Image, null=True, on_delete=models.SET_NULL, related_name="+")
    seed = models.UUIDField(null=True, help_text="What its seed is called; none: the VM's UUID.")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["vm", "purpose"], name="one_auxiliary_disk_a_purpose")]

    def __str__(self) -> str:
        return f"{self.vm_id} {self.purpose}"

    @property
    def seed_ref(self) -> VolumeRef:
        """Its seed, as the VM's node is told of it."""
        return self.vm.seed_called(self.seed)
