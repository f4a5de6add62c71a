"""Which parameters an address may have: those that the schema tells of, once each, and no others.

A caller who writes `?plna=1` wants a plan, and one who asks for usage by `user` wants one user's: to go on as if
nothing had been said would do, or tell, what was not asked for. The schema is the one list of what a call knows:
whatever is described there is taken, and nothing else has to be kept in step with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.views import APIView

from panel.core.errors import InvalidValue
from panel.core.wording import Text

FORMAT = "format"
"""DRF's own, which every call knows: the form of the answer, of which there is one."""
_KNOWN: dict[tuple[type[APIView], str], frozenset[str]] = {}


class ApiView(APIView):
    """What every view of the API is: it refuses parameters that it does not know before anything else is done."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """After DRF has seen to it that the caller may ask."""
        super().initial(request, *args, **kwargs)
        refuse_unknown(request.query_params, known_to(self, str(request.method)))


def refuse_unknown(asked: QueryDict, known: Iterable[str]) -> None:
    """Raise InvalidValue for a parameter that is not known, or that stands there twice."""
    allowed = sorted(known)
    for name, values in asked.lists():
        if name not in allowed and name != FORMAT:
            raise InvalidValue(
                Text("There is no parameter “{name}” here.", {"name": name[:64]}), field=name[:64], allowed=allowed
            )
        if len(values) > 1:
            raise InvalidValue(Text("The parameter “{name}” is given twice.", {"name": name}), field=name)


def known_to(view: APIView, method: str) -> frozenset[str]:
    """The query parameters that the schema tells of a view's method; of one that there is not, none are asked about."""
    key = (type(view), method)
    if key not in _KNOWN:
        _KNOWN[key] = frozenset(_described(view, method))
    return _KNOWN[key]


def _described(view: APIView, method: str) -> Iterable[str]:
    handler = getattr(view, method.lower(), None)
    made = getattr(handler, "kwargs", {}).get("schema")
    if made is None:
        return
    schema = made()
    schema.view, schema.method = view, method
    for each in schema.get_override_parameters():
        if isinstance(each, OpenApiParameter) and each.location == OpenApiParameter.QUERY:
            yield each.name
