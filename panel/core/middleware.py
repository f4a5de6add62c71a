"""Middleware that every request passes: its id in, its id out, and from where it comes."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.translation.trans_real import parse_accept_lang_header

from panel.core import origin, request_id, wording


class RequestIdMiddleware:
    """Puts the request's id in force, and on the answer as X-Request-Id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        settings.CONFIG.refresh()
        token = request_id.bind(request.headers.get("X-Request-Id"))
        try:
            response = self.get_response(request)
            response.headers["X-Request-Id"] = request_id.current()
            return response
        finally:
            request_id.reset(token)


class LanguageMiddleware:
    """Puts in force the language that a program asks REST for (Accept-Language). Of pages: web/reader.py."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        asked = request.headers.get("Accept-Language")
        by_page = settings.SESSION_COOKIE_NAME in request.COOKIES
        if asked is None or by_page or not request.path.startswith("/api/"):
            return self.get_response(request)
        token = wording.bind(preferred(asked))
        try:
            response = self.get_response(request)
        finally:
            wording.reset(token)
        patch_vary_headers(response, ["Accept-Language"])
        return response


def preferred(asked: str) -> str:
    """Of the languages of an Accept-Language header the first that there is a catalogue of; else English."""
    names = [name.partition("-")[0] for name, quality in parse_accept_lang_header(asked) if quality > 0]
    return next((name for name in names if name in wording.LANGUAGES), wording.ENGLISH)


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
