"""Whoever asks: the account, its tokens and ssh keys, and how to get a token."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.selectors import list_ssh_keys, list_tokens
from panel.accounts.services import add_ssh_key, remove_ssh_key
from panel.accounts.signing_in import sign_in
from panel.accounts.tokens import create_token, revoke_token, sign_in_token
from panel.api import idempotency, serializers
from panel.api.account_serializers import NewTokenSerializer, TokenSerializer
from panel.api.idempotency import idempotent
from panel.api.lists import ListView, listed
from panel.api.operations import body_of, refuse_unset, viewer_of
from panel.api.parameters import ApiView
from panel.api.reading import created
from panel.core.errors import InvalidValue, MissingValue, NotFound
from panel.core.transactions import again_if_lost


class MeView(ApiView):
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
        return list_tokens(viewer_of(request))

    @listed(TokenSerializer)
    def get(self, request: Request) -> Response:
        """One page of tokens."""
        return super().get(request)

    @extend_schema(
        request=TokenSerializer,
        responses={201: NewTokenSerializer},
        parameters=[idempotency.PARAMETER],
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Make a token; the answer alone ever holds its text, as `token`."""
        asked = TokenSerializer(data=body_of(request))
        asked.is_valid(raise_exception=True)
        token, text = create_token(viewer_of(request), **asked.validated_data)
        return created({**TokenSerializer(token).data, "token": text}, f"tokens/{token.pk}")


class TokenView(ApiView):
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
        return list_ssh_keys(viewer_of(request))

    @listed(serializers.SshKeySerializer)
    def get(self, request: Request) -> Response:
        """One page of keys."""
        return super().get(request)

    @extend_schema(
        request=serializers.SshKeySerializer,
        responses={201: serializers.SshKeySerializer},
        parameters=[idempotency.PARAMETER],
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Remember a key."""
        asked = serializers.SshKeySerializer(data=body_of(request))
        asked.is_valid(raise_exception=True)
        key = add_ssh_key(viewer_of(request), **asked.validated_data)
        return created(serializers.SshKeySerializer(key).data, f"ssh-keys/{key.pk}")


class SshKeyView(ApiView):
    """One of the viewer's ssh keys."""

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, object_id: int) -> Response:
        """Forget it; VMs that let it in still do."""
        if not remove_ssh_key(viewer_of(request), object_id):
            raise NotFound(object="ssh key", id=object_id)
        return Response(status=204)


class SignInView(ApiView):
    """A token for a name and a password."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        request={
            "application/json": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "password": {"type": "string"},
                    "code": {"type": "string", "description": "Of the second factor, where the account has one."},
                },
                "required": ["name", "password"],
            }
        },
        responses={
            201: {
                "type": "object",
                "properties": {
                    "token": {"type": "string"},
                    "expires_at": {"type": ["string", "null"], "format": "date-time"},
                },
                "required": ["token", "expires_at"],
            }
        },
    )
    def post(self, request: Request) -> Response:
        """Make a token for the command line or another program; it ends by itself where `expires_at` says when."""
        body = body_of(request)
        refuse_unset(body, ("name", "password", "code"))
        values = {}
        for field in ("name", "password"):
            value = body.get(field)
            if not isinstance(value, str) or not value:
                raise MissingValue(field=field)
            values[field] = value
        code = body.get("code")
        if code is not None and not isinstance(code, str):
            raise InvalidValue(field="code")
        user = sign_in(request._request, **values, code=code)
        token, text = again_if_lost(lambda: sign_in_token(user))
        return created({"token": text, "expires_at": token.expires_at}, f"tokens/{token.pk}")
