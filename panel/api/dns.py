"""Name servers, and the records that they shall have: listed, added, one of them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described
from panel.api.operations import describe, submit, viewer_of
from panel.api.redacted_fields import WordedField
from panel.dns.models import DnsServer, Record
from panel.dns.selectors import get_server, list_servers
from panel.tasks import registry


class DnsServerSerializer(serializers.ModelSerializer[DnsServer]):
    """A name server; the key of its API is never told."""

    ttl_seconds = serializers.IntegerField(source="ttl")
    record_count = serializers.IntegerField(help_text="How many records it shall have.")
    late_count = serializers.IntegerField(help_text="How many of them are not there as they shall be.")
    error = WordedField(source="worded_error", help_text="Why it could not be worked with; empty: it answers.")

    class Meta:
        model = DnsServer
        fields = [
            "id",
            "name",
            "url",
            "ranges",
            "domain",
            "template",
            "forward",
            "make_zones",
            "zone_nameservers",
            "ttl_seconds",
            "removing",
            "record_count",
            "late_count",
            "failures",
            "next_try_at",
            "answered_at",
            "error",
        ]


class DnsRecordSerializer(serializers.ModelSerializer[Record]):
    """A record that a server shall have, or (not wanted) have no more."""

    vm = serializers.IntegerField(source="vm_id")
    name = serializers.SerializerMethodField()
    content = serializers.SerializerMethodField()
    error = WordedField(source="worded_error", help_text="Why the server does not take it.")

    class Meta:
        model = Record
        fields = ["id", "vm", "ip", "name", "type", "content", "wanted", "state", "next_try_at", "error", "changed_at"]

    def get_name(self, record: Record) -> str:
        """Its name, without the last dot."""
        return record.name.removesuffix(".")

    def get_content(self, record: Record) -> str:
        """What it says, likewise."""
        return record.content.removesuffix(".")


class DnsServersView(ListView):
    """Name servers."""

    serializer = DnsServerSerializer
    filters = {"name": "name"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All of them, for who sees the cluster."""
        return list_servers(viewer_of(request))

    @listed(DnsServerSerializer, *filters)
    def get(self, request: Request) -> Response:
        """One page of name servers."""
        return super().get(request)

    @describe(registry.get("dns-server.add"))
    def post(self, request: Request) -> Response:
        """Add one."""
        return submit(registry.get("dns-server.add"), request)


KINDS["dns-server"] = Kind(DnsServer, DnsServerSerializer, get_server)


class DnsServerView(ObjectView):
    """One name server."""

    kind = "dns-server"

    @described(DnsServerSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The name server."""
        return super().get(request, object_id)

    @describe(registry.get("dns-server.remove"))
    def delete(self, request: Request, object_id: int) -> Response:
        """Withdraw the panel's records from it, then forget it."""
        return submit(registry.get("dns-server.remove"), request, object_id)


class DnsRecordsView(ListView):
    """A name server's records."""

    serializer = DnsRecordSerializer
    filters = {"state": "state", "ip": "ip", "type": "type", "vm": "vm_id"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """The records of one server."""
        return get_server(viewer_of(request), self.kwargs["object_id"]).records.all()

    @listed(DnsRecordSerializer, *filters)
    def get(self, request: Request, object_id: int) -> Response:
        """One page of records."""
        return super().get(request)
