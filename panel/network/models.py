"""Networks, their pools of addresses, and which VM has which address."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.db import models

from nodeagent.protocol.network import NAT
from panel.cluster.models import Cluster, Node
from panel.core.rows import QuickModel
from panel.network.kinds import KINDS, Kind
from panel.network.places import PlaceField


class Network(models.Model):
    """A network that every node of the cluster has, as a bridge of this name; what else, its kind says."""

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="networks")
    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, default=NAT, help_text="One of panel/network/kinds.")
    options = models.JSONField(default=dict, help_text="What its kind must know of it.")
    bridge = models.CharField(max_length=15)
    removing = models.BooleanField(default=False, help_text="It is being removed: no interface is made in it any more.")

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
    def first_subnet(self) -> Subnet | None:
        """Its first subnet, None where it has none."""
        return next(iter(self.subnets.all()), None)

    @property
    def subnet(self) -> str:
        """The range of its first subnet in CIDR form, "" for none: REST and pages told of it before there were more."""
        found = self.first_subnet
        return found.cidr if found is not None else ""

    @property
    def gateway(self) -> str | None:
        """The gateway of its first subnet."""
        found = self.first_subnet
        return found.gateway if found is not None else None

    @property
    def nameservers(self) -> list[str]:
        """The name servers of all its subnets."""
        return list(dict.fromkeys(server for each in self.subnets.all() for server in each.nameservers))

    @property
    def versions(self) -> set[int]:
        """Of which versions of IP it has subnets."""
        return {each.version for each in self.subnets.all()}

    @property
    def ranges(self) -> list[IpPool]:
        """The ranges of all its subnets, in their order."""
        return [pool for each in self.subnets.all() for pool in each.ranges.all()]

    def subnet_with(self, ip: str) -> Subnet | None:
        """The subnet that the address lies in; None for one of no subnet."""
        address = ipaddress.ip_address(ip)
        return next((each for each in self.subnets.all() if address in each.parsed), None)


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


class NodeLink(models.Model):
    """A bond of a node's network cards, or a VLAN on one of its interfaces, that the panel made there."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="links")
    name = models.CharField(max_length=15)
    kind = models.CharField(max_length=8, choices=[("bond", "Bond"), ("vlan", "VLAN")])
    settings = models.JSONField(default=dict, help_text="Of a bond `ports` and `mode`, of a VLAN `parent` and `vlan`.")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["node", "name"], name="one_link_name_a_node")]

    def __str__(self) -> str:
        return self.name

    @property
    def ports(self) -> list[str]:
        """Of a bond what it is made of."""
        return list(self.settings.get("ports", ()))

    @property
    def parent(self) -> str:
        """Of a VLAN what it is tagged on."""
        return str(self.settings.get("parent", ""))


