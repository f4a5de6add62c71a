"""Objects as the REST API shows them. Reading only: changes go through operations and services."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from panel.accounts.models import SshKey, User
from panel.api.reading import Strict
from panel.api.redacted_fields import NodeNameField
from panel.cluster.models import Node
from panel.images.models import Flavor, Image, Iso
from panel.network.models import ExcludedRange, IpPool, Network, NodeNetwork, Subnet
from panel.network.ranges import purpose_of, size
from panel.network.selectors import free_count
from panel.storage.models import NodePool, Pool


class NodePoolSerializer(serializers.ModelSerializer[NodePool]):
    """A pool's free space on a node."""

    pool = serializers.CharField(source="pool.name")

    class Meta:
        model = NodePool
        fields = ["pool", "capacity_bytes", "free_bytes", "fault", "seen_at"]


class NodeNetworkSerializer(serializers.ModelSerializer[NodeNetwork]):
    """How a network is on a node: what joins its guests, by what it goes out, and why it cannot be made."""

    network = serializers.CharField(source="network.name")

    class Meta:
        model = NodeNetwork
        fields = ["network", "bridge", "uplink", "state", "error", "seen_at"]


class NodeSerializer(serializers.ModelSerializer[Node]):
    """A node. `facts` is what its agent said it is: CPU, memory, file systems, versions."""

    fingerprint = serializers.CharField()
    pools = NodePoolSerializer(many=True)
    networks = NodeNetworkSerializer(many=True)
    vm_count = serializers.IntegerField()
    facts = serializers.JSONField()

    class Meta:
        model = Node
        fields = [
            "id",
            "name",
            "address",
            "ssh_port",
            "ssh_user",
            "state",
            "maintenance",
            "max_vms",
            "fingerprint",
            "host_uuid",
            "virtualization",
            "accel",
            "vm_count",
            "pools",
            "networks",
            "facts",
            "facts_at",
            "created_at",
        ]


class NodePoliciesSerializer(serializers.ModelSerializer[Node]):
    """What may be chosen for a node at any time. Its address is changed by `reconnect`, which looks there first."""

    name = serializers.CharField(max_length=63, required=False)

    class Meta:
        model = Node
        fields = ["name", "max_vms"]


class ImageSerializer(serializers.ModelSerializer[Image]):
    """An OS image."""

    class Meta:
        model = Image
        fields = [
            "id",
            "name",
            "title",
            "os_family",
            "format",
            "sha256",
            "size_bytes",
            "virtual_bytes",
            "customization",
            "login",
            "min_memory_mib",
            "min_disk_gib",
        ]


class ImageValuesSerializer(serializers.ModelSerializer[Image]):
    """What may be changed of an image."""

    class Meta:
        model = Image
        fields = ["title", "min_memory_mib", "min_disk_gib"]


class IsoSerializer(serializers.ModelSerializer[Iso]):
    """An ISO image. `owner` is null for one that is there for all."""

    owner = serializers.CharField(source="owner.name", default=None, allow_null=True, read_only=True)

    class Meta:
        model = Iso
        fields = ["id", "owner", "name", "title", "sha256", "size_bytes"]
        read_only_fields = ["sha256", "size_bytes"]


class FlavorSerializer(serializers.ModelSerializer[Flavor]):
    """A flavor."""

    class Meta:
        model = Flavor
        fields = ["id", "name", "title", "memory_mib", "vcpus", "disk_gib"]


class RangeSerializer(serializers.ModelSerializer[IpPool]):
    """Addresses of a subnet that VMs may get, both ends included."""

    purpose = serializers.SerializerMethodField(help_text="“public” or “private”.")
    owner = NodeNameField(source="owner.name", allow_null=True, default=None, help_text="Whose VMs alone get them.")
    node = NodeNameField(source="node.name", allow_null=True, default=None, help_text="On which node alone.")
    size = serializers.SerializerMethodField()
    used = serializers.SerializerMethodField()

    class Meta:
        model = IpPool
        fields = ["first", "last", "purpose", "choice", "owner", "node", "flavor", "size", "used"]

    def get_purpose(self, pool: IpPool) -> str:
        """What its addresses are for."""
        return purpose_of(pool)

    def get_size(self, pool: IpPool) -> int:
        """How many addresses can be given out of it, without those that are excluded."""
        return size(pool)

    def get_used(self, pool: IpPool) -> int:
        """How many of them are in use."""
        return int(getattr(pool, "used", 0))


