"""VMs, and the history of one."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import vm_serializers
from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described
from panel.api.operations import describe, submit, viewer_of
from panel.core import permissions
from panel.tasks import registry
from panel.tasks.selectors import open_tasks_of
from panel.vms.models import Vm
from panel.vms.told import told_vm, told_vms


class VmsView(ListView):
    """VMs."""

    serializer = vm_serializers.VmSerializer
    filters = {"name": "name", "status": "status", "node": "node__name", "owner": "owner__name"}
    orders = ("id", "name")

    def objects(self, request: Request) -> QuerySet[Any]:
        """The viewer's VMs, or all for administrators."""
        if "node" in request.query_params:
            permissions.require(viewer_of(request), "cluster.view")
        return told_vms(viewer_of(request))

    def extra(self, page: list[Any]) -> dict[str, Any]:
        """The tasks that hold them."""
        return {"tasks": open_tasks_of("vm", [vm.pk for vm in page])}

    @listed(vm_serializers.VmSerializer, *filters, orders=orders)
    def get(self, request: Request) -> Response:
        """One page of VMs."""
        return super().get(request)

    @describe(registry.get("vm.create"))
    def post(self, request: Request) -> Response:
        """Ask for a new VM."""
        return submit(registry.get("vm.create"), request)


KINDS["vm"] = Kind(Vm, vm_serializers.VmSerializer, told_vm, lambda vm: {"tasks": open_tasks_of("vm", [vm.pk])})


class VmView(ObjectView):
    """One VM."""

    kind = "vm"

    @described(vm_serializers.VmSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The VM."""
        return super().get(request, object_id)

    @describe(registry.get("vm.delete"))
    def delete(self, request: Request, object_id: int) -> Response:
        """Ask for the VM's deletion."""
        return submit(registry.get("vm.delete"), request, object_id)
