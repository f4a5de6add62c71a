"""Middleware of the pages: everything is said in its reader's language, and times are told in their zone."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from panel.accounts.models import User
from panel.core import reader
from panel.core.middleware import preferred

ASIDE = ("/assets/", "/internal/", "/vmmgr")
"""What nobody reads, or has its own way to ask for a language."""


class ReaderMiddleware:
    """Puts in force what the user chose; the browser's wish for who chose nothing, or has not signed in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        program = request.path.startswith("/api/") and settings.SESSION_COOKIE_NAME not in request.COOKIES
        if program or request.path.startswith(ASIDE):
            return self.get_response(request)
        chosen = request.user if isinstance(request.user, User) else User()
        language = chosen.language or preferred(request.headers.get("Accept-Language", ""))
        with reader.reading(language, chosen.time_zone):
            response = self.get_response(request)
        patch_vary_headers(response, ["Accept-Language", "Cookie"])
        return response
