"""The form of every list on a page: search, filters and order in its address, chosen columns, CSV, a live table.

A list is declared once, as a Listing; the view hands it to show(). The template of a row renders the cells of the
columns that are shown.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django.core.paginator import Page, Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.web.rendering import page, viewer_of

PAGE = 50
"""Rows on a page."""
MOST_EXPORTED = 10_000
LONGEST_SEARCH = 100
Label = str | Promise
NOTHING = _("There is nothing here yet.")
Choices = Sequence[tuple[str, Any]]


def named(words: Mapping[str, Label]) -> Callable[[User], Choices]:
    """The choices of a filter by something that has so many values, with what each is called."""
    return lambda viewer: list(words.items())


@dataclass(frozen=True)
class Column:
    """A column: `order` is the field that sorts by it ("": it sorts nothing), `text` its value for CSV.

    `usual`: whether it is shown to who chose no columns. `of_nodes`: only to who may know nodes. `card` is where it
    stands in a row on a phone (app.css): a list that says so has short cards there, without its other columns.
    """

    name: str
    label: Label
    order: str = ""
    text: Callable[[Any], Any] | None = None
    usual: bool = True
    of_nodes: bool = False
    card: Literal["", "card-head", "card-side", "card-line", "card-end"] = ""


@dataclass(frozen=True)
class Filter:
    """A choice that leaves some of the rows: `choices` for the viewer, `lookup` the field that the value is of.

    `apply` in place of a lookup, where it is not that simple.
    """

    name: str
    label: Label
    choices: Callable[[User], Choices] = lambda viewer: ()
    lookup: str = ""
    apply: Callable[[QuerySet[Any], str], QuerySet[Any]] | None = None
    input: str = ""
    """The type of an input, as "date", where there are no choices; what is typed is the value."""
    usual: bool = True
    """Whether it stands beside the search; else among the others in a menu."""
    is_for: Callable[[User], bool] = lambda viewer: True

    def applied(self, found: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows that have the value."""
        return self.apply(found, value) if self.apply is not None else found.filter(**{self.lookup: value})


@dataclass(frozen=True)
class Listing:
    """A list. `rows` are all that the viewer may see, `topics` the live events that change it.

    `prepare` makes of a page's objects what the row's template needs: a dictionary each. `draw` makes the rows itself,
    in place of a template; it is told whether they can be chosen.
    """

    name: str
    title: Label
    rows: Callable[[User], QuerySet[Any]]
    columns: Sequence[Column]
    row: str = ""
    topics: str = ""
    filters: Sequence[Filter] = ()
    search: Callable[[QuerySet[Any], str], QuerySet[Any]] | None = None
    order: str = "-pk"
    prepare: Callable[[User, list[Any]], list[dict[str, Any]]] | None = None
    draw: Callable[[Asked, list[Any], bool], SafeString] | None = None
    empty: Label = NOTHING
    most: int = 0
    """Of how many rows its pages tell, where there may be too many to be counted; 0 is all."""
    kind: str = ""
    """The kind of its objects, where the list can be chosen from."""

    @property
    def searchable(self) -> bool:
        """Whether it has a search."""
        return self.search is not None

    @property
    def has_cards(self) -> bool:
        """Whether its rows are short cards on a phone."""
        return any(each.card for each in self.columns)

    def columns_for(self, viewer: User) -> list[Column]:
        """The columns that the viewer could have."""
        return [each for each in self.columns if viewer.sees_all or not each.of_nodes]


