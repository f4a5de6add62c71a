"""Storage pools and volumes."""

from __future__ import annotations

import uuid

from django.db import models

from nodeagent import storage as storages
from nodeagent.protocol.storage import DIRECTORY, PoolRef, VolumeRef
from panel.cluster.models import DISK_OVERSELLING, Cluster, Node
from panel.core.rows import QuickModel
from panel.storage.kinds import KINDS, Can, Kind


class Pool(models.Model):
    """A storage that every node of the cluster has: the same files everywhere (`shared`), or its own on each node."""

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="pools")
    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, default=DIRECTORY, help_text="One of panel/storage/kinds.")
    options = models.JSONField(default=dict, help_text="What its kind must know of it.")
    shared = models.BooleanField(default=False, help_text="Whether all nodes see the same files in it.")
    volume_format = models.CharField(max_length=8, choices=[("qcow2", "qcow2"), ("raw", "raw")], default="qcow2")

    disk_overselling_percent = models.PositiveSmallIntegerField(
        null=True,
        validators=DISK_OVERSELLING,
        help_text="How much of its size may be promised to disks; none: what the cluster says.",
    )

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["cluster", "name"], name="one_pool_name_a_cluster")]

    def __str__(self) -> str:
        return self.name

    @property
    def overselling_percent(self) -> int:
        """How much of its size on a node may be promised to disks."""
        own = self.disk_overselling_percent
        return self.cluster.disk_overselling_percent if own is None else own

    @property
    def of_kind(self) -> Kind:
        """What its kind says of it."""
        return KINDS[self.kind]

    @property
    def ref(self) -> PoolRef:
        """The pool as nodes are told of it."""
        return PoolRef(self.kind, self.name, self.options)

    @property
    def store(self) -> PoolRef:
        """Where the files of its VMs are that are no volumes: seeds, and copies of images and ISO images."""
        return self.of_kind.store(self.ref)

    @property
    def store_apart(self) -> bool:
        """Whether those files lie apart from the pool: on each node its own, whether the pool is shared or not."""
        return self.store != self.ref

    @property
    def where(self) -> str:
        """Where it is on its nodes, in one line, for people."""
        return storages.of(self.ref).where


class PoolFault(models.TextChoices):
    """Why a pool on a node cannot be used: what the agent called it, or that it is something else."""

    NONE = "", "none"
    NOT_MOUNTED = "not_mounted", "not mounted"
    READ_ONLY = "read_only", "mounted read-only"
    BROKEN = "broken", "not working"


class NodePool(models.Model):
    """A pool on a node: its free space as last seen, in bytes, the mark that its files bear, and where they are.

    By mark and devices the pool is known: what differs is not touched (nodeagent/known.py).
    """

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="pools")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="on_nodes")
    capacity_bytes = models.BigIntegerField(default=0)
    free_bytes = models.BigIntegerField(default=0)
    mark = models.CharField(max_length=32, blank=True, help_text="Nodes with different ones see different files.")
    devices = models.JSONField(null=True, help_text="UUIDs of its file systems; null: not yet looked at.")
    fault = models.CharField(max_length=16, blank=True, choices=PoolFault.choices, default=PoolFault.NONE)
    seen_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "pool"], name="one_pool_a_node")]

    def __str__(self) -> str:
        return f"{self.pool} on {self.node}"


class Volume(QuickModel):
    """A disk image in a pool: on a node, or in a shared pool on none."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True)
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="volumes")
    node = models.ForeignKey(
        Node,
        null=True,
        on_delete=models.PROTECT,
        related_name="volumes",
        help_text="Where it is; none: in a shared pool, which is the same on all nodes.",
    )
    format = models.CharField(max_length=8, default="qcow2")
    size_gib = models.PositiveIntegerField()
    file_name = models.CharField(
        max_length=200, blank=True, help_text="What its file is called where the panel did not name it."
    )

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def name(self) -> str:
        """What it is called in its pool."""
        return self.file_name or f"{self.uuid}.{self.format}"

    @property
    def ref(self) -> VolumeRef:
        """The volume as nodes are told of it."""
        return VolumeRef(self.pool.ref, self.name)

    @property
    def can(self) -> frozenset[Can]:
        """What a volume of this format in this pool can."""
        return self.pool.of_kind.can_in(self.format)

    @property
    def place(self) -> str:
        """Where it is on its node, in one line, for people and comparisons."""
        return storages.place(self.ref)

    @property
    def size_bytes(self) -> int:
        """The volume's size as the guest sees it."""
        return self.size_gib * 1024**3
