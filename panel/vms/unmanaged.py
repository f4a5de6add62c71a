"""Domains on our nodes that the panel does not know; in the way, or to be imported."""

from __future__ import annotations

from django.db import models

from panel.cluster.models import Node


class UnmanagedDomain(models.Model):
    """A domain that the last comparison found on a node and that is no VM of ours."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="unmanaged_domains")
    uuid = models.UUIDField()
    name = models.CharField(max_length=255)
    status = models.CharField(max_length=16)
    memory_mib = models.PositiveBigIntegerField()
    vcpus = models.PositiveIntegerField()
    disks = models.JSONField(default=list)
    macs = models.JSONField(default=list)
    details = models.JSONField(default=dict, help_text="What vm.take-over must know (protocol.audit.UnmanagedDetails).")
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["node", "uuid"], name="one_unmanaged_domain_a_node")]

    def __str__(self) -> str:
        return self.name
