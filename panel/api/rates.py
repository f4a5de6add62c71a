"""Refuses whoever makes more calls of the REST API, or tries to sign in more often, than panel/core/rates.py grants."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from panel.api.problems import PREFIX, plain_problem
from panel.core.rates import COUNT_MORE, Count, Counter


class RateLimitMiddleware:
    """Refuses with 429 what is too much; tells on every answer what is left."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.counter = Counter()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not (request.path.startswith(PREFIX) or _signs_in(request)):
            return self.get_response(request)
        last = self.counter.count(request, 1)
        if last is not None and last.exceeded:
            error = last.error
            error.word(nodes=False)
            if request.path.startswith(PREFIX):
                response = plain_problem(request, error.status, error.code, error.message, **error.data)
            else:
                response = HttpResponse(error.message, status=error.status, content_type="text/plain; charset=utf-8")
            response.headers["Retry-After"] = str(last.reset)
        else:

            def count_more(calls: int) -> Count | None:
                nonlocal last
                last = self.counter.count(request, calls)
                return last

            setattr(request, COUNT_MORE, count_more)
            response = self.get_response(request)
        for name, value in last.headers.items() if last is not None else ():
            response.headers[name] = value
        return response


def _signs_in(request: HttpRequest) -> bool:
    """Whether a page is sent what signs somebody in."""
    form = request.method == "POST" and request.path in ("/login", "/login/code")
    return form or request.path.startswith("/sign-in/")
