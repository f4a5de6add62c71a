"""What is known of each node's vmwatch-node."""

from __future__ import annotations

from django.db import models

from panel.cluster.models import Node


class NodeWatch(models.Model):
    """The last message of a node's vmwatch-node that was taken."""

    node = models.OneToOneField(Node, on_delete=models.CASCADE, related_name="watch")
    epoch = models.BigIntegerField(default=0)
    sequence = models.BigIntegerField(default=0)
    heard_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"vmwatch-node of {self.node_id}"
