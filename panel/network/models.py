"""Networks, their pools of addresses, and which VM has which address."""

from __future__ import annotations

import ipaddress

from django.db import models

from panel.cluster.models import Cluster
from panel.core.rows import QuickModel


class NetworkKind(models.TextChoices):
    """How guests reach the world. Only NAT for now."""

    NAT = "nat", "Private network with NAT"


class Network(models.Model):
    """A network that every node of the cluster has, as a bridge of this name with the gateway's address."""

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="networks")
    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, choices=NetworkKind.choices, default=NetworkKind.NAT)
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
    def prefix(self) -> int:
        """The length of the subnet's prefix in bits."""
        return ipaddress.ip_network(self.subnet).prefixlen


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