class Subnet(models.Model):
    """A range of addresses of a network, of either version of IP, of which those in its `ranges` are given out."""

    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="subnets")
    version = models.PositiveSmallIntegerField(choices=[(4, "IPv4"), (6, "IPv6")])
    cidr = models.CharField(max_length=64, help_text="As 10.77.0.0/24 or 2001:db8::/64.")
    gateway = models.GenericIPAddressField(null=True, help_text="Null: none, as of a network of its own.")
    nameservers = models.JSONField(default=list)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["network", "cidr"], name="one_subnet_a_network")]

    def __str__(self) -> str:
        return self.cidr

    @property
    def parsed(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The range as Python knows it."""
        return ipaddress.ip_network(self.cidr)

    @property
    def prefix(self) -> int:
        """The length of its prefix in bits."""
        return self.parsed.prefixlen


class Purpose(models.TextChoices):
    """What a range's addresses are for, where that is not seen by them."""

    PUBLIC = "public", "public"
    PRIVATE = "private", "private"


class Choice(models.TextChoices):
    """Which of the free addresses of a range is given out next."""

    LOWEST = "lowest", "the first"
    RANDOM = "random", "any"


class IpPool(models.Model):
    """A range of addresses of a subnet that VMs may get, both ends included; where it has an owner, his VMs alone."""

    subnet = models.ForeignKey(Subnet, on_delete=models.CASCADE, related_name="ranges")
    first = models.GenericIPAddressField()
    last = models.GenericIPAddressField()
    first_place = PlaceField(of="first")
    last_place = PlaceField(of="last")
    purpose = models.CharField(max_length=16, choices=Purpose.choices, blank=True, help_text="Empty: by its addresses.")
    choice = models.CharField(max_length=16, choices=Choice.choices, default=Choice.LOWEST)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+", help_text="Whose VMs get them."
    )
    node = models.ForeignKey(
        Node, null=True, on_delete=models.CASCADE, related_name="+", help_text="On which node VMs get them."
    )
    flavor = models.CharField(max_length=64, blank=True, help_text="By which plan VMs are made that get them.")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class ExcludedRange(models.Model):
    """Addresses of a subnet that no VM gets, both ends included, though they lie in its ranges."""

    subnet = models.ForeignKey(Subnet, on_delete=models.CASCADE, related_name="excluded")
    first = models.GenericIPAddressField()
    last = models.GenericIPAddressField()
    first_place = PlaceField(of="first")
    last_place = PlaceField(of="last")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class Address(QuickModel):
    """An address that is in use. The row's existence is the allocation; releasing deletes it."""

    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="addresses")
    ip = models.GenericIPAddressField()
    place = PlaceField()
    allocated_at = models.DateTimeField(auto_now_add=True)
    reserved = models.BooleanField(default=False, help_text="It stays in use while no interface has it.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Of a reserved one, and of one that waits: whose VMs may have it; null: nobody's.",
    )
    comment = models.CharField(max_length=200, blank=True)
    expires_at = models.DateTimeField(null=True, help_text="When its reservation ends by itself.")
    waits_until = models.DateTimeField(
        null=True, db_index=True, help_text="It was given back, and is nobody else's before; null: it does not wait."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["network", "ip"], name="one_use_of_an_address")]
        indexes = [models.Index(fields=["network", "place"], name="addresses_in_order")]

    def __str__(self) -> str:
        return self.ip


class AddressTerm(models.Model):
    """That a VM's interface had an address from then until then; rows outlive address, interface, VM and owner."""

    ip = models.GenericIPAddressField()
    network = models.CharField(max_length=64, help_text="What the network was called.")
    vm_id = models.BigIntegerField()
    vm_uuid = models.UUIDField()
    vm_name = models.CharField(max_length=63)
    mac = models.CharField(max_length=17)
    owner_id = models.BigIntegerField()
    owner_name = models.CharField(max_length=64)
    since = models.DateTimeField()
    until = models.DateTimeField(null=True, help_text="Null: it has it.")

    class Meta:
        ordering = ["-since", "-id"]
        indexes = [
            models.Index(fields=["ip", "since"], name="terms_of_an_address"),
            models.Index(fields=["vm_id", "until"], name="terms_of_a_vm"),
            models.Index(fields=["until"], name="terms_that_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.ip}: {self.vm_name}"


class Direction(models.TextChoices):
    """Which way a rule is for, as the guest sees it."""

    IN = "in", "in"
    OUT = "out", "out"


class SecurityGroup(models.Model):
    """Rules of an owner's for interfaces of his VMs: what they receive and send beyond answers."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="security_groups")
    name = models.CharField(max_length=63)
    description = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.CharField(
        max_length=64, blank=True, help_text="A digest of the addresses that nodes were told are in it."
    )

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_security_group_name_an_owner")]

    def __str__(self) -> str:
        return self.name


class SecurityRule(models.Model):
    """What one rule of a group lets through; with neither `cidr` nor `peer` it is for everybody."""

    group = models.ForeignKey(SecurityGroup, on_delete=models.CASCADE, related_name="rules")
    direction = models.CharField(max_length=3, choices=Direction.choices)
    protocol = models.CharField(max_length=4, help_text="any, tcp, udp or icmp.")
    first_port = models.PositiveIntegerField(default=0, help_text="0: all ports.")
    last_port = models.PositiveIntegerField(default=0)
    cidr = models.CharField(max_length=64, blank=True)
    peer = models.ForeignKey(
        SecurityGroup,
        null=True,
        on_delete=models.RESTRICT,
        related_name="named_in",
        help_text="The group whose interfaces' addresses it is for.",
    )

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        ports = f"{self.first_port}" + (f"-{self.last_port}" if self.last_port > self.first_port else "")
        other = self.cidr or (self.peer.name if self.peer is not None else "")
        way = "from" if self.direction == Direction.IN else "to"
        words = [self.direction, self.protocol, ports if self.first_port else "", f"{way} {other}" if other else ""]
        return " ".join(filter(None, words))
