"""The second factor over REST: turned on and off by its user, reset by an administrator."""

from __future__ import annotations

from typing import Annotated

from drf_spectacular.utils import extend_schema, inline_serializer
from pydantic import Field, SecretStr
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts import recovery, second_factor, totp
from panel.accounts.selectors import get_user, require_own
from panel.api.parameters import ApiView
from panel.api.reading import body_of, created, viewer_of
from panel.core.validation import Params, parse

Code = Annotated[str, Field(min_length=6, max_length=40)]

_STATE = inline_serializer(
    "Totp", {"on": serializers.BooleanField(), "recovery_codes_left": serializers.IntegerField()}
)
_ENROLMENT = inline_serializer(
    "TotpEnrolment",
    {"secret": serializers.CharField(), "uri": serializers.CharField(), "picture": serializers.CharField()},
)
_CODE = inline_serializer("TotpCode", {"code": serializers.CharField(min_length=6, max_length=40)})
_OFF = inline_serializer(
    "TotpOff",
    {"password": serializers.CharField(), "code": serializers.CharField(min_length=6, max_length=40)},
)
_CODES = serializers.ListField(child=serializers.CharField())
_RECOVERY = inline_serializer("NewRecoveryCodes", {"recovery_codes": _CODES})


class CodeValues(Params):
    """A code of the app."""

    code: Code


class OffValues(CodeValues):
    """What turning the second factor off asks for."""

    password: SecretStr


class MyTotpView(ApiView):
    """The viewer's second factor."""

    @extend_schema(operation_id="me_totp", responses=_STATE)
    def get(self, request: Request) -> Response:
        """Whether it is on."""
        viewer = viewer_of(request)
        require_own(viewer)
        return Response({"on": totp.is_on(viewer), "recovery_codes_left": recovery.left(viewer)})

    @extend_schema(operation_id="me_totp_enrol", request=None, responses={201: _ENROLMENT})
    def post(self, request: Request) -> Response:
        """A new secret for an app, with its picture as SVG; in force once a code of it is confirmed."""
        made = totp.enrol(viewer_of(request))
        return created({"secret": made.secret, "uri": made.uri, "picture": made.picture}, "me/totp")


class MyTotpConfirmView(ApiView):
    """Turning it on."""

    @extend_schema(operation_id="me_totp_confirm", request=_CODE, responses=_RECOVERY)
    def post(self, request: Request) -> Response:
        """Confirm the app by a code of it; the answer alone ever holds the recovery codes."""
        values = parse(CodeValues, body_of(request))
        return Response({"recovery_codes": totp.confirm(viewer_of(request), values.code)})


class MyTotpOffView(ApiView):
    """Turning it off."""

    @extend_schema(operation_id="me_totp_off", request=_OFF, responses={204: None})
    def post(self, request: Request) -> Response:
        """Ask for no code any more: needs the password and a code."""
        values = parse(OffValues, body_of(request))
        second_factor.turn_off_app(viewer_of(request), values.password.get_secret_value(), values.code)
        return Response(status=204)


class UserTotpResetView(ApiView):
    """A user who lost the second factor."""

    @extend_schema(operation_id="user_totp_reset", request=None, responses={204: None})
    def post(self, request: Request, object_id: int) -> Response:
        """Take app and security keys from the user, who signs in by the password alone until they turn one on again."""
        viewer = viewer_of(request)
        second_factor.reset(viewer, get_user(viewer, object_id))
        return Response(status=204)
