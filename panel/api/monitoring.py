"""The REST API's views of what is measured, and of the policies about it."""

from __future__ import annotations

from django.db import transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from panel.accounts.models import User
from panel.api.moments import moment
from panel.api.objects import KINDS, Kind, described, guard, one
from panel.api.operations import policies_of, viewer_of
from panel.api.preconditions import IF_MATCH
from panel.cluster.models import Cluster
from panel.cluster.selectors import default_cluster
from panel.cluster.services import set_policies
from panel.core import permissions
from panel.monitoring.models import VmTraffic, VmUsage
from panel.monitoring.models.statistics import COUNTERS
from panel.monitoring.statistics import selectors


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
        ]
        read_only_fields = ["id", "name", "timezone"]


class VmStatisticsView(APIView):
    """What a VM used."""

    @extend_schema(
        parameters=[
            OpenApiParameter("step", enum=list(selectors.STEPS), description="Length of a row; 10m when absent."),
            OpenApiParameter("from", OpenApiTypes.DATETIME, description="Begin; a hundred steps ago when absent."),
            OpenApiParameter("to", OpenApiTypes.DATETIME, description="End; now when absent."),
        ],
        responses=VmUsageSerializer(many=True),
    )
    def get(self, request: Request, object_id: int) -> Response:
        """Rows of a series, the oldest first, at most 2,000."""
        asked = request.query_params
        since, until = (moment(asked.get(name), name) for name in ("from", "to"))
        rows = selectors.usage(viewer_of(request), object_id, asked.get("step", "10m"), since, until)
        return Response(VmUsageSerializer(rows, many=True).data)


class VmTrafficView(APIView):
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


class ClusterView(APIView):
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
            return Response(ClusterSerializer(set_policies(cluster, changes)).data)
