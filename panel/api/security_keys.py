"""One's security keys over REST: listed, registered by a browser, removed. Signing in by them is the form's alone."""

from __future__ import annotations

from typing import Annotated, Any

from drf_spectacular.utils import extend_schema, inline_serializer
from pydantic import Field, SecretStr
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts import second_factor, security_keys
from panel.accounts.models import SecurityKey
from panel.accounts.selectors import require_own
from panel.api.parameters import ApiView
from panel.api.reading import body_of, created, viewer_of
from panel.core.validation import Params, parse


class SecurityKeySerializer(serializers.ModelSerializer[SecurityKey]):
    """A security key, of which nobody can be told more."""

    class Meta:
        model = SecurityKey
        fields = ["id", "name", "created_at", "last_used_at"]
        read_only_fields = fields


_LIST = inline_serializer("SecurityKeyList", {"results": SecurityKeySerializer(many=True)})
_OPTIONS = inline_serializer(
    "SecurityKeyChallenge", {"options": serializers.DictField(help_text="PublicKeyCredentialCreationOptionsJSON.")}
)
_NEW = inline_serializer(
    "NewSecurityKey",
    {
        "name": serializers.CharField(max_length=64),
        "credential": serializers.DictField(help_text="What navigator.credentials.create() answered, as its toJSON()."),
    },
)
_MADE = inline_serializer(
    "SecurityKeyMade",
    {"key": SecurityKeySerializer(), "recovery_codes": serializers.ListField(child=serializers.CharField())},
)
_REMOVE = inline_serializer("SecurityKeyRemove", {"password": serializers.CharField()})


class NewKeyValues(Params):
    """A key that answered a challenge."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    credential: dict[str, Any]


class RemoveValues(Params):
    """What removing a key asks for."""

    password: SecretStr


class MySecurityKeysView(ApiView):
    """The viewer's security keys."""

    @extend_schema(operation_id="me_security_keys_list", responses=_LIST)
    def get(self, request: Request) -> Response:
        """All of them, by name."""
        viewer = viewer_of(request)
        require_own(viewer)
        keys = security_keys.keys_of(viewer)
        return Response({"results": SecurityKeySerializer(keys, many=True).data})

    @extend_schema(operation_id="me_security_keys_create", request=_NEW, responses={201: _MADE})
    def post(self, request: Request) -> Response:
        """Register the key that answered this browser's challenge. With the first second factor come recovery codes."""
        values = parse(NewKeyValues, body_of(request))
        made, codes = security_keys.register(
            viewer_of(request), request._request.session, values.name, values.credential
        )
        return created({"key": SecurityKeySerializer(made).data, "recovery_codes": codes}, "me/security-keys")


class MySecurityKeyChallengeView(ApiView):
    """What a browser asks a key to sign."""

    @extend_schema(operation_id="me_security_keys_challenge", request=None, responses={201: _OPTIONS})
    def post(self, request: Request) -> Response:
        """Options for navigator.credentials.create(), good for one answer of this browser within five minutes."""
        options = security_keys.begin_registration(viewer_of(request), request._request.session)
        return created({"options": options}, "me/security-keys")


class MySecurityKeyRemoveView(ApiView):
    """One of the viewer's security keys."""

    @extend_schema(operation_id="me_security_key_remove", request=_REMOVE, responses={204: None})
    def post(self, request: Request, object_id: int) -> Response:
        """Forget it: needs the password."""
        values = parse(RemoveValues, body_of(request))
        second_factor.remove_key(viewer_of(request), object_id, values.password.get_secret_value())
        return Response(status=204)
