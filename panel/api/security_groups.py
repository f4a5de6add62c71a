"""Security groups: the viewer's, or everybody's for administrators. What changes them are operations."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers as rest
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described
from panel.api.operations import describe, submit, viewer_of
from panel.network.models import SecurityGroup
from panel.network.security import get_security_group, lines_of, list_security_groups
from panel.tasks import registry
from panel.vms.security import with_vms


class SecurityGroupSerializer(rest.ModelSerializer[SecurityGroup]):
    """A security group with its rules as they are written, and the VMs that have it."""

    owner = rest.CharField(source="owner.name")
    rules = rest.SerializerMethodField(help_text="As “in tcp 22 from 192.0.2.0/24”.")
    vms = rest.SerializerMethodField(help_text="The ids of the VMs that have it at an interface.")

    class Meta:
        model = SecurityGroup
        fields = ["id", "name", "description", "owner", "rules", "vms", "created_at"]

    def get_rules(self, group: SecurityGroup) -> list[str]:
        """Its lines."""
        return lines_of(group)

    def get_vms(self, group: SecurityGroup) -> list[int]:
        """Each once."""
        return sorted({each.vm_id for each in group.interfaces.all()})


def _groups(request: Request) -> QuerySet[SecurityGroup]:
    return with_vms(list_security_groups(viewer_of(request)))


class SecurityGroupsView(ListView):
    """Security groups."""

    serializer = SecurityGroupSerializer
    filters = {"name": "name", "owner": "owner__name"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """Those that the viewer may see."""
        return _groups(request)

    @listed(SecurityGroupSerializer, *filters)
    def get(self, request: Request) -> Response:
        """One page of security groups."""
        return super().get(request)

    @describe(registry.get("security-group.add"))
    def post(self, request: Request) -> Response:
        """Ask for a security group."""
        return submit(registry.get("security-group.add"), request)


KINDS["security-group"] = Kind(SecurityGroup, SecurityGroupSerializer, get_security_group)


class SecurityGroupView(ObjectView):
    """One security group."""

    kind = "security-group"

    @described(SecurityGroupSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The group."""
        return super().get(request, object_id)

    @describe(registry.get("security-group.remove"))
    def delete(self, request: Request, object_id: int) -> Response:
        """Ask for the group's removal."""
        return submit(registry.get("security-group.remove"), request, object_id)
