"""Middleware that every request passes: its id in, its id out."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from panel.core import request_id


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
