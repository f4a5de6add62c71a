"""Clusters and their nodes. How a node is reached and what it is; what runs on it is other apps' matter."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from panel.core.rows import QuickModel


class NodeState(models.TextChoices):
    """Where a node is in its life with us."""

    PREPARING = "preparing", "Being prepared"
    READY = "ready", "Ready"
    UNREACHABLE = "unreachable", "Unreachable"
    REMOVING = "removing", "Being removed"


class Virtualization(models.TextChoices):
    """How guests run: `auto` lets the probe of the node decide."""

    AUTO = "auto", "Automatic"
    KVM = "kvm", "KVM"
    QEMU = "qemu", "QEMU (emulation)"


class Unsecured(models.TextChoices):
    """What passes at interfaces of VMs that have no security group."""

    ALLOW = "allow", "Everything"
    DENY_IN = "deny-in", "What the VM sends, and answers to it"


OVERSELLING = (MinValueValidator(50), MaxValueValidator(500))
DISK_OVERSELLING = (MinValueValidator(50), MaxValueValidator(10000))
"""Disks begin nearly empty: much more of them may be promised than of memory."""


class Cluster(models.Model):
    """Nodes that share storages and networks."""

    name = models.CharField(max_length=64, unique=True)
    timezone = models.CharField(max_length=64, default="UTC")
    memory_overselling_percent = models.PositiveSmallIntegerField(
        default=100, validators=OVERSELLING, help_text="How much of a node's memory may be promised to VMs."
    )
    cpu_overselling_percent = models.PositiveSmallIntegerField(
        null=True,
        validators=OVERSELLING,
        help_text="How many CPUs may be promised to VMs, of those that a node has; none: any number.",
    )
    disk_overselling_percent = models.PositiveSmallIntegerField(
        default=100,
        validators=DISK_OVERSELLING,
        help_text="How much of a storage may be promised to disks; up to 100, each must be free when it is made.",
    )
    check_vm_status = models.BooleanField(
        default=False, help_text="Whether running VMs that receive or write nothing bear a warning."
    )
    guests_reach_nodes = models.BooleanField(
        default=False, help_text="Whether guests reach the nodes' own services, and the addresses of nodes and panel."
    )
    unsecured = models.CharField(
        max_length=16,
        choices=Unsecured.choices,
        default=Unsecured.ALLOW,
        help_text="What passes at interfaces that have no security group.",
    )
    panel_addresses = models.JSONField(default=list, help_text="The panel's machine's own, as it last saw them.")

    def __str__(self) -> str:
        return self.name


class Node(QuickModel):
    """A server that runs VMs. `host_key` is the pinned ssh key, `facts` what the agent last said it is."""

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="nodes")
    name = models.CharField(max_length=64, unique=True, error_messages={"unique": "Another node has this name."})
    address = models.CharField(max_length=255)
    ssh_port = models.PositiveIntegerField(default=22)
    ssh_user = models.CharField(max_length=32, default="root")
    host_key = models.TextField(blank=True)
    host_uuid = models.UUIDField(
        null=True, unique=True, error_messages={"unique": "This host is in the cluster already."}
    )
    state = models.CharField(max_length=16, choices=NodeState.choices, default=NodeState.PREPARING)
    virtualization = models.CharField(max_length=8, choices=Virtualization.choices, default=Virtualization.AUTO)
    maintenance = models.BooleanField(default=False, help_text="Whether it takes no new VMs.")
    max_vms = models.PositiveIntegerField(null=True, help_text="How many VMs it may have; none: any number.")
    accel = models.CharField(max_length=8, blank=True, help_text="kvm or qemu: the setting, or what the probe found.")
    facts = models.JSONField(default=dict)
    facts_at = models.DateTimeField(null=True)
    is_fake = models.BooleanField(default=False, help_text="In-memory node of the tests.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["address", "ssh_port"], name="one_node_an_address")]

    def __str__(self) -> str:
        return self.name

    @property
    def fingerprint(self) -> str:
        """The pinned host key as OpenSSH shows it ("SHA256:..."), empty before it is pinned."""
        from panel.cluster.keys import fingerprint

        return fingerprint(self.host_key) if self.host_key else ""
