"""A VM's snapshots. Taking, reverting and deleting them are operations (panel/vms/operations/snapshots.py)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.operations import viewer_of
from panel.api.parameters import ApiView
from panel.vms.models import Snapshot
from panel.vms.selectors import get_vm
from panel.vms.snapshots import Branch, tree


class SnapshotSerializer(serializers.ModelSerializer[Snapshot]):
    """A snapshot; `children` were taken from it, `current` is the one that the VM goes on from.

    One that is `failed` was not deleted, for the `reason`; one that is `missing` is not on the VM's node any more.
    """

    children = serializers.SerializerMethodField()

    class Meta:
        model = Snapshot
        fields = [
            "id",
            "uuid",
            "name",
            "description",
            "with_memory",
            "vm_status",
            "state",
            "reason",
            "current",
            "created_at",
            "children",
        ]

    @extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/Snapshot"}})
    def get_children(self, row: Snapshot) -> list[dict[str, Any]]:
        """Filled by the view, which knows the tree."""
        return []


def as_data(branch: Branch) -> dict[str, Any]:
    """A snapshot with all that follow it."""
    data = dict(SnapshotSerializer(branch.snapshot).data)
    return {**data, "children": [as_data(child) for child in branch.children]}


class VmSnapshotsView(ApiView):
    """A VM's snapshots."""

    @extend_schema(responses=SnapshotSerializer(many=True))
    def get(self, request: Request, object_id: int) -> Response:
        """The tree: those that have none before them, each with what follows."""
        return Response([as_data(branch) for branch in tree(get_vm(viewer_of(request), object_id))])
