"""Limits of accounts: what is allowed, and how much of it is used."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.limits import LIMITS, limits_of
from panel.accounts.models import User
from panel.accounts.selectors import get_user
from panel.api.operations import viewer_of
from panel.api.parameters import ApiView
from panel.images import isos
from panel.vms.limits import used_by


class AccountLimitSerializer(serializers.Serializer[Any]):
    """One limit: null is without limit; null is used where it is not of the account as a whole."""

    limit = serializers.ChoiceField(choices=LIMITS)
    used = serializers.IntegerField(allow_null=True)
    allowed = serializers.IntegerField(allow_null=True)


class MyLimitsView(ApiView):
    """The viewer's own limits."""

    @extend_schema(operation_id="my_limits", responses=AccountLimitSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Each limit with what is used of it."""
        return Response(_limits(viewer_of(request)))


class UserLimitsView(ApiView):
    """Another user's limits."""

    @extend_schema(operation_id="user_limits", responses=AccountLimitSerializer(many=True))
    def get(self, request: Request, object_id: int) -> Response:
        """Each limit with what is used of it."""
        return Response(_limits(get_user(viewer_of(request), object_id)))


def _limits(user: User) -> list[dict[str, Any]]:
    of_vms, of_isos, limits = used_by(user), isos.used_by(user), limits_of(user)
    told = [
        {
            "limit": name,
            "used": getattr(of_vms, name, getattr(of_isos, name, None)),
            "allowed": getattr(limits, name),
        }
        for name in LIMITS
    ]
    return list(AccountLimitSerializer(told, many=True).data)
