"""What is known of the daemons: each node's vmwatch-node, and vmwatch-master."""

from __future__ import annotations

from django.db import models

from panel.cluster.models import Node


class NodeWatch(models.Model):
    """The newest message of a node's vmwatch-node that was taken, and those before it that never came.

    `gaps` are ranges of messages that are missing, as [epoch, first sequence, last sequence].
    """

    node = models.OneToOneField(Node, on_delete=models.CASCADE, related_name="watch")
    epoch = models.BigIntegerField(default=0)
    sequence = models.BigIntegerField(default=0)
    heard_at = models.DateTimeField(null=True)
    gaps = models.JSONField(default=list)
    keys_digest = models.CharField(max_length=16, blank=True, help_text="Which keys the node was told last.")

    def __str__(self) -> str:
        return f"vmwatch-node of {self.node_id}"


class MasterWatch(models.Model):
    """When vmwatch-master last spoke to the panel; one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    heard_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return "vmwatch-master"
