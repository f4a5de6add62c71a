"""What the nodes have otherwise than the panel: a VM's drift, and domains that the panel does not know."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.operations import viewer_of
from panel.api.parameters import ApiView
from panel.cluster.selectors import get_node
from panel.core import permissions
from panel.vms.models import UnmanagedDomain
from panel.vms.selectors import get_vm


class DifferenceSerializer(serializers.Serializer[Any]):
    """A fact of a VM in which node and panel differ; null where there is no such part."""

    field = serializers.CharField()
    node = serializers.JSONField()
    stored = serializers.JSONField()


class DriftSerializer(serializers.Serializer[Any]):
    """The differences of a VM, and when it was last compared."""

    seen_at = serializers.DateTimeField(source="drift_seen_at", allow_null=True)
    differences = DifferenceSerializer(source="drift", many=True)


class UnmanagedDomainSerializer(serializers.ModelSerializer[UnmanagedDomain]):
    """A domain on a node that is no VM of ours."""

    class Meta:
        model = UnmanagedDomain
        fields = ["uuid", "name", "status", "memory_mib", "vcpus", "disks", "macs", "seen_at"]


class VmDriftView(ApiView):
    """How a VM is described otherwise on its node."""

    @extend_schema(operation_id="vm_drift", responses=DriftSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The differences that the last comparison found."""
        permissions.require(viewer_of(request), "cluster.view")
        return Response(DriftSerializer(get_vm(viewer_of(request), object_id)).data)


class NodeUnmanagedView(ApiView):
    """Domains of a node that the panel does not know."""

    @extend_schema(operation_id="node_foreign", responses=UnmanagedDomainSerializer(many=True))
    def get(self, request: Request, object_id: int) -> Response:
        """Those that the last comparison found, by name."""
        node = get_node(viewer_of(request), object_id)
        return Response(UnmanagedDomainSerializer(node.unmanaged_domains.all(), many=True).data)
