"""Nodes, and the policies of one."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from panel.api import serializers
from panel.api.lists import ListView, listed
from panel.api.operations import describe, policies_of, submit, viewer_of
from panel.cluster.selectors import get_node, list_nodes
from panel.cluster.services import set_node_policies
from panel.core import permissions
from panel.core.errors import NotFound
from panel.tasks import registry


class NodesView(ListView):
    """Nodes."""

    serializer = serializers.NodeSerializer
    filters = {"name": "name", "state": "state"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All nodes, for those who see the cluster."""
        permissions.require(viewer_of(request), "cluster.view")
        return list_nodes(viewer_of(request)).annotate(vm_count=Count("vms"))

    @listed(serializers.NodeSerializer, "name", "state")
    def get(self, request: Request) -> Response:
        """One page of nodes."""
        return super().get(request)

    @describe(registry.get("node.add"))
    def post(self, request: Request) -> Response:
        """Ask for a host to be added."""
        return submit(registry.get("node.add"), request)


class NodeView(APIView):
    """One node."""

    @extend_schema(responses=serializers.NodeSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The node."""
        node = list_nodes(viewer_of(request)).annotate(vm_count=Count("vms")).filter(pk=object_id).first()
        if node is None:
            raise NotFound(object="node", id=object_id)
        return Response(serializers.NodeSerializer(node).data)

    @extend_schema(request=serializers.NodePoliciesSerializer, responses=serializers.NodePoliciesSerializer)
    def patch(self, request: Request, object_id: int) -> Response:
        """Change policies of the node."""
        viewer = viewer_of(request)
        permissions.require(viewer, "cluster.manage")
        node = get_node(viewer, object_id)
        changes = policies_of(serializers.NodePoliciesSerializer, request)
        set_node_policies(node, changes)
        return Response(serializers.NodePoliciesSerializer(get_node(viewer, object_id)).data)

    @extend_schema(operation_id="node_destroy", request=None, responses={202: serializers.TaskDetailSerializer})
    def delete(self, request: Request, object_id: int) -> Response:
        """Ask for the node's removal."""
        return submit(registry.get("node.remove"), request, object_id)
