"""Networks, their pools of addresses, and which VM has which address."""

from __future__ import annotations

import ipaddress

from django.db import models

from nodeagent.protocol.network import NAT
from panel.cluster.models import Cluster, Node
from panel.core.rows import QuickModel
from panel.network.kinds import KINDS, Kind


class Network(models.Model):
    """A network that every node of the cluster has, as a bridge of this name; what else, its kind says."""

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="networks")
    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, default=NAT, help_text="One of panel/network/kinds.")
    options = models.JSONField(default=dict, help_text="What its kind must know of it.")
    bridge = models.CharField(max_length=15)
    subnet = models.CharField(max_length=64, help_text="CIDR, as 10.77.0.0/24.")
    gateway = models.GenericIPAddressField()
    nameservers = models.JSONField(default=list)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "name"], name="one_network_name_a_cluster"),
            models.UniqueConstraint(fields=["cluster", "bridge"], name="one_bridge_a_cluster"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def of_kind(self) -> Kind:
        """What its kind says of it."""
        return KINDS[self.kind]

    @property
    def prefix(self) -> int:
        """The length of the subnet's prefix in bits."""
        return ipaddress.ip_network(self.subnet).prefixlen


class NetworkState(models.TextChoices):
    """How a network is on a node."""

    READY = "ready", "ready"
    FAILED = "failed", "cannot be made"


class NodeNetwork(models.Model):
    """A network on a node, as it was last made or found there: what joins its guests, and by what it goes out."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="networks")
    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="on_nodes")
    bridge = models.CharField(max_length=15)
    uplink = models.CharField(max_length=15, blank=True, help_text="The node's interface that it goes out by, if any.")
    state = models.CharField(max_length=16, choices=NetworkState.choices)
    error = models.TextField(blank=True, help_text="Why it cannot be made.")
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "network"], name="one_network_a_node")]

    def __str__(self) -> str:
        return f"{self.network} on {self.node}"


class IpPool(models.Model):
    """A range of addresses of a network that VMs may get, both ends included."""

    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="ip_pools")
    first = models.GenericIPAddressField()
    last = models.GenericIPAddressField()

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class Address(QuickModel):
    """An address that is in use. The row's existence is the allocation; releasing deletes it."""

    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="addresses")
    ip = models.GenericIPAddressField()
    allocated_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["network", "ip"], name="one_use_of_an_address")]

    def __str__(self) -> str:
        return self.ip
