"""The REST API's views of what is measured, and of the policies about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.models import User
from panel.api.lists import ListView, listed
from panel.api.moments import moment
from panel.api.objects import KINDS, Kind, described, guard, one, tagged
from panel.api.operations import policies_of, viewer_of
from panel.api.parameters import ApiView
from panel.api.preconditions import IF_MATCH
from panel.api.reading import numbered
from panel.api.vm_serializers import StatusChangeSerializer
from panel.cluster.models import Cluster, Node
from panel.cluster.redaction import Redaction
from panel.cluster.selectors import default_cluster, get_node
from panel.cluster.services import set_policies
from panel.core import permissions
from panel.monitoring.models import VmTraffic, VmUsage
from panel.monitoring.models.statistics import COUNTERS
from panel.monitoring.selectors import Watching, interfaces_of, list_watched, watching
from panel.monitoring.silence import silent_after
from panel.monitoring.statistics import selectors
from panel.vms.selectors import get_vm, history

CHANGES, MOST_CHANGES = 50, 200
"""Of a VM's history, in one answer."""


class VmUsageSerializer(serializers.ModelSerializer[VmUsage]):
    """What a VM used in the stretch of time that begins at `at`."""

    class Meta:
        model = VmUsage
        fields = ["at", "seconds", "memory_kib", "rss_kib", *COUNTERS]


class VmTrafficSerializer(serializers.ModelSerializer[VmTraffic]):
    """What a VM received and sent in a month."""

    class Meta:
        model = VmTraffic
        fields = ["month", "rx_bytes", "tx_bytes"]


class ClusterSerializer(serializers.ModelSerializer[Cluster]):
    """The cluster and its policies."""

    class Meta:
        model = Cluster
        fields = [
            "id",
            "name",
            "timezone",
            "check_vm_status",
            "memory_overselling_percent",
            "cpu_overselling_percent",
            "disk_overselling_percent",
            "guests_reach_nodes",
            "unsecured",
        ]
        read_only_fields = ["id", "name", "timezone"]


class WatchingSerializer(serializers.Serializer[Watching]):
    """The status subsystem. Keys and secrets are not told."""

    listens = serializers.CharField(help_text="Where vmwatch-master receives; empty while it is disabled.")
    heard_at = serializers.DateTimeField(allow_null=True, help_text="When it last spoke.")
    encrypted = serializers.BooleanField(help_text="Whether nodes speak to it by CurveZMQ.")
    rotating = serializers.BooleanField(help_text="Whether the previous secret is believed too.")


class NodeInterfaceSerializer(serializers.Serializer[Any]):
    """A network interface of a node. Counters count from when it was made; null is what is not known."""

    name = serializers.CharField()
    kind = serializers.CharField(help_text="“physical”, or what the kernel calls it: bond, bridge, vlan, …")
    up = serializers.BooleanField(help_text="Whether it is set up.")
    carrier = serializers.BooleanField(help_text="Whether it has a link: a cable is in.")
    mtu = serializers.IntegerField()
    mac = serializers.CharField()
    speed_mbps = serializers.IntegerField(allow_null=True)
    master = serializers.CharField(help_text="The bridge or bond that it is part of; empty: none.")
    parent = serializers.CharField(  # type: ignore[assignment]
        help_text="Of a VLAN the interface that it is tagged on."
    )
    vlan = serializers.IntegerField(allow_null=True)
    carrier_changes = serializers.IntegerField(help_text="How often the link came or went since the host's start.")
    addresses = serializers.ListField(child=serializers.CharField(), help_text="As 192.0.2.2/24.")
    by_panel = serializers.BooleanField(help_text="Whether it is a bond or VLAN that the panel made.")
    rx_bytes = serializers.IntegerField(allow_null=True)
    tx_bytes = serializers.IntegerField(allow_null=True)
    rx_errors = serializers.IntegerField(allow_null=True)
    tx_errors = serializers.IntegerField(allow_null=True)
    rx_dropped = serializers.IntegerField(allow_null=True)
    tx_dropped = serializers.IntegerField(allow_null=True)


class NodeInterfacesSerializer(serializers.Serializer[Any]):
    """A node's network interfaces, but those of its guests."""

    seen_at = serializers.DateTimeField(allow_null=True, help_text="Of when the counters are; null: never told.")
    changed_at = serializers.DateTimeField(allow_null=True, help_text="When one was last something else.")
    interfaces = NodeInterfaceSerializer(many=True)


