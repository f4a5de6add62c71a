"""The form of every list: filters, pages."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from panel.api.paging import Page
from panel.core.errors import InvalidValue


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
