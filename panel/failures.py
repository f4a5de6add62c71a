"""What answers where no view does: the API's problems for its addresses, pages for all others."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from panel.api import problems
from panel.web import refusals


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    if request.path.startswith(problems.PREFIX):
        return problems.page_not_found(request, exception)
    return refusals.not_found(request)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500."""
    if request.path.startswith(problems.PREFIX):
        return problems.server_error(request)
    return refusals.server_error(request)
