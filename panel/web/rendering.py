"""What the views of all pages use: who looks, the page's frame, its live regions, what is as absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core import permissions
from panel.core.errors import AccessDenied, NotFound
from panel.notices.selectors import list_problems
from panel.web import navigation, words

PAGE = 100
"""Rows of a list on a page."""
THEMES: tuple[tuple[str, str | Promise], ...] = (
    ("", _("Theme of the system")),
    ("light", _("Light")),
    ("dark", _("Dark")),
)
HTMX = json.dumps(
    {
        # Our policy (headers.py) has neither eval nor styles within a page.
        "allowEval": False,
        "includeIndicatorStyles": False,
        # A page that one goes back to is asked for: what the browser kept would be old.
        "historyCacheSize": 0,
        "refreshOnHistoryMiss": True,
        "responseHandling": [
            {"code": "204", "swap": False},
            {"code": "[23]..", "swap": True},
            {"code": "422", "swap": True},
            {"code": "[45]..", "swap": False, "error": True},
        ],
    }
)
"""A form that is not right is answered with 422, and shown again with what is wrong."""


def viewer_of(request: HttpRequest) -> User:
    """Who looks; the view is behind login_required."""
    assert isinstance(request.user, User)
    return request.user


def page(
    request: HttpRequest,
    template: str,
    *,
    regions: Mapping[str, str] | None = None,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    """The page with its frame; for a request that asks for one of its live `regions` the template of that alone.

    What only some regions need is best a function: templates call it, and a region that does not pays nothing.
    """
    viewer = viewer_of(request)
    redaction = Redaction(viewer)
    both = {"viewer": viewer, "redaction": redaction, **context}
    region = request.headers.get("HX-Target", "") if "HX-Request" in request.headers else ""
    if regions and region in regions:
        response = render(request, regions[region], both, status=status)
        response.headers["Cache-Control"] = "no-store"
    else:
        response = render(request, template, {**frame(request, viewer), **both}, status=status)
    patch_vary_headers(response, ["HX-Request", "HX-Target"])
    return response


def frame(request: HttpRequest, viewer: User) -> dict[str, Any]:
    """What stands around every page."""
    match = request.resolver_match
    return {
        "problem_count": list_problems(viewer, "unacknowledged").count(),
        "navigation": navigation.of(viewer, match.url_name or "" if match is not None else ""),
        "impersonated_by": request.session.get("impersonated_by"),
        "theme": viewer.page_settings.get("theme", ""),
        "themes": THEMES,
        "htmx_config": HTMX,
        "words": words.for_scripts(),
    }


def outside(request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
    """A page that is also for who is not signed in: with the navigation for who is."""
    return render(request, template, {**frame_for_anybody(request), **context}, status=status)


def frame_for_anybody(request: HttpRequest) -> dict[str, Any]:
    """The frame of a page whose reader may not be signed in."""
    user = getattr(request, "user", None)
    if isinstance(user, User):
        return {**frame(request, user), "viewer": user, "redaction": Redaction(user)}
    return {"theme": "", "htmx_config": HTMX, "words": words.for_scripts()}


def say(
    response: HttpResponse, text: str, *, to: str = "", close: bool = True, kind: str = "secondary"
) -> HttpResponse:
    """Have the page that gets the response say something, with a link to `to`; its dialog closes."""
    events: dict[str, Any] = {"say": {"text": text, "to": to, "kind": kind}}
    if close:
        events["close-dialog"] = ""
    # Headers are ASCII: what else is in the text is escaped, as JSON allows.
    response.headers["HX-Trigger"] = json.dumps(events)
    return response


def refused(text: str, status: int) -> HttpResponse:
    """An answer to a script's request that says why nothing was done."""
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")


def rows(request: HttpRequest, found: QuerySet[Any]) -> Page[Any]:
    """The rows of the page that is asked for by `?page=`; the last one when there are not so many."""
    return Paginator(found, PAGE).get_page(request.GET.get("page"))


def found_or_404(find: Any, viewer: User, object_id: int) -> Any:
    """What a selector finds; what the viewer may not see is as absent."""
    try:
        return find(viewer, object_id)
    except (NotFound, AccessDenied) as error:
        raise Http404(error.message) from error


def need(viewer: User, permission: str) -> None:
    """A page that the viewer has no use for is as absent."""
    if not permissions.allows(viewer, permission):
        raise Http404("There is no such page.")
