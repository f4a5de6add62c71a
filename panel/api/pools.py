"""Storage pools: listed, added, declared shared; the kinds that they can be of."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers as rest
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import serializers
from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described, guarded
from panel.api.operations import policies_of, viewer_of
from panel.api.parameters import ApiView
from panel.api.preconditions import IF_MATCH
from panel.api.reading import body_of, created
from panel.cluster.selectors import default_cluster
from panel.core import permissions
from panel.storage.kinds import KINDS as KINDS_OF_STORAGE
from panel.storage.models import Pool
from panel.storage.selectors import get_pool, list_pools
from panel.storage.services import add_pool, change_pool


class PoolsView(ListView):
    """Storage pools."""

    serializer = serializers.PoolSerializer

    def objects(self, request: Request) -> QuerySet[Any]:
        """All pools, for those who see the cluster."""
        return list_pools(viewer_of(request))

    @listed(serializers.PoolSerializer)
    def get(self, request: Request) -> Response:
        """One page of pools."""
        return super().get(request)

    @extend_schema(request=serializers.NewPoolSerializer, responses={201: serializers.PoolSerializer})
    def post(self, request: Request) -> Response:
        """Add a pool; each node has it from its next check on."""
        permissions.require(viewer_of(request), "cluster.manage")
        asked = serializers.NewPoolSerializer(data=body_of(request))
        asked.is_valid(raise_exception=True)
        pool = add_pool(default_cluster(), asked.validated_data)
        return created(serializers.PoolSerializer(pool).data, f"pools/{pool.pk}")


KINDS["pool"] = Kind(Pool, serializers.PoolSerializer, get_pool)


class PoolView(ObjectView):
    """One pool."""

    kind = "pool"

    @described(serializers.PoolSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The pool."""
        return super().get(request, object_id)

    @extend_schema(
        request=serializers.PoolPoliciesSerializer, responses=serializers.PoolSerializer, parameters=[IF_MATCH]
    )
    @guarded("pool")
    def patch(self, request: Request, object_id: int) -> Response:
        """Declare whether all nodes see the same files in it, and how much of it may be promised to disks."""
        viewer = viewer_of(request)
        permissions.require(viewer, "cluster.manage")
        change_pool(get_pool(viewer, object_id), policies_of(serializers.PoolPoliciesSerializer, request))
        return Response(serializers.PoolSerializer(get_pool(viewer, object_id)).data)


class StorageKindSerializer(rest.Serializer[Any]):
    """A kind of storage: what one of it is added with, and what its volumes can."""

    name = rest.CharField()
    label = rest.CharField()  # type: ignore[assignment]
    shared = rest.BooleanField(allow_null=True, help_text="None: whoever adds one declares it.")
    formats = rest.ListField(child=rest.CharField())
    can = rest.ListField(child=rest.CharField())
    options = rest.DictField(help_text="JSON schema of the options, with their help.")


class StorageKindsView(ApiView):
    """The kinds that storages can be of."""

    @extend_schema(operation_id="storage_kind_list", responses=StorageKindSerializer(many=True))
    def get(self, request: Request) -> Response:
        """All kinds, for those who see the cluster."""
        permissions.require(viewer_of(request), "cluster.view")
        return Response(
            [
                {
                    "name": each.name,
                    "label": each.label,
                    "shared": each.shared,
                    "formats": list(each.formats),
                    "can": sorted(each.can),
                    "options": each.options.model_json_schema(),
                }
                for each in KINDS_OF_STORAGE.values()
            ]
        )
