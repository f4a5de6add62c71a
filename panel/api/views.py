"""The REST API's views: reading through selectors, changing through operations and services."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from panel.accounts.models import SshKey, Token, User
from panel.accounts.services import add_ssh_key, remove_ssh_key, sign_in
from panel.accounts.tokens import create_token, revoke_token
from panel.api import operations, serializers
from panel.api.account_serializers import TokenSerializer
from panel.api.operations import describe, policies_of, submit, viewer_of
from panel.api.paging import NewestFirst, Page
from panel.cluster.selectors import get_node, list_nodes
from panel.cluster.services import set_node_policies
from panel.core import permissions
from panel.core.errors import InvalidValue, MissingValue, NotFound
from panel.images.selectors import list_flavors, list_images, list_isos
from panel.network.selectors import list_networks
from panel.notices.selectors import list_problems
from panel.storage.selectors import list_pools
from panel.tasks import registry, services
from panel.tasks.selectors import get_task, list_tasks, open_tasks_of
from panel.vms.operations.deploying import SSH_KEY
from panel.vms.selectors import get_vm, history, list_vms


class ListView(APIView):
    """A bounded list; subclasses say of what, in what form and by what it can be filtered."""

    serializer: type[BaseSerializer[Any]]
    paging: type[Page] = Page
    filters: dict[str, str] = {}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All that the viewer may see."""
        raise AssertionError("every list says of what it is")

    def extra(self, page: list[Any]) -> dict[str, Any]:
        """What the serializer needs besides the page's objects."""
        return {}

    def get(self, request: Request) -> Response:
        """One page."""
        found = self.objects(request)
        for name, lookup in self.filters.items():
            if name in request.query_params:
                found = self._filtered(found, name, lookup, request.query_params[name])
        paginator = self.paging()
        page = paginator.paginate_queryset(found, request, view=self) or []
        data = self.serializer(page, many=True, context=self.extra(page)).data
        return paginator.get_paginated_response(data)

    def _filtered(self, found: QuerySet[Any], name: str, lookup: str, value: str) -> QuerySet[Any]:
        try:
            return found.filter(**{lookup: value})
        except (ValueError, ValidationError) as error:
            raise InvalidValue(f"“{name}” cannot be “{value}”.", field=name) from error


def listed(serializer: type[BaseSerializer[Any]], *filters: str) -> Any:
    """The schema of a list."""
    return extend_schema(
        responses=serializer(many=True),
        parameters=[
            OpenApiParameter("limit", int, description="Objects a page, at most 200."),
            OpenApiParameter("cursor", str, description="Where the page begins, from `next` or `previous`."),
            *[OpenApiParameter(name, str) for name in filters],
        ],
    )


