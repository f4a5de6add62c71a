"""Middleware of the pages: what a browser may load and connect to, and that they come compressed."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

from panel.core import own_origin

# Everything comes from the panel itself. data: is the pictures of noVNC's cursor and of the API's page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' {consoles}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class ContentSecurityPolicyMiddleware:
    """Puts the policy on every answer: scripts run from the panel's own files alone, never from within a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # The host was checked against AllowedHosts before a view could answer; older browsers want it named.
        origins = own_origin.origins(request.META.get("HTTP_HOST", ""))
        consoles = " ".join(each.replace("https://", "wss://", 1) for each in origins)
        response.headers["Content-Security-Policy"] = POLICY.format(consoles=consoles)
        return response


class CompressedPagesMiddleware(GZipMiddleware):
    """Compresses pages and what their scripts read; programs ask nearby, and often, and events must not wait.

    Django's own lengthens each answer at random, so that no secret of a page is guessed by its length (BREACH).
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The answer, compressed if it is for a page and the browser takes that."""
        kind = response.headers.get("Content-Type", "")
        scripts = kind.startswith("application/json") and settings.SESSION_COOKIE_NAME in request.COOKIES
        if response.streaming or not (scripts or kind.startswith("text/html")):
            return response
        return super().process_response(request, response)
