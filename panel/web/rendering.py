"""What the views of all pages use: who looks, the page's frame, rows of lists, what is as absent."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core import permissions
from panel.core.errors import AccessDenied, NotFound
from panel.notices.selectors import list_problems

PAGE = 100
"""Rows of a list on a page."""


def viewer_of(request: HttpRequest) -> User:
    """Who looks; the view is behind login_required."""
    assert isinstance(request.user, User)
    return request.user


def page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """The page with its frame, which knows the viewer, their open problems and who works in their account."""
    viewer = viewer_of(request)
    context.setdefault("problem_count", list_problems(viewer).count())
    redaction = Redaction(viewer)
    frame = {"viewer": viewer, "redaction": redaction, "impersonated_by": request.session.get("impersonated_by")}
    return render(request, template, {**frame, **context})


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