@dataclass
class Asked:
    """What the address asks of a list; what it cannot have is as if it were not there."""

    listing: Listing
    viewer: User
    search: str = ""
    filters: dict[str, str] = field(default_factory=dict)
    order: str = ""
    shown: list[str] = field(default_factory=list)
    known: dict[str, Choices] = field(default_factory=dict)

    @classmethod
    def read(cls, request: HttpRequest, listing: Listing) -> Asked:
        """Read it from the request."""
        asked = cls(listing, viewer_of(request))
        for each in listing.filters:
            text = request.GET.get(each.name, "").strip()[:LONGEST_SEARCH]
            if text and each.is_for(asked.viewer) and (each.input or asked.offers(each, text)):
                asked.filters[each.name] = text
        names = {each.order for each in listing.columns_for(asked.viewer) if each.order}
        order = request.GET.get("order", "")
        asked.order = order if order.removeprefix("-") in names else listing.order
        if listing.search is not None:
            asked.search = request.GET.get("search", "").strip()[:LONGEST_SEARCH]
        asked.shown = _shown(asked.viewer, listing)
        return asked

    def choices(self, of: Filter) -> Choices:
        """What a filter offers; it is asked for where it is needed, as most tables are read anew without filters."""
        if of.name not in self.known:
            self.known[of.name] = of.choices(self.viewer)
        return self.known[of.name]

    def choices_of(self, name: str) -> Choices:
        """What the filter of that name offers."""
        return next((self.choices(each) for each in self.listing.filters if each.name == name), ())

    def offers(self, of: Filter, text: str) -> bool:
        """Whether that is one of its choices."""
        return text in [value for value, _label in self.choices(of)]

    def found(self) -> QuerySet[Any]:
        """The rows that are asked for, in their order."""
        found = self.listing.rows(self.viewer)
        for each in self.listing.filters:
            if each.name in self.filters:
                found = each.applied(found, self.filters[each.name])
        if self.search and self.listing.search is not None:
            found = self.listing.search(found, self.search)
        return found.order_by(self.order, "pk")

    @property
    def columns(self) -> list[Column]:
        """The columns that are shown."""
        return [each for each in self.listing.columns_for(self.viewer) if each.name in self.shown]

    @property
    def heads(self) -> list[dict[str, Any]]:
        """The heads of the columns that are shown: where a click on each leads, and how it is sorted now."""
        heads = []
        for column in self.columns:
            by, turned = self.order.removeprefix("-"), self.order.startswith("-")
            sorted_now = ("descending" if turned else "ascending") if column.order and column.order == by else ""
            click = "" if not column.order else f"-{column.order}" if sorted_now == "ascending" else column.order
            heads.append({"column": column, "sorted": sorted_now, "click": click})
        return heads

    @property
    def boxes(self) -> list[dict[str, Any]]:
        """The columns to choose from."""
        columns = self.listing.columns_for(self.viewer)
        return [{"column": each, "chosen": each.name in self.shown} for each in columns]

    @property
    def menus(self) -> list[dict[str, Any]]:
        """The filters beside the search, with their choices and what is chosen."""
        return self._menus(usual=True)

    @property
    def more_menus(self) -> list[dict[str, Any]]:
        """The other filters, likewise."""
        return self._menus(usual=False)

    def _menus(self, *, usual: bool) -> list[dict[str, Any]]:
        return [
            {"filter": each, "choices": self.choices(each), "value": self.filters.get(each.name, "")}
            for each in self.listing.filters
            if each.usual == usual and each.is_for(self.viewer) and (each.input or self.choices(each))
        ]


def _shown(viewer: User, listing: Listing) -> list[str]:
    chosen = viewer.page_settings.get("columns", {}).get(listing.name)
    columns = listing.columns_for(viewer)
    return [each.name for each in columns if (each.name in chosen if chosen is not None else each.usual)]


def show(
    request: HttpRequest, listing: Listing, template: str = "list.html", **context: Any
) -> HttpResponse | HttpResponseBase:
    """The list's page, its table alone when that is asked for, or all of its rows as CSV; keeps chosen columns."""
    if request.method == "POST":
        _keep_columns(request, listing)
        request.method = "GET"
    asked = Asked.read(request, listing)
    if request.GET.get("format") == "csv":
        return _csv(asked)
    found = asked.found()[: listing.most] if listing.most else asked.found()
    shown: Page[Any] = Paginator(found, PAGE).get_page(request.GET.get("page"))
    objects = list(shown)
    drawn = listing.draw(asked, objects, bool(context.get("group"))) if listing.draw is not None else None
    prepare = listing.prepare or (lambda viewer, found: [{"object": each} for each in found])
    return page(
        request,
        template,
        regions={"rows": "_table.html"},
        listing=listing,
        asked=asked,
        page=shown,
        drawn=drawn,
        rows=objects if drawn is not None else prepare(asked.viewer, objects),
        **context,
    )


def _keep_columns(request: HttpRequest, listing: Listing) -> None:
    viewer = viewer_of(request)
    known = [each.name for each in listing.columns]
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=viewer.pk)
        chosen = [each for each in request.POST.getlist("columns") if each in known]
        user.page_settings.setdefault("columns", {})[listing.name] = chosen or known[:1]
        user.save(update_fields=["page_settings"])
    viewer.page_settings = user.page_settings


class _Echo:
    """What csv writes to: it hands back the line."""

    def write(self, line: str) -> str:
        """The line as it is."""
        return line


def _csv(asked: Asked) -> StreamingHttpResponse:
    """All rows that are asked for, with all columns that have a text."""
    columns = [each for each in asked.listing.columns_for(asked.viewer) if each.text is not None]
    writer = csv.writer(_Echo())
    objects = list(asked.found()[:MOST_EXPORTED])

    def lines() -> Iterator[str]:
        yield writer.writerow([str(each.label) for each in columns])
        for each in objects:
            yield writer.writerow([plain(column.text(each)) for column in columns if column.text is not None])

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{asked.listing.name}.csv"'
    return response


def plain(value: Any) -> str:
    """A value that no spreadsheet takes for a formula (OWASP, “CSV Injection”)."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
