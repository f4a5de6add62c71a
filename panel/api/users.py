"""Users, roles and the journal over REST."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic import Field, SecretStr
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts import journal, roles, services, signin_keys
from panel.accounts.models import JournalEntry, Role, User
from panel.accounts.selectors import get_role, get_user, list_roles, list_users
from panel.api import idempotency
from panel.api.account_serializers import AccountSerializer, AccountValuesSerializer, JournalSerializer, RoleSerializer
from panel.api.idempotency import idempotent
from panel.api.lists import ListView, listed
from panel.api.moments import moment
from panel.api.objects import KINDS, Kind, ObjectView, described, guarded
from panel.api.operations import body_of, viewer_of
from panel.api.parameters import ApiView
from panel.api.preconditions import IF_MATCH
from panel.api.reading import created
from panel.core import permissions
from panel.core.validation import Params, parse
from panel.tasks import registry

MOST_EXPORTED = 100_000
JOURNAL_COLUMNS = (
    "id", "at", "user_name", "opened_by", "action", "object_type", "object_id", "object_name", "door", "address",
    "request_id", "task_id",
)  # fmt: skip
FIELD_OF = {"opened_by": "impersonated_by"}


class UsersView(ListView):
    """Users."""

    serializer = AccountSerializer
    filters = {"name": "name", "level": "level", "role": "role__name", "email": "email"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """The users that the viewer may see."""
        return list_users(viewer_of(request))

    @listed(AccountSerializer, *filters)
    def get(self, request: Request) -> Response:
        """One page of users."""
        return super().get(request)

    @extend_schema(
        request=AccountValuesSerializer, responses={201: AccountSerializer}, parameters=[idempotency.PARAMETER]
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Make a user."""
        user = services.create_user(viewer_of(request), body_of(request))
        return created(_account(viewer_of(request), user), f"users/{user.pk}")


KINDS["user"] = Kind(User, AccountSerializer, get_user)
KINDS["role"] = Kind(Role, RoleSerializer, get_role)