class VmsView(ListView):
    """VMs."""

    serializer = serializers.VmSerializer
    filters = {"name": "name", "status": "status", "node": "node__name", "owner": "owner__name"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """The viewer's VMs, or all for administrators."""
        return list_vms(viewer_of(request))

    def extra(self, page: list[Any]) -> dict[str, Any]:
        """The tasks that hold them."""
        return {"tasks": open_tasks_of("vm", [vm.pk for vm in page])}

    @listed(serializers.VmSerializer, "name", "status", "node", "owner")
    def get(self, request: Request) -> Response:
        """One page of VMs."""
        return super().get(request)

    @describe(registry.get("vm.create"))
    def post(self, request: Request) -> Response:
        """Ask for a new VM."""
        return submit(registry.get("vm.create"), request)


class VmView(APIView):
    """One VM."""

    @extend_schema(responses=serializers.VmSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The VM."""
        vm = get_vm(viewer_of(request), object_id)
        context = {"tasks": open_tasks_of("vm", [vm.pk])}
        return Response(serializers.VmSerializer(vm, context=context).data)

    @extend_schema(operation_id="vm_destroy", request=None, responses={202: serializers.TaskDetailSerializer})
    def delete(self, request: Request, object_id: int) -> Response:
        """Ask for the VM's deletion."""
        return submit(registry.get("vm.delete"), request, object_id)


class VmHistoryView(APIView):
    """The history of a VM's status."""

    @extend_schema(responses=serializers.StatusChangeSerializer(many=True))
    def get(self, request: Request, object_id: int) -> Response:
        """The newest changes."""
        vm = get_vm(viewer_of(request), object_id)
        return Response(serializers.StatusChangeSerializer(history(vm), many=True).data)


class NodesView(ListView):
    """Nodes."""

    serializer = serializers.NodeSerializer
    filters = {"name": "name", "state": "state"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All nodes, for those who see the cluster."""
        permissions.require(viewer_of(request), "cluster.view")
        return list_nodes(viewer_of(request)).annotate(vm_count=Count("vms"))

    @listed(serializers.NodeSerializer, "name", "state")
    def get(self, request: Request) -> Response:
        """One page of nodes."""
        return super().get(request)

    @describe(registry.get("node.add"))
    def post(self, request: Request) -> Response:
        """Ask for a host to be added."""
        return submit(registry.get("node.add"), request)


class NodeView(APIView):
    """One node."""

    @extend_schema(responses=serializers.NodeSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The node."""
        node = list_nodes(viewer_of(request)).annotate(vm_count=Count("vms")).filter(pk=object_id).first()
        if node is None:
            raise NotFound(object="node", id=object_id)
        return Response(serializers.NodeSerializer(node).data)

    @extend_schema(request=serializers.NodePoliciesSerializer, responses=serializers.NodePoliciesSerializer)
    def patch(self, request: Request, object_id: int) -> Response:
        """Change policies of the node."""
        viewer = viewer_of(request)
        permissions.require(viewer, "cluster.manage")
        node = get_node(viewer, object_id)
        changes = policies_of(serializers.NodePoliciesSerializer, request)
        set_node_policies(node, changes)
        return Response(serializers.NodePoliciesSerializer(get_node(viewer, object_id)).data)

    @extend_schema(operation_id="node_destroy", request=None, responses={202: serializers.TaskDetailSerializer})
    def delete(self, request: Request, object_id: int) -> Response:
        """Ask for the node's removal."""
        return submit(registry.get("node.remove"), request, object_id)


class TasksView(ListView):
    """Tasks."""

    serializer = serializers.TaskSerializer
    paging = NewestFirst
    filters = {
        "status": "status",
        "operation": "operation",
        "object_type": "object_type",
        "object_id": "object_id",
        "request_id": "request_id",
    }

    def objects(self, request: Request) -> QuerySet[Any]:
        """The tasks about the viewer's objects."""
        return list_tasks(viewer_of(request))

    @listed(serializers.TaskSerializer, *filters)
    def get(self, request: Request) -> Response:
        """One page of tasks, the newest first."""
        return super().get(request)


class TaskView(APIView):
    """One task."""

    @extend_schema(responses=serializers.TaskDetailSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The task with its steps."""
        return Response(serializers.TaskDetailSerializer(get_task(viewer_of(request), object_id)).data)


class TaskLogView(APIView):
    """A task's log."""

    @extend_schema(responses=serializers.TaskLogSerializer(many=True))
    def get(self, request: Request, object_id: int) -> Response:
        """Its lines, at most the first thousand."""
        task = get_task(viewer_of(request), object_id)
        return Response(serializers.TaskLogSerializer(task.log.all()[:1000], many=True).data)


class TaskCancelView(APIView):
    """Ending a task before its end."""

    @extend_schema(request=None, responses={202: serializers.TaskDetailSerializer})
    def post(self, request: Request, object_id: int) -> Response:
        """Ask for the task's end; it undoes what it did."""
        viewer = viewer_of(request)
        return operations.accepted(services.cancel(get_task(viewer, object_id), viewer))


class TaskRetryUndoView(APIView):
    """A second try for a task that is stuck."""

    @extend_schema(request=None, responses={202: serializers.TaskDetailSerializer})
    def post(self, request: Request, object_id: int) -> Response:
        """Have the task try its undo again."""
        viewer = viewer_of(request)
        return operations.accepted(services.retry_undo(get_task(viewer, object_id), viewer))


class ImagesView(ListView):
    """OS images."""

    serializer = serializers.ImageSerializer
    filters = {"name": "name"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All images."""
        return list_images(viewer_of(request))

    @listed(serializers.ImageSerializer, "name")
    def get(self, request: Request) -> Response:
        """One page of images."""
        return super().get(request)


class IsosView(ListView):
    """ISO images."""

    serializer = serializers.IsoSerializer
    filters = {"name": "name"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All ISO images."""
        return list_isos(viewer_of(request))

    @listed(serializers.IsoSerializer, "name")
    def get(self, request: Request) -> Response:
        """One page of ISO images."""
        return super().get(request)


class FlavorsView(ListView):
    """Flavors."""

    serializer = serializers.FlavorSerializer
    filters = {"name": "name"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All flavors."""
        return list_flavors(viewer_of(request))

    @listed(serializers.FlavorSerializer, "name")
    def get(self, request: Request) -> Response:
        """One page of flavors."""
        return super().get(request)


class NetworksView(ListView):
    """Networks."""

    serializer = serializers.NetworkSerializer
    filters = {"name": "name"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All networks."""
        return list_networks(viewer_of(request))

    @listed(serializers.NetworkSerializer, "name")
    def get(self, request: Request) -> Response:
        """One page of networks."""
        return super().get(request)


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


class ProblemsView(ListView):
    """Open problems."""

    serializer = serializers.ProblemSerializer
    paging = NewestFirst

    def objects(self, request: Request) -> QuerySet[Any]:
        """All open problems, for those who see the cluster."""
        return list_problems(viewer_of(request))

    @listed(serializers.ProblemSerializer)
    def get(self, request: Request) -> Response:
        """One page of problems, the newest first."""
        return super().get(request)


class MeView(APIView):
    """Whoever asks."""

    @extend_schema(responses=serializers.UserSerializer)
    def get(self, request: Request) -> Response:
        """The account."""
        return Response(serializers.UserSerializer(viewer_of(request)).data)


class TokensView(ListView):
    """The viewer's own tokens."""

    serializer = TokenSerializer

    def objects(self, request: Request) -> QuerySet[Any]:
        """The viewer's tokens."""
        return Token.objects.filter(user=viewer_of(request))

    @listed(TokenSerializer)
    def get(self, request: Request) -> Response:
        """One page of tokens."""
        return super().get(request)

    @extend_schema(request=TokenSerializer, responses={201: TokenSerializer})
    def post(self, request: Request) -> Response:
        """Make a token; the answer alone ever holds its text, as `token`."""
        asked = TokenSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        token, text = create_token(viewer_of(request), **asked.validated_data)
        return Response({**TokenSerializer(token).data, "token": text}, status=201)


class TokenView(APIView):
    """One of the viewer's tokens."""

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, object_id: int) -> Response:
        """Revoke it."""
        if not revoke_token(viewer_of(request), object_id):
            raise NotFound(object="token", id=object_id)
        return Response(status=204)


class SshKeysView(ListView):
    """The viewer's own ssh keys."""

    serializer = serializers.SshKeySerializer

    def objects(self, request: Request) -> QuerySet[Any]:
        """The viewer's keys."""
        return SshKey.objects.filter(user=viewer_of(request))

    @listed(serializers.SshKeySerializer)
    def get(self, request: Request) -> Response:
        """One page of keys."""
        return super().get(request)

    @extend_schema(request=serializers.SshKeySerializer, responses={201: serializers.SshKeySerializer})
    def post(self, request: Request) -> Response:
        """Remember a key."""
        asked = serializers.SshKeySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        if not SSH_KEY.match(asked.validated_data["public_key"]):
            raise InvalidValue("This is not a public key, as in authorized_keys.", field="public_key")
        key = add_ssh_key(viewer_of(request), **asked.validated_data)
        return Response(serializers.SshKeySerializer(key).data, status=201)


class SshKeyView(APIView):
    """One of the viewer's ssh keys."""

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, object_id: int) -> Response:
        """Forget it; VMs that let it in still do."""
        if not remove_ssh_key(viewer_of(request), object_id):
            raise NotFound(object="ssh key", id=object_id)
        return Response(status=204)


class OperationsView(APIView):
    """All that can be asked for."""

    @extend_schema(responses={200: {"type": "array", "items": {"type": "object"}}})
    def get(self, request: Request) -> Response:
        """The operations that the viewer has the right to."""
        viewer: User = viewer_of(request)
        return Response(
            [
                {
                    "name": each.name,
                    "object_type": each.object_type,
                    "verb": each.verb,
                    "label": each.label,
                    "description": (type(each).__doc__ or "").strip().splitlines()[0],
                    "creates": each.creates,
                    "dangerous": each.dangerous,
                    "permission": each.permission,
                    "params": each.params.model_json_schema(),
                }
                for each in registry.every()
                if permissions.allows(viewer, each.permission)
            ]
        )


class SignInView(APIView):
    """A token for a name and a password."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        request={
            "application/json": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "password": {"type": "string"}},
                "required": ["name", "password"],
            }
        },
        responses={201: {"type": "object", "properties": {"token": {"type": "string"}}}},
    )
    def post(self, request: Request) -> Response:
        """Make a token for the command line or another program."""
        values = {}
        for field in ("name", "password"):
            value = request.data.get(field) if isinstance(request.data, dict) else None
            if not isinstance(value, str) or not value:
                raise MissingValue(field=field)
            values[field] = value
        user = sign_in(request._request, **values)
        _token, text = create_token(user, "sign-in")
        return Response({"token": text}, status=201)
