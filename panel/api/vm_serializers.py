"""VMs, their disks and interfaces, and their history, as the REST API shows them."""

from __future__ import annotations

from rest_framework import serializers

from panel.api.quick import QuickSerializer
from panel.api.redacted_fields import NodeNameField, WordedField
from panel.monitoring.statistics.selectors import warnings
from panel.vms.machine import SETTINGS
from panel.vms.models import Disk, Interface, StatusChange, Vm


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

    security_groups = serializers.ListField(
        source="group_names", child=serializers.CharField(), read_only=True, help_text="Their names."
    )
    port_forwards = serializers.ListField(
        source="forwards_told",
        child=serializers.CharField(),
        read_only=True,
        help_text="Ports of its node that lead to it: “tcp 10022 → 22”, or “udp 10100-10110” to the same numbers.",
    )

    class Meta:
        model = Interface
        fields = [
            "mac",
            "network",
            "address",
            "addresses",
            "security_groups",
            "port_forwards",
            "attached",
            "guarded",
            "inbound_kibps",
            "outbound_kibps",
        ]


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
    text = WordedField(source="worded", read_only=True)

    class Meta:
        model = StatusChange
        fields = ["id", "status", "detail", "at", "node", "cause", "text", "task_id", "request_id"]
