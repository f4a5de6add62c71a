"""Addresses: those in use with who has them, and who had which when. They are reserved by operations on networks."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.selectors import user_named
from panel.api.lists import ListView, listed
from panel.api.moments import moment
from panel.api.operations import ACCEPTED, SWITCHES, submit, viewer_of
from panel.api.parameters import ApiView
from panel.api.reading import body_of
from panel.cluster.selectors import default_cluster
from panel.core import permissions
from panel.core.errors import NotFound
from panel.core.validation import parse
from panel.dns.selectors import with_names
from panel.network.models import Address, AddressTerm, Network
from panel.network.operations.reserve import ReserveAddressParams
from panel.network.ranges import Taker
from panel.network.selectors import network_named, network_to_give
from panel.tasks import registry
from panel.vms.selectors import list_address_terms, list_addresses


class AddressSerializer(serializers.ModelSerializer[Address]):
    """An address that is in use: an interface has it, or it is reserved, or both; or it waits since somebody had it."""

    network = serializers.CharField(source="network.name")
    vm = serializers.SerializerMethodField()
    vm_name = serializers.SerializerMethodField()
    mac = serializers.SerializerMethodField()
    owner = serializers.SerializerMethodField(help_text="Of the VM that has it, else for whom it is reserved.")

    ptr = serializers.SerializerMethodField(
        help_text="Its name at a name server of the panel; null: none has its names."
    )
    ptr_state = serializers.CharField(
        default=None, allow_null=True, help_text="Of that: done, waiting, refused, or by hand where it stays another."
    )

    class Meta:
        model = Address
        fields = [
            "id",
            "ip",
            "network",
            "vm",
            "vm_name",
            "mac",
            "owner",
            "reserved",
            "comment",
            "ptr",
            "ptr_state",
            "allocated_at",
            "expires_at",
            "waits_until",
        ]

    def get_vm(self, address: Address) -> int | None:
        """The VM that has it."""
        return address.held.interface.vm_id if hasattr(address, "held") else None

    def get_vm_name(self, address: Address) -> str | None:
        """Its name."""
        return address.held.interface.vm.name if hasattr(address, "held") else None

    def get_mac(self, address: Address) -> str | None:
        """The interface that has it."""
        return address.held.interface.mac if hasattr(address, "held") else None

    def get_ptr(self, address: Address) -> str | None:
        """Its name."""
        found: str | None = getattr(address, "ptr", None)
        return found.removesuffix(".") if found is not None else None

    def get_owner(self, address: Address) -> str | None:
        """Whose it is."""
        if hasattr(address, "held"):
            return str(address.held.interface.vm.owner.name)
        return address.owner.name if address.owner is not None else None


class ReserveAnywhereParams(ReserveAddressParams):
    """Which address, for whom, and perhaps in which network."""

    network: str | None = Field(default=None, max_length=64, description="Name of a network; none: the first with one.")


class AddressesView(ListView):
    """Addresses in use."""

    serializer = AddressSerializer
    filters = {"ip": "ip", "network": "network__name"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """Those that the viewer may see."""
        return with_names(list_addresses(viewer_of(request)))

    @listed(AddressSerializer, *filters)
    def get(self, request: Request) -> Response:
        """One page of addresses."""
        return super().get(request)

    @extend_schema(
        operation_id="ipam_reserve_address",
        summary="Reserve an address",
        description="An address that belongs to no VM yet: a named one, or any that is free, of a purpose, in a named "
        "network or in the first that has one. VMs of its owner ask for it by `address`.",
        parameters=SWITCHES,
        request=ReserveAnywhereParams,
        responses={202: ACCEPTED},
    )
    def post(self, request: Request) -> Response:
        """Reserve an address, in whichever network has one."""
        operation = registry.get("network.reserve-address")
        viewer, raw = viewer_of(request), dict(body_of(request))
        permissions.require(viewer, operation.permission)
        asked = parse(ReserveAnywhereParams, raw)
        raw.pop("network", None)
        return submit(operation, request, _network_of(asked).pk, raw)


def _network_of(asked: ReserveAnywhereParams) -> Network:
    cluster = default_cluster()
    if asked.network is not None:
        return network_named(cluster, asked.network)
    owner = user_named(asked.owner).pk if asked.owner else None
    taker = Taker(owner, purpose=asked.purpose or "")
    return network_to_give(cluster, asked.address, asked.version, taker)


class AddressView(ApiView):
    """One address that is in use."""

    @extend_schema(operation_id="ipam_address", summary="One address", responses=AddressSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The address."""
        return Response(AddressSerializer(_address(request, object_id)).data)

    @extend_schema(
        operation_id="ipam_release_address",
        summary="Release an address",
        description="Reserve it no more, or have it wait no longer: it is free when no VM has it.",
        parameters=SWITCHES,
        request=None,
        responses={202: ACCEPTED},
    )
    def delete(self, request: Request, object_id: int) -> Response:
        """Reserve the address no more."""
        found = _address(request, object_id)
        operation = registry.get("network.release-address")
        return submit(operation, request, found.network_id, {"address": found.ip})


def _address(request: Request, address_id: int) -> Address:
    found = list_addresses(viewer_of(request)).filter(pk=address_id).first()
    if found is None:
        raise NotFound(object="address", id=address_id)
    return found


class AddressTermSerializer(serializers.ModelSerializer[AddressTerm]):
    """That a VM had an address since then, until then (null: it has it), as all was called then."""

    vm = serializers.IntegerField(source="vm_id")
    owner = serializers.CharField(source="owner_name")

    class Meta:
        model = AddressTerm
        fields = ["id", "ip", "network", "vm", "vm_uuid", "vm_name", "mac", "owner", "since", "until"]


class AddressHistoryView(ListView):
    """Who had which address when."""

    serializer = AddressTermSerializer
    filters = {"ip": "ip", "vm": "vm_id", "mac": "mac"}
    newest_first = True

    def objects(self, request: Request) -> QuerySet[Any]:
        """Those of the viewer's VMs, or of all; with `at` those of that time."""
        found = list_address_terms(viewer_of(request))
        if (at := moment(request.query_params.get("at"), "at")) is not None:
            found = found.filter(Q(until=None) | Q(until__gt=at), since__lte=at)
        return found

    @listed(AddressTermSerializer, *filters, "at")
    def get(self, request: Request) -> Response:
        """One page of terms, the newest first."""
        return super().get(request)