class ExcludedRangeSerializer(serializers.ModelSerializer[ExcludedRange]):
    """Addresses that no VM gets, both ends included."""

    class Meta:
        model = ExcludedRange
        fields = ["first", "last"]


class SubnetSerializer(serializers.ModelSerializer[Subnet]):
    """A range of addresses of a network, of one version of IP."""

    ranges = RangeSerializer(many=True)
    excluded = ExcludedRangeSerializer(many=True)
    nameservers = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Subnet
        fields = ["version", "cidr", "gateway", "nameservers", "ranges", "excluded"]


class NetworkSerializer(serializers.ModelSerializer[Network]):
    """A network."""

    free_addresses = serializers.SerializerMethodField()
    options = serializers.DictField(child=serializers.CharField(), read_only=True, help_text="Those of its kind.")
    subnets = SubnetSerializer(many=True)
    subnet = serializers.CharField(read_only=True, help_text="The range of its first subnet.")
    gateway = serializers.CharField(read_only=True, allow_null=True, help_text="The gateway of its first subnet.")
    nameservers = serializers.ListField(child=serializers.CharField(), help_text="Those of all its subnets.")
    removing = serializers.BooleanField(read_only=True, help_text="No interface is made in it any more.")

    class Meta:
        model = Network
        fields = [
            "id",
            "name",
            "kind",
            "options",
            "bridge",
            "subnets",
            "subnet",
            "gateway",
            "nameservers",
            "free_addresses",
            "removing",
        ]

    def get_free_addresses(self, network: Network) -> int:
        """How many addresses are still free."""
        return free_count(network)


class PoolSerializer(serializers.ModelSerializer[Pool]):
    """A storage pool. `path` is that option of a directory, empty for other kinds."""

    path = serializers.SerializerMethodField()
    options = serializers.DictField(child=serializers.CharField(), read_only=True)
    on_nodes = serializers.SerializerMethodField()

    class Meta:
        model = Pool
        fields = [
            "id",
            "name",
            "kind",
            "path",
            "options",
            "shared",
            "volume_format",
            "disk_overselling_percent",
            "on_nodes",
        ]

    def get_path(self, pool: Pool) -> str:
        """A directory's path."""
        return str(pool.options.get("path", ""))

    def get_on_nodes(self, pool: Pool) -> list[dict[str, Any]]:
        """The pool's free space on each node, in bytes."""
        return [
            {
                "node": each.node.name,
                "capacity_bytes": each.capacity_bytes,
                "free_bytes": each.free_bytes,
                "fault": each.fault,
            }
            for each in pool.on_nodes.all()
        ]


class NewPoolSerializer(Strict, serializers.ModelSerializer[Pool]):
    """What a new storage pool needs. `options` are those of its kind; `path` is a directory's option of that name."""

    path = serializers.CharField(max_length=255, required=False)
    options = serializers.DictField(child=serializers.CharField(max_length=255), required=False)

    class Meta:
        model = Pool
        fields = ["name", "kind", "path", "options", "shared", "volume_format"]


class PoolPoliciesSerializer(serializers.ModelSerializer[Pool]):
    """What may be chosen for a storage pool at any time."""

    class Meta:
        model = Pool
        fields = ["shared", "disk_overselling_percent"]


class UserSerializer(serializers.ModelSerializer[User]):
    """The account of whoever asks."""

    rights = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["id", "name", "email", "level", "may_create_vms", "language", "time_zone", "rights"]

    def get_rights(self, user: User) -> list[str]:
        """All rights that the caller has by this way in."""
        return sorted(user.rights)


class SshKeySerializer(Strict, serializers.ModelSerializer[SshKey]):
    """A public ssh key."""

    class Meta:
        model = SshKey
        fields = ["id", "name", "public_key"]
