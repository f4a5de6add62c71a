"""What a browser is shown whose form is not taken, whose page there is not, or when a page failed."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_BAD_ORIGIN
from django.shortcuts import render
from django.utils.translation import gettext as _

from panel.core import own_origin, request_id
from panel.web.rendering import HTMX, outside

log = logging.getLogger(__name__)


def foreign_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW: the form is another site's, or an old one."""
    message = _("This form is too old, or your browser keeps no cookies. Load the page again.")
    if reason.startswith(REASON_BAD_ORIGIN.partition("%s")[0]):
        message = own_origin.why_foreign(request.headers.get("Origin", "")[:255], request.get_host())
    return outside(request, "foreign_form.html", status=403, message=message)


def not_found(request: HttpRequest) -> HttpResponse:
    """There is no such page; the navigation leads back."""
    return outside(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """What nobody expected: the request id finds it in the log."""
    told = {"request_id": request_id.current()}
    try:
        return outside(request, "500.html", status=500, **told)
    except Exception:
        # Whatever failed, such as the database, may be what the navigation needs.
        log.exception("the page of an error failed")
        return render(request, "500.html", {"htmx_config": HTMX, **told}, status=500)
