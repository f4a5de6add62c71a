"""Pages of lists: by cursor, so that a page costs the same anywhere in the list."""

from __future__ import annotations

from rest_framework.pagination import CursorPagination


class Page(CursorPagination):
    """`limit` objects a page (50, at most 200), `next` and `previous` as links."""

    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200
    ordering = "pk"


class NewestFirst(Page):
    """The same, from the newest."""

    ordering = "-pk"
