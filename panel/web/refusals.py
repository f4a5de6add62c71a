"""What a browser is shown whose form is not taken."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_BAD_ORIGIN
from django.shortcuts import render

from panel.core import own_origin


def foreign_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW: the form is another site's, or an old one."""
    message = "This form is too old, or your browser keeps no cookies. Load the page again."
    if reason.startswith(REASON_BAD_ORIGIN.partition("%s")[0]):
        message = own_origin.why_foreign(request.headers.get("Origin", "")[:255], request.get_host())
    return render(request, "foreign_form.html", {"message": message}, status=403)
