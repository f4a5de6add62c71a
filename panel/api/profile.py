"""What proves who somebody is, over REST: their password and sessions. Tokens and ssh keys: accounts.py."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from pydantic import SecretStr
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts import sessions
from panel.accounts.models import BrowserSession, User
from panel.accounts.selectors import get_user
from panel.accounts.services import change_password
from panel.api.parameters import ApiView
from panel.api.reading import body_of, viewer_of
from panel.core.validation import Params, parse


class BrowserSessionSerializer(serializers.ModelSerializer[BrowserSession]):
    """A browser that is signed in."""

    opened_by = serializers.CharField(source="impersonated_by.name", default="", read_only=True)
    current = serializers.SerializerMethodField()

    class Meta:
        model = BrowserSession
        fields = ["id", "by", "opened_by", "address", "agent", "created_at", "last_seen_at", "expires_at", "current"]
        read_only_fields = fields

    def get_current(self, session: BrowserSession) -> bool:
        """Whether it is the session that asks."""
        return sessions.is_current(self.context["request"], session)


_LIST = inline_serializer("BrowserSessionList", {"results": BrowserSessionSerializer(many=True)})


def _listed(request: Request, user: User) -> Response:
    found = sessions.list_sessions(user)[: sessions.MOST]
    told = BrowserSessionSerializer(found, many=True, context={"request": request._request})
    return Response({"results": told.data})


class MySessionsView(ApiView):
    """The viewer's own sessions."""

    @extend_schema(operation_id="me_sessions_list", responses=_LIST)
    def get(self, request: Request) -> Response:
        """The browsers that are signed in, the one used last first."""
        viewer = viewer_of(request)
        sessions.require_sight(viewer, viewer)
        return _listed(request, viewer)

    @extend_schema(operation_id="me_sessions_end", request=None, responses={204: None})
    def delete(self, request: Request) -> Response:
        """End all but the one that asks."""
        viewer = viewer_of(request)
        sessions.end_others(viewer, viewer, keep=request._request)
        return Response(status=204)


class MySessionView(ApiView):
    """One of the viewer's own sessions."""

    @extend_schema(operation_id="me_session_end", request=None, responses={204: None})
    def delete(self, request: Request, session_id: str) -> Response:
        """End it."""
        viewer = viewer_of(request)
        sessions.end_one(viewer, viewer, session_id)
        return Response(status=204)


class UserSessionsView(ApiView):
    """A user's sessions, for those who run accounts."""

    @extend_schema(operation_id="user_sessions_list", responses=_LIST)
    def get(self, request: Request, object_id: int) -> Response:
        """The browsers that are signed in, the one used last first."""
        viewer = viewer_of(request)
        user = get_user(viewer, object_id)
        sessions.require_sight(viewer, user)
        return _listed(request, user)

    @extend_schema(operation_id="user_sessions_end", request=None, responses={204: None})
    def delete(self, request: Request, object_id: int) -> Response:
        """End all of them."""
        viewer = viewer_of(request)
        sessions.end_others(viewer, get_user(viewer, object_id))
        return Response(status=204)


class PasswordValues(Params):
    """One's password as it is and as it is to be."""

    current: SecretStr
    password: SecretStr


class PasswordSerializer(serializers.Serializer[Any]):
    """One's password as it is and as it is to be."""

    current = serializers.CharField(write_only=True)
    password = serializers.CharField(write_only=True)


class MyPasswordView(ApiView):
    """The viewer's own password."""

    @extend_schema(request=PasswordSerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        """Change it. All other sessions and tokens of sign-ins end; tokens of POST /tokens stay as they are."""
        viewer = viewer_of(request)
        values = parse(PasswordValues, body_of(request))
        change_password(viewer, values.current.get_secret_value(), values.password.get_secret_value())
        sessions.renew(request._request, viewer)
        return Response(status=204)
