"""Middleware of the pages: what a browser may load and connect to."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

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
