"""The options of vmpanel.conf over REST: read only, since the file is where they are changed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.parameters import ApiView
from panel.api.reading import viewer_of
from panel.core import permissions, wording
from panel.option_list import DEFAULT, FILE, told


class OptionSerializer(serializers.Serializer[Any]):
    """An option of the panel's machine; values are texts as the file has them, secrets are dots."""

    name = serializers.CharField()
    help = serializers.CharField()
    value = serializers.CharField(allow_blank=True, help_text="In force.")
    default = serializers.CharField(allow_blank=True)
    source = serializers.ChoiceField(choices=(FILE, DEFAULT))  # type: ignore[assignment]
    restart = serializers.BooleanField(help_text="Whether a change waits for a restart.")
    waits = serializers.BooleanField(help_text="Whether the file says otherwise by now.")
    then = serializers.CharField(allow_blank=True, help_text="What the file says.")


class OptionsView(ApiView):
    """All options."""

    @extend_schema(operation_id="option_list", responses=OptionSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Every option with its value, its default and where it comes from."""
        permissions.require(viewer_of(request), "settings.manage")
        options, _wrong = told(settings.CONFIG)
        return Response([_row(each) for each in options])


def _row(each: Any) -> dict[str, Any]:
    option = each.option
    told_of = {name: getattr(each, name) for name in ("value", "default", "source", "waits", "then")}
    return {"name": option.name, "help": wording.translated(option.help), "restart": option.restart, **told_of}
