"""Networks: listed, added, one of them; the kinds that they can be of."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers as rest
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import serializers
from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described
from panel.api.operations import describe, submit, viewer_of
from panel.api.parameters import ApiView
from panel.core import permissions
from panel.network.kinds import KINDS as KINDS_OF_NETWORK
from panel.network.models import Network
from panel.network.selectors import get_network, list_networks
from panel.tasks import registry


class NetworksView(ListView):
    """Networks."""

    serializer = serializers.NetworkSerializer
    filters = {"name": "name", "kind": "kind"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All networks."""
        return list_networks(viewer_of(request))

    @listed(serializers.NetworkSerializer, *filters)
    def get(self, request: Request) -> Response:
        """One page of networks."""
        return super().get(request)

    @describe(registry.get("network.add"))
    def post(self, request: Request) -> Response:
        """Ask for a network to be added."""
        return submit(registry.get("network.add"), request)


KINDS["network"] = Kind(Network, serializers.NetworkSerializer, get_network)


class NetworkView(ObjectView):
    """One network."""

    kind = "network"

    @described(serializers.NetworkSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The network."""
        return super().get(request, object_id)

    @describe(registry.get("network.remove"))
    def delete(self, request: Request, object_id: int) -> Response:
        """Ask for the network's removal."""
        return submit(registry.get("network.remove"), request, object_id)


class NetworkKindSerializer(rest.Serializer[Any]):
    """A kind of network: what one of it is added with, and what nodes are to its guests."""

    name = rest.CharField()
    label = rest.CharField()  # type: ignore[assignment]
    versions = rest.ListField(child=rest.IntegerField(), help_text="Of which versions of IP its subnets can be.")
    node_is_gateway = rest.BooleanField(help_text="Each node has the subnets' gateways for its own addresses.")
    translated = rest.BooleanField(help_text="Its guests leave a node with the node's address.")
    options = rest.DictField(help_text="JSON schema of the options, with their help.")


class NetworkKindsView(ApiView):
    """The kinds that networks can be of."""

    @extend_schema(operation_id="network_kind_list", responses=NetworkKindSerializer(many=True))
    def get(self, request: Request) -> Response:
        """All kinds, for those who see the cluster."""
        permissions.require(viewer_of(request), "cluster.view")
        return Response(
            [
                {
                    "name": each.name,
                    "label": each.label,
                    "versions": list(each.versions),
                    "node_is_gateway": each.node_is_gateway,
                    "translated": each.translated,
                    "options": each.options.model_json_schema(),
                }
                for each in KINDS_OF_NETWORK.values()
            ]
        )
