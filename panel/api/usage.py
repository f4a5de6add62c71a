"""Usage for billing: hours by size and traffic of a period, of one VM or of all, deleted ones too."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import paging
from panel.api.moments import moment
from panel.api.operations import viewer_of
from panel.api.parameters import ApiView
from panel.api.reading import numbered
from panel.core import permissions
from panel.monitoring import usage
from panel.monitoring.usage import VmUsage
from panel.usage.intervals import Size, Sums, seconds_by_size, sums
from panel.usage.models import OrderEnd

HOUR = 3600
BY_VM = paging.Order("vm_id", descending=False)
PERIOD = [
    OpenApiParameter("from", OpenApiTypes.DATETIME, description="Begin; that of the month when absent."),
    OpenApiParameter("to", OpenApiTypes.DATETIME, description="End, not in the period; now when absent or later."),
]


class SumsSerializer(serializers.Serializer[Any]):
    """Sizes times the time that they lasted: exact in seconds, and as hours."""

    seconds = serializers.IntegerField()
    vcpu_seconds = serializers.IntegerField()
    memory_mib_seconds = serializers.IntegerField()
    disk_gib_seconds = serializers.IntegerField()
    address_seconds = serializers.IntegerField()
    hours = serializers.FloatField()
    vcpu_hours = serializers.FloatField()
    memory_mib_hours = serializers.FloatField()
    disk_gib_hours = serializers.FloatField()
    address_hours = serializers.FloatField()


class SizeSerializer(serializers.Serializer[Any]):
    """A size that the VM had, whose it was meanwhile, and how long."""

    owner_id = serializers.IntegerField()
    owner = serializers.CharField(
        allow_null=True,
        help_text="What the owner was called then, also one who is no more; null: nobody wrote it down.",
    )
    vcpus = serializers.IntegerField()
    memory_mib = serializers.IntegerField()
    disk_gib = serializers.IntegerField()
    addresses = serializers.IntegerField()
    suspended = serializers.BooleanField()
    seconds = serializers.IntegerField()


class IntervalSerializer(SizeSerializer):
    """From `begin` until `end`, which is not in it, the VM was of this size."""

    begin = serializers.DateTimeField()
    end = serializers.DateTimeField()


class NotKnownSerializer(serializers.Serializer[Any]):
    """From `begin` until `end` the VM ran and its counters were not read."""

    begin = serializers.DateTimeField()
    end = serializers.DateTimeField()


class BilledTrafficSerializer(serializers.Serializer[Any]):
    """Bytes; what is in `not_known` until the period's end may be known after the next collection, all else never."""

    rx_bytes = serializers.IntegerField()
    tx_bytes = serializers.IntegerField()
    complete = serializers.BooleanField(
        allow_null=True,
        help_text="Whether they are all that there was; for ever, as are the numbers. null: some may still be added.",
    )
    not_known = NotKnownSerializer(many=True)


class VmBillSerializer(serializers.Serializer[Any]):
    """A VM's usage. The seconds of `active`, `suspended` and `absent` together are the period's."""

    vm = serializers.IntegerField()
    uuid = serializers.UUIDField()
    name = serializers.CharField()
    begin = serializers.DateTimeField()
    end = serializers.DateTimeField()
    active = SumsSerializer()
    suspended = SumsSerializer()
    order = serializers.ChoiceField(
        choices=OrderEnd.choices, allow_null=True, help_text="How an order ended of which no VM came; else null."
    )
    absent_seconds = serializers.IntegerField(help_text="In which there was no such VM, or it was another's.")
    sizes = SizeSerializer(many=True)
    traffic = BilledTrafficSerializer()


class VmBillDetailSerializer(VmBillSerializer):
    """The same, with each interval."""

    intervals = IntervalSerializer(many=True)


class VmBillView(ApiView):
    """What is to be billed of one VM."""

    @extend_schema(operation_id="vm_usage", parameters=PERIOD, responses=VmBillDetailSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """Its usage in a period. What was told once does not change any more."""
        viewer = viewer_of(request)
        permissions.require(viewer, "vms.view")
        found = usage.vm_usage(viewer, object_id, *_period(request))
        intervals = [
            {**_told_size(part.size, part.seconds, found), "begin": part.begin, "end": part.end}
            for part in found.stretches
            if part.size is not None
        ]
        return Response(VmBillDetailSerializer({**_told(found), "intervals": intervals}).data)


class BillView(ApiView):
    """What is to be billed of all VMs, or of one user's."""

    @extend_schema(
        operation_id="usage_list",
        parameters=[
            *PERIOD,
            OpenApiParameter(
                "owner",
                str,
                description="Name of a user, also of one who is no more: the time in which VMs were theirs.",
            ),
            OpenApiParameter(
                "owner_id", {"type": "integer", "minimum": 1}, description="The same by the id, which nobody else has."
            ),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": paging.MOST},
                description="VMs a page; 50 unless asked.",
            ),
            OpenApiParameter("cursor", str, description="Where the page begins, from `next` or `previous`."),
        ],
        responses=inline_serializer(
            "UsagePage",
            {
                "next": serializers.URLField(allow_null=True),
                "previous": serializers.URLField(allow_null=True),
                "results": VmBillSerializer(many=True),
            },
        ),
    )
    def get(self, request: Request) -> Response:
        """Usage in a period, VM by VM. What was told once does not change any more."""
        viewer = viewer_of(request)
        permissions.require(viewer, "vms.view")
        number = numbered(request, "owner_id", None, 2**63 - 1)
        owner = usage.owner_id(viewer, request.query_params.get("owner"), number)
        begin, end = _period(request)
        page = paging.page_of(usage.metered_vms(owner, begin, end), request, BY_VM)
        found = usage.usage_of([entry.vm_id for entry in page.rows], begin, end, owner)
        told = VmBillSerializer([_told(each) for each in found], many=True).data
        return Response({"next": page.next, "previous": page.previous, "results": told})


def _period(request: Request) -> tuple[datetime, datetime]:
    asked = request.query_params
    return usage.closed_period(*(moment(asked.get(name), name) for name in ("from", "to")))


def _told(found: VmUsage) -> dict[str, Any]:
    active, suspended = (sums(found.stretches, suspended=which) for which in (False, True))
    return {
        "vm": found.vm_id,
        "uuid": found.uuid,
        "name": found.name,
        "begin": found.begin,
        "end": found.end,
        "active": _told_sums(active),
        "suspended": _told_sums(suspended),
        "order": found.order or None,
        "absent_seconds": sum(part.seconds for part in found.stretches if part.size is None),
        "sizes": [_told_size(size, seconds, found) for size, seconds in seconds_by_size(found.stretches).items()],
        "traffic": found.traffic,
    }


def _told_sums(found: Sums) -> dict[str, Any]:
    exact = asdict(found)
    hours = {
        name.replace("_seconds", "_hours").replace("seconds", "hours"): value / HOUR for name, value in exact.items()
    }
    return exact | hours


def _told_size(size: Size, seconds: int, found: VmUsage) -> dict[str, Any]:
    told = {name: value for name, value in asdict(size).items() if name != "owner_id"}
    owner = {"owner_id": size.owner_id, "owner": found.owners.get(size.owner_id) or None}
    return {**owner, **told, "seconds": seconds}
