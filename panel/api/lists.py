"""The form of every list: filters, order, pages, and which fields of its objects are told."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import paging
from panel.api.parameters import ApiView
from panel.api.sparse import PARAMETER, asked_fields, told
from panel.core.errors import InvalidValue
from panel.core.wording import Text

LONGEST_FILTER = 200
NAMES = {"SshKey": "ssh_key", "Account": "user"}
"""Lists whose calls are not named after their serializer."""


class ListView(ApiView):
    """A bounded list; subclasses say of what, in what form, by what it can be filtered and ordered.

    `filters` are query parameters and the fields that they are compared with, `orders` fields that an index orders,
    the first of them unless asked otherwise.
    """

    serializer: type[serializers.Serializer[Any]]
    filters: dict[str, str] = {}
    orders: tuple[str, ...] = ("id",)
    newest_first = False

    def objects(self, request: Request) -> QuerySet[Any]:
        """All that the viewer may see."""
        raise AssertionError("every list says of what it is")

    def extra(self, page: list[Any]) -> dict[str, Any]:
        """What the serializer needs besides the page's objects."""
        return {}

    def get(self, request: Request) -> Response:
        """One page."""
        asked = request.query_params
        found = self.searched(request)
        usual = "-id" if self.newest_first else self.orders[0]
        order = paging.Order.parse(asked.get("order", usual), self.orders)
        asked_fields(self.serializer, request)
        page = paging.page_of(found, request, order)
        data = told(self.serializer, page.rows, request, self.extra(page.rows))
        return Response({"next": page.next, "previous": page.previous, "results": data})

    def searched(self, request: Request) -> QuerySet[Any]:
        """What the filters of the request leave; raises InvalidValue for a value that one cannot have."""
        asked = request.query_params
        found = self.objects(request)
        for name, lookup in self.filters.items():
            if name in asked:
                found = self._filtered(found, name, lookup, asked[name])
        return found

    def _filtered(self, found: QuerySet[Any], name: str, lookup: str, value: str) -> QuerySet[Any]:
        try:
            if len(value) > LONGEST_FILTER:
                raise ValueError
            field, _, related = lookup.partition("__")
            if not related:
                return found.filter(**{lookup: value})
            # The other's id first: so the database begins with this table's own index and sorts nothing.
            other = found.model._meta.get_field(field).related_model
            pk = other._default_manager.filter(**{related: value}).values_list("pk", flat=True).first()
            return found.none() if pk is None else found.filter(**{field: pk})
        except (ValueError, ValidationError) as error:
            raise InvalidValue(
                Text("“{name}” cannot be “{value}”.", {"name": name, "value": value[:64]}), field=name
            ) from error


def listed(serializer: type[serializers.Serializer[Any]], *filters: str, orders: tuple[str, ...] = ("id",)) -> Any:
    """The schema of a list."""
    name = serializer.__name__.removesuffix("Serializer")
    both = [each for field in orders for each in (field, f"-{field}")]
    page = inline_serializer(
        f"{name}Page",
        {
            "next": serializers.URLField(allow_null=True),
            "previous": serializers.URLField(allow_null=True),
            "results": serializer(many=True),
        },
    )
    return extend_schema(
        operation_id=f"{NAMES.get(name, name.lower())}_list",
        responses=page,
        parameters=[
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": paging.MOST},
                description="Objects a page; 50 unless asked.",
            ),
            OpenApiParameter("cursor", str, description="Where the page begins, from `next` or `previous`."),
            OpenApiParameter("order", enum=both, description="By what the list is ordered; `-` from the end."),
            PARAMETER,
            *[OpenApiParameter(name, str) for name in filters],
        ],
    )
