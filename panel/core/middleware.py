"""Middleware that every request passes: its id in, its id out, and from where it comes."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from panel.core import origin, request_id


class RequestIdMiddleware:
    """Puts the request's id in force, and on the answer as X-Request-Id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = request_id.bind(request.headers.get("X-Request-Id"))
        try:
            response = self.get_response(request)
            response.headers["X-Request-Id"] = request_id.current()
            return response
        finally:
            request_id.reset(token)


class OriginMiddleware:
    """Puts in force from where the request comes: door, address, and who works in the user's account.

    After the session's middleware, which it reads. A page's script calls REST too, without a token: that is the page's.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = origin.bind(
            origin.Origin(
                door=_door(request),
                address=str(request.META.get("REMOTE_ADDR", ""))[:45],
                impersonated_by=str(request.session.get("impersonated_by", ""))[:64],
            )
        )
        try:
            return self.get_response(request)
        finally:
            origin.reset(token)


def _door(request: HttpRequest) -> origin.Door:
    if request.path.startswith("/vmmgr"):
        return "classic"
    return "rest" if request.path.startswith("/api/") and "Authorization" in request.headers else "page"