class NodeInterfacesView(ApiView):
    """The network interfaces of a node."""

    @extend_schema(operation_id="node_interfaces", responses=NodeInterfacesSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """As its vmwatch-node told of them last: at once when one changes, and with each full report."""
        node = get_node(viewer_of(request), object_id)
        told, ours = interfaces_of(node), set(node.links.values_list("name", flat=True))
        rows = [{**each, "by_panel": each["name"] in ours} for each in told.interfaces]
        values = {"seen_at": told.seen_at, "changed_at": told.changed_at, "interfaces": rows}
        return Response(NodeInterfacesSerializer(values).data)


class WatchedNodeSerializer(serializers.ModelSerializer[Node]):
    """A node and its vmwatch-node."""

    heard_at = serializers.SerializerMethodField()
    silent = serializers.SerializerMethodField(help_text="Whether it has said nothing for one resync interval.")
    has_keys = serializers.SerializerMethodField(help_text="Whether it was told the present keys.")

    class Meta:
        model = Node
        fields = ["id", "name", "state", "heard_at", "silent", "has_keys"]

    def get_heard_at(self, node: Node) -> datetime | None:
        """When it was last heard; None when it never was."""
        watch = getattr(node, "watch", None)
        return watch.heard_at if watch is not None else None

    def get_silent(self, node: Node) -> bool:
        """Whether it is silent; one that was never heard is."""
        heard_at = self.get_heard_at(node)
        return heard_at is None or timezone.now() - heard_at > silent_after()

    def get_has_keys(self, node: Node) -> bool:
        """Whether the present keys are those that it was told last."""
        watch = getattr(node, "watch", None)
        return watch is not None and bool(watch.keys_digest) and watch.keys_digest == self.context["digest"]


class WatchingView(ApiView):
    """The status subsystem."""

    @extend_schema(responses=WatchingSerializer)
    def get(self, request: Request) -> Response:
        """Where vmwatch-master listens and when it was heard."""
        permissions.require(viewer_of(request), "cluster.view")
        return Response(WatchingSerializer(watching()).data)


class WatchedNodesView(ListView):
    """How nodes are watched."""

    serializer = WatchedNodeSerializer
    filters = {"name": "name"}

    def objects(self, request: Request) -> QuerySet[Node]:
        """All nodes, for those who see the cluster."""
        permissions.require(viewer_of(request), "cluster.view")
        return list_watched(viewer_of(request))

    def extra(self, page: list[Any]) -> dict[str, Any]:
        """Which keys are the present ones."""
        return {"digest": watching().digest}

    @listed(WatchedNodeSerializer, "name")
    def get(self, request: Request) -> Response:
        """One page of nodes, each with when its vmwatch-node was heard."""
        return super().get(request)


class VmHistoryView(ApiView):
    """The history of a VM's status."""

    @extend_schema(
        parameters=[
            OpenApiParameter("limit", OpenApiTypes.INT, description=f"1 to {MOST_CHANGES}; {CHANGES} when absent."),
            OpenApiParameter("before", OpenApiTypes.INT, description="Go on after the change with this id."),
        ],
        responses=StatusChangeSerializer(many=True),
    )
    def get(self, request: Request, object_id: int) -> Response:
        """Changes, the newest first. The `id` of the last one as `before` answers those before it."""
        viewer = viewer_of(request)
        vm = get_vm(viewer, object_id)
        limit = numbered(request, "limit", CHANGES, MOST_CHANGES)
        before = numbered(request, "before", None, 2**63 - 1)
        changes = history(vm, limit or CHANGES, before)
        return Response(StatusChangeSerializer(changes, many=True, context={"redaction": Redaction(viewer)}).data)


SERIES = extend_schema(
    parameters=[
        OpenApiParameter("step", enum=list(selectors.STEPS), description="Length of a row; 10m when absent."),
        OpenApiParameter("from", OpenApiTypes.DATETIME, description="Begin; a hundred steps ago when absent."),
        OpenApiParameter("to", OpenApiTypes.DATETIME, description="End; now when absent."),
    ],
    responses=VmUsageSerializer(many=True),
)


def _series(request: Request, object_id: int, read: Callable[..., Any]) -> Response:
    asked = request.query_params
    since, until = (moment(asked.get(name), name) for name in ("from", "to"))
    rows = read(viewer_of(request), object_id, asked.get("step", "10m"), since, until)
    return Response(VmUsageSerializer(rows, many=True).data)


class VmStatisticsView(ApiView):
    """What a VM used."""

    @SERIES
    def get(self, request: Request, object_id: int) -> Response:
        """Rows of a series, the oldest first, at most 2,000."""
        return _series(request, object_id, selectors.usage)


class NodeStatisticsView(ApiView):
    """What the VMs of a node used."""

    @SERIES
    def get(self, request: Request, object_id: int) -> Response:
        """The sums of the VMs that the node has now, the oldest first, at most 2,000 rows."""
        return _series(request, object_id, selectors.node_usage)


class VmTrafficView(ApiView):
    """A VM's traffic."""

    @extend_schema(responses=VmTrafficSerializer(many=True))
    def get(self, request: Request, object_id: int) -> Response:
        """Bytes by calendar month (UTC), the newest first."""
        rows = selectors.traffic(viewer_of(request), object_id)
        return Response(VmTrafficSerializer(rows, many=True).data)


def _the_cluster(viewer: User, _cluster_id: int) -> Cluster:
    permissions.require(viewer, "cluster.view")
    return default_cluster()


KINDS["cluster"] = Kind(Cluster, ClusterSerializer, _the_cluster)


class ClusterView(ApiView):
    """The cluster."""

    @described(ClusterSerializer)
    def get(self, request: Request) -> Response:
        """The cluster and its policies."""
        return one(request, KINDS["cluster"], default_cluster().pk)

    @extend_schema(request=ClusterSerializer, responses=ClusterSerializer, parameters=[IF_MATCH])
    def patch(self, request: Request) -> Response:
        """Change policies."""
        permissions.require(viewer_of(request), "cluster.manage")
        changes = policies_of(ClusterSerializer, request)
        cluster = default_cluster()
        check = guard(request, "cluster", cluster.pk)
        with transaction.atomic():
            if check is not None:
                check()
            answer = Response(ClusterSerializer(set_policies(cluster, changes)).data)
            return tagged(request, "cluster", cluster.pk, answer)
