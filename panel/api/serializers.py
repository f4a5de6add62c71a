"""Objects as the REST API shows them. Reading only: changes go through operations and services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from panel.accounts.models import SshKey, User
from panel.api.quick import QuickSerializer
from panel.api.reading import Strict
from panel.cluster.models import Node
from panel.cluster.redaction import Redaction
from panel.core.errors import shown
from panel.images.models import Flavor, Image, Iso
from panel.monitoring.statistics.selectors import warnings
from panel.network.models import IpPool, Network, NodeNetwork, Subnet
from panel.network.selectors import free_count
from panel.notices.models import Problem
from panel.storage.models import NodePool, Pool
from panel.tasks.models import Task, TaskLog, TaskStep
from panel.vms.machine import SETTINGS
from panel.vms.models import Disk, Interface, StatusChange, Vm


class _Redacted(serializers.Field[Any, Any, Any, Any]):
    """Passes what it tells through the `redaction` of the context; without one, as through a customer's."""

    def to_representation(self, value: Any) -> Any:
        """The value, as the viewer may see it."""
        told = super().to_representation(value)
        redaction: Redaction = self.context.get("redaction") or Redaction(User())
        return redaction.data(told)


class NodeNameField(serializers.CharField):
    """A node's name; null for who may not see nodes."""

    def to_representation(self, value: Any) -> str | None:  # type: ignore[override]
        """The name, if the viewer may see it."""
        return self.told_in(self.context, super().to_representation(value))

    @staticmethod
    def told_in(context: Mapping[str, Any], name: str) -> str | None:
        """The same, for quick.py."""
        redaction: Redaction = context.get("redaction") or Redaction(User())
        return None if redaction.is_on else name


class RedactedTextField(_Redacted, serializers.CharField):
    """A sentence that may name nodes."""


class RedactedField(_Redacted, serializers.JSONField):
    """Values that may name nodes."""


class DiskSerializer(QuickSerializer[Disk]):
    """A disk of a VM."""

    size_gib = serializers.IntegerField(source="volume.size_gib")
    format = serializers.CharField(source="volume.format")

    class Meta:
        model = Disk
        fields = [
            "target",
            "bus",
            "cache",
            "size_gib",
            "format",
            "attached",
            "read_bytes_sec",
            "write_bytes_sec",
            "read_iops_sec",
            "write_iops_sec",
        ]


class InterfaceSerializer(QuickSerializer[Interface]):
    """A network interface of a VM."""

    network = serializers.CharField(source="network.name")
    address = serializers.CharField(source="ip", allow_null=True, help_text="The first of its addresses.")
    addresses = serializers.ListField(
        source="ips",
        child=serializers.CharField(),
        read_only=True,
        help_text="All of them: the primary one of each version of IP first, IPv4's before IPv6's.",
    )

    class Meta:
        model = Interface
        fields = ["mac", "network", "address", "addresses", "attached", "guarded", "inbound_kibps", "outbound_kibps"]


class VmSerializer(QuickSerializer[Vm]):
    """A VM. `task` is the task that holds it now, if any."""

    node = NodeNameField(source="node.name", allow_null=True)
    owner = serializers.CharField(source="owner.name")
    image = serializers.CharField(source="image.name", default=None, allow_null=True)
    pool = serializers.CharField(source="pool.name")
    iso = serializers.CharField(source="iso.name", default=None, allow_null=True)
    disks = DiskSerializer(source="told_disks", many=True)
    interfaces = InterfaceSerializer(source="told_interfaces", many=True)
    installing = serializers.BooleanField(help_text="Whether an installer is at work in it.")
    pending = serializers.JSONField(help_text="What waits for the next start: field, now, then.")
    drifted = serializers.SerializerMethodField()
    unmanaged_snapshots = serializers.JSONField(
        help_text="Those that its node has and the panel did not take: name, external, with_memory, state, created_at."
    )
    in_rescue = serializers.BooleanField(help_text="Whether it boots a rescue system instead of its own.")
    seen_elsewhere = serializers.BooleanField(help_text="Whether another node runs a domain of its UUID.")
    warnings = serializers.SerializerMethodField()
    task = serializers.SerializerMethodField()

    class Meta:
        model = Vm
        fields = [
            "id",
            "uuid",
            "name",
            "status",
            "wanted",
            "observed_at",
            "node",
            "owner",
            "image",
            "pool",
            "memory_mib",
            "vcpus",
            *(name for name in SETTINGS if name not in ("memory_mib", "vcpus")),
            "pending",
            "drifted",
            "unmanaged_snapshots",
            "disks",
            "interfaces",
            "autostart",
            "suspended_at",
            "suspension_reason",
            "iso",
            "boot_iso",
            "boot_iso_once",
            "installed",
            "installing",
            "in_rescue",
            "seen_elsewhere",
            "warnings",
            "task",
            "created_at",
        ]

    def get_drifted(self, vm: Vm) -> bool:
        """Whether its description on the node is another than the panel's; `/vms/{id}/drift` says in what."""
        return bool(vm.drift)

    def get_warnings(self, vm: Vm) -> list[str]:
        """What is strange about the running VM, where the policy `check_vm_status` wants that checked."""
        return warnings(vm)

    def get_task(self, vm: Vm) -> int | None:
        """The id of the open task about the VM."""
        task = self.context.get("tasks", {}).get(vm.pk)
        return task.pk if task is not None else None


