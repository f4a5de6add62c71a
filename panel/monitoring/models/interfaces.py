"""The network interfaces of each node, as its vmwatch-node told of them last."""

from __future__ import annotations

from django.db import models

from panel.cluster.models import Node


class NodeInterfaces(models.Model):
    """All interfaces of a node in one row: it is replaced as a whole, and bounded by what a message may have.

    `interfaces` are vmwatch's LinkStates as objects. `were_up` are the names of physical ones and bonds that had a
    cable in once: one of these that has none any more is a problem.
    """

    node = models.OneToOneField(Node, on_delete=models.CASCADE, related_name="interfaces")
    interfaces = models.JSONField(default=list)
    were_up = models.JSONField(default=list)
    changed_at = models.DateTimeField(help_text="When one of them was last something else than before.")
    seen_at = models.DateTimeField(help_text="Of when the counters are.")

    def __str__(self) -> str:
        return f"interfaces of {self.node_id}"