class UserView(ObjectView):
    """One user."""

    kind = "user"

    @described(AccountSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The user."""
        return super().get(request, object_id)

    @extend_schema(request=AccountValuesSerializer, responses=AccountSerializer, parameters=[IF_MATCH])
    @guarded("user")
    def patch(self, request: Request, object_id: int) -> Response:
        """Change what the body names; one's own password is changed at /me/password alone."""
        viewer = viewer_of(request)
        user = services.change_user(viewer, get_user(viewer, object_id), body_of(request))
        return Response(_account(viewer, user))

    @extend_schema(request=None, responses={204: None}, parameters=[IF_MATCH])
    @guarded("user")
    def delete(self, request: Request, object_id: int) -> Response:
        """Delete a user who owns nothing."""
        viewer = viewer_of(request)
        services.delete_user(viewer, get_user(viewer, object_id))
        return Response(status=204)


def _account(viewer: User, user: User) -> dict[str, Any]:
    return AccountSerializer(list_users(viewer).filter(pk=user.pk).first() or user).data


class UserActiveView(ApiView):
    """Letting a user in or not."""

    active = True

    @extend_schema(request=None, responses=AccountSerializer)
    def post(self, request: Request, object_id: int) -> Response:
        """Enable or disable the user; the tokens and sessions of a disabled one are worth nothing."""
        viewer = viewer_of(request)
        services.set_active(viewer, get_user(viewer, object_id), self.active)
        return Response(AccountSerializer(get_user(viewer, object_id)).data)


class SigninKeyValues(Params):
    """Where the browser is led to, and a key that the caller chose."""

    leads_to: str = "/"
    key: SecretStr | None = Field(None)


class SigninKeySerializer(serializers.Serializer[Any]):
    """A one-time sign-in key."""

    leads_to = serializers.CharField(default="/")
    key = serializers.CharField(required=False)
    path = serializers.CharField(read_only=True)


class UserSigninKeyView(ApiView):
    """One-time sign-in keys."""

    @extend_schema(
        request=SigninKeySerializer, responses={201: SigninKeySerializer}, parameters=[idempotency.PARAMETER]
    )
    @idempotent
    def post(self, request: Request, object_id: int) -> Response:
        """Make a key that signs a browser in as the user once; `path` is the page to send it to."""
        viewer = viewer_of(request)
        values = parse(SigninKeyValues, body_of(request))
        key = values.key.get_secret_value() if values.key is not None else None
        text = signin_keys.issue(viewer, get_user(viewer, object_id), key, values.leads_to)
        path = f"/sign-in/{quote(text, safe='')}"
        told = {"key": text, "leads_to": values.leads_to, "path": path}
        return Response(told, status=201, headers={"Location": path})


class RolesView(ListView):
    """Roles."""

    serializer = RoleSerializer
    filters = {"name": "name", "level": "level"}

    def objects(self, request: Request) -> QuerySet[Any]:
        """All roles, for those who see users."""
        return list_roles(viewer_of(request))

    @listed(RoleSerializer, *filters)
    def get(self, request: Request) -> Response:
        """One page of roles."""
        return super().get(request)

    @extend_schema(request=RoleSerializer, responses={201: RoleSerializer}, parameters=[idempotency.PARAMETER])
    @idempotent
    def post(self, request: Request) -> Response:
        """Compose a role."""
        role = roles.put_role(viewer_of(request), body_of(request), operations=_operations())
        return created(RoleSerializer(role).data, f"roles/{role.pk}")


def _operations() -> set[str]:
    """The names of all operations."""
    return {operation.name for operation in registry.every()}


class RoleView(ObjectView):
    """One role."""

    kind = "role"

    @described(RoleSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The role."""
        return super().get(request, object_id)

    @extend_schema(request=RoleSerializer, responses=RoleSerializer, parameters=[IF_MATCH])
    @guarded("role")
    def put(self, request: Request, object_id: int) -> Response:
        """Compose it anew; accounts that have it change with it."""
        viewer = viewer_of(request)
        role = roles.put_role(viewer, body_of(request), get_role(viewer, object_id), _operations())
        return Response(RoleSerializer(role).data)

    @extend_schema(request=None, responses={204: None}, parameters=[IF_MATCH])
    @guarded("role")
    def delete(self, request: Request, object_id: int) -> Response:
        """Delete a role that no account has."""
        viewer = viewer_of(request)
        roles.delete_role(viewer, get_role(viewer, object_id))
        return Response(status=204)


class RightSerializer(serializers.Serializer[Any]):
    """A single right, and the levels that may have it."""

    name = serializers.CharField()
    title = serializers.CharField()
    levels = serializers.ListField(child=serializers.CharField())


class RightsView(ApiView):
    """What roles are composed of."""

    @extend_schema(operation_id="right_list", responses=RightSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Every single right, with the levels that may have it."""
        return Response(
            [
                {"name": name, "title": title, "levels": [k for k, v in permissions.MOST_BY_LEVEL.items() if name in v]}
                for name, title in permissions.RIGHTS.items()
            ]
        )


JOURNAL_FILTERS = {
    "user": "user_name",
    "action": "action",
    "object_type": "object_type",
    "object_id": "object_id",
    "object": "object_name",
    "request_id": "request_id",
}


class JournalView(ListView):
    """The journal."""

    serializer = JournalSerializer
    newest_first = True
    filters = JOURNAL_FILTERS

    def objects(self, request: Request) -> QuerySet[Any]:
        """The entries that the viewer may read, of the time that is asked for."""
        entries = journal.list_entries(viewer_of(request))
        asked = request.query_params
        if (since := moment(asked.get("since"), "since")) is not None:
            entries = entries.filter(at__gte=since)
        if (until := moment(asked.get("until"), "until")) is not None:
            entries = entries.filter(at__lt=until)
        return entries

    @listed(JournalSerializer, *JOURNAL_FILTERS, "since", "until")
    def get(self, request: Request) -> Response:
        """One page of entries, the newest first."""
        return super().get(request)


class JournalExportView(JournalView):
    """The journal as a file."""

    @extend_schema(
        operation_id="journal_export",
        parameters=[OpenApiParameter(name, str) for name in (*JOURNAL_FILTERS, "since", "until")],
        responses={(200, "text/csv"): str},
    )
    def get(self, request: Request) -> StreamingHttpResponse:  # type: ignore[override]
        """The newest entries that the viewer may read as CSV, at most a hundred thousand, searched like the list."""
        entries = self.searched(request).values_list(*[FIELD_OF.get(name, name) for name in JOURNAL_COLUMNS])[
            :MOST_EXPORTED
        ]
        answer = StreamingHttpResponse(_csv(entries), content_type="text/csv; charset=utf-8")
        answer.headers["Content-Disposition"] = 'attachment; filename="journal.csv"'
        return answer


class _Line:
    def write(self, text: str) -> str:
        return text


def _csv(entries: QuerySet[JournalEntry, Any]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(JOURNAL_COLUMNS)
    for row in entries.iterator(chunk_size=1000):
        yield writer.writerow([_harmless(cell) for cell in row])


def _harmless(cell: Any) -> Any:
    # A spreadsheet takes a cell that begins so for a formula; names come from users.
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
