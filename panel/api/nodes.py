"""Nodes, and the policies of one."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.models import User
from panel.api import serializers
from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described, guarded
from panel.api.operations import describe, policies_of, submit, viewer_of
from panel.api.preconditions import IF_MATCH
from panel.cluster.models import Node
from panel.cluster.selectors import get_node, list_nodes
from panel.cluster.services import set_node_policies
from panel.core import permissions
from panel.core.errors import NotFound
from panel.tasks import registry


class NodesView(ListView):
    """Nodes."""

    serializer = serializers.NodeSerializer
    filters = {"name": "name", "state": "state"}
    orders = ("id", "name")

    def objects(self, request: Request) -> QuerySet[Any]:
        """All nodes, for those who see the cluster."""
        permissions.require(viewer_of(request), "cluster.view")
        return list_nodes(viewer_of(request)).annotate(vm_count=Count("vms"))

    @listed(serializers.NodeSerializer, *filters, orders=orders)
    def get(self, request: Request) -> Response:
        """One page of nodes."""
        return super().get(request)

    @describe(registry.get("node.add"))
    def post(self, request: Request) -> Response:
        """Ask for a host to be added."""
        return submit(registry.get("node.add"), request)


def counted(viewer: User, node_id: int) -> Node:
    """One node with the number of its VMs; raises NotFound."""
    node = list_nodes(viewer).annotate(vm_count=Count("vms")).filter(pk=node_id).first()
    if node is None:
        raise NotFound(object="node", id=node_id)
    return node


KINDS["node"] = Kind(Node, serializers.NodeSerializer, counted)


class NodeView(ObjectView):
    """One node."""

    kind = "node"

    @described(serializers.NodeSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The node."""
        return super().get(request, object_id)

    @extend_schema(
        request=serializers.NodePoliciesSerializer, responses=serializers.NodePoliciesSerializer, parameters=[IF_MATCH]
    )
    @guarded("node")
    def patch(self, request: Request, object_id: int) -> Response:
        """Change policies of the node."""
        viewer = viewer_of(request)
        permissions.require(viewer, "cluster.manage")
        node = get_node(viewer, object_id)
        changes = policies_of(serializers.NodePoliciesSerializer, request)
        set_node_policies(node, changes, viewer)
        return Response(serializers.NodePoliciesSerializer(get_node(viewer, object_id)).data)

    @describe(registry.get("node.remove"))
    def delete(self, request: Request, object_id: int) -> Response:
        """Ask for the node's removal."""
        return submit(registry.get("node.remove"), request, object_id)
