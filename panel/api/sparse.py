"""`?fields=name,status`: an answer tells of each object its id and what is asked for, and no more."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from panel.api.quick import QuickSerializer
from panel.api.reading import viewer_of
from panel.cluster.redaction import Redaction
from panel.core.errors import InvalidValue
from panel.core.wording import Text

FIELDS = "fields"
ALWAYS = "id"
PARAMETER = OpenApiParameter(
    FIELDS, str, description="Names of fields, separated by commas; all unless asked. The id is always told."
)


def asked_fields(serializer: type[Serializer[Any]], request: Request) -> frozenset[str] | None:
    """The fields that the request wants, None for all; raises InvalidValue for those that there are not."""
    text = request.query_params.get(FIELDS)
    if text is None:
        return None
    known = serializer().fields
    wanted = frozenset(name.strip() for name in text.split(","))
    if unknown := sorted(wanted - set(known)):
        raise InvalidValue(
            Text("There is no field “{name}”.", {"name": unknown[0][:64]}), field=FIELDS, allowed=sorted(known)
        )
    return wanted | {ALWAYS}


def told(serializer: type[Serializer[Any]], objects: Any, request: Request, context: dict[str, Any]) -> Any:
    """An object, or a list of them, in the form that the request wants."""
    wanted = asked_fields(serializer, request)
    many = isinstance(objects, list)
    made: Any = serializer(objects, many=many, context={**context, "redaction": Redaction(viewer_of(request))})
    one = made.child if many else made
    if isinstance(one, QuickSerializer):
        one.only = wanted
    elif wanted is not None:
        fields = one.fields
        for name in set(fields) - wanted:
            fields.pop(name)
    return made.data