class StatusChangeSerializer(serializers.ModelSerializer[StatusChange]):
    """A change of a VM's status."""

    node = NodeNameField(source="node.name", default=None, allow_null=True)

    class Meta:
        model = StatusChange
        fields = ["id", "status", "detail", "at", "node", "cause", "task_id", "request_id"]


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
    """What may be chosen for a node at any time."""

    class Meta:
        model = Node
        fields = ["max_vms"]


@extend_schema_field(
    {
        "type": ["object", "null"],
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        "required": ["code", "message"],
        "additionalProperties": True,
    }
)
class ErrorField(RedactedField):
    """Why a task or a step failed: code, message, and the error's own data; null while nothing did."""

    def to_representation(self, value: Any) -> Any:
        """The error, as the viewer may see it, in their language."""
        redaction: Redaction = self.context.get("redaction") or Redaction(User())
        return super().to_representation(shown(value, nodes=not redaction.is_on))


class StepSerializer(serializers.ModelSerializer[TaskStep]):
    """A step of a task."""

    progress_text = RedactedTextField()
    error = ErrorField()

    class Meta:
        model = TaskStep
        fields = [
            "position",
            "name",
            "title",
            "status",
            "attempts",
            "progress",
            "progress_text",
            "error",
            "started_at",
            "finished_at",
        ]


class TaskSerializer(serializers.ModelSerializer[Task]):
    """A task without its steps, as lists show it."""

    title = RedactedTextField()
    owner = serializers.CharField(source="owner.name", default=None, allow_null=True)
    result = RedactedField()
    error = ErrorField()

    class Meta:
        model = Task
        fields = [
            "id",
            "operation",
            "title",
            "status",
            "undoing",
            "progress",
            "object_type",
            "object_id",
            "object_name",
            "owner",
            "request_id",
            "result",
            "error",
            "created_at",
            "started_at",
            "finished_at",
        ]


class TaskDetailSerializer(TaskSerializer):
    """A task with its steps."""

    steps = StepSerializer(many=True)

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "steps"]


class LogTextField(RedactedTextField):
    """The sentence of a line, for its reader."""

    def to_representation(self, value: TaskLog) -> Any:
        """The sentence, in the language that is in force."""
        redaction: Redaction = self.context.get("redaction") or Redaction(User())
        return super().to_representation(value.shown(nodes=not redaction.is_on))


class TaskLogSerializer(serializers.ModelSerializer[TaskLog]):
    """A line of a task's log."""

    text = LogTextField(source="*")

    class Meta:
        model = TaskLog
        fields = ["at", "step", "level", "text"]


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

    class Meta:
        model = IpPool
        fields = ["first", "last"]


class SubnetSerializer(serializers.ModelSerializer[Subnet]):
    """A range of addresses of a network, of one version of IP."""

    ranges = RangeSerializer(many=True)
    nameservers = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Subnet
        fields = ["version", "cidr", "gateway", "nameservers", "ranges"]


class NetworkSerializer(serializers.ModelSerializer[Network]):
    """A network."""

    free_addresses = serializers.SerializerMethodField()
    options = serializers.DictField(child=serializers.CharField(), read_only=True, help_text="Those of its kind.")
    subnets = SubnetSerializer(many=True)
    subnet = serializers.CharField(read_only=True, help_text="The range of its first subnet.")
    gateway = serializers.CharField(read_only=True, allow_null=True, help_text="The gateway of its first subnet.")
    nameservers = serializers.ListField(child=serializers.CharField(), help_text="Those of all its subnets.")

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


class ProblemSerializer(serializers.ModelSerializer[Problem]):
    """A problem."""

    text = serializers.SerializerMethodField()

    class Meta:
        model = Problem
        fields = ["id", "key", "severity", "text", "object_type", "object_id", "opened_at", "seen_at"]

    def get_text(self, problem: Problem) -> str:
        """The sentence, in the reader's language; problems are told to those who know nodes."""
        return problem.shown(nodes=True)


class UserSerializer(serializers.ModelSerializer[User]):
    """The account of whoever asks."""

    rights = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["id", "name", "email", "level", "may_create_vms", "rights"]

    def get_rights(self, user: User) -> list[str]:
        """All rights that the caller has by this way in."""
        return sorted(user.rights)


class SshKeySerializer(Strict, serializers.ModelSerializer[SshKey]):
    """A public ssh key."""

    class Meta:
        model = SshKey
        fields = ["id", "name", "public_key"]
