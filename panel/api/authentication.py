"""Who calls the REST API: a token, or the session of a page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from panel.accounts.models import User
from panel.accounts.session_store import user_of
from panel.accounts.tokens import user_of_token
from panel.core import own_origin
from panel.core.errors import AccessDenied, BadCredentials

KEYWORD = "Bearer"


def caller_now(request: HttpRequest) -> User:
    """Whose token or session it is at this moment, whatever was found before; raises BadCredentials for nobody's."""
    keyword, _, text = request.headers.get("Authorization", "").partition(" ")
    if keyword == KEYWORD:
        return user_of_token(text.strip(), str(request.META.get("REMOTE_ADDR", "")))
    user = user_of(request.session.session_key)
    if user is None:
        raise BadCredentials()
    return user


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN`."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        """The token's user; None when the request has no such header. Raises BadCredentials."""
        keyword, _, text = request.headers.get("Authorization", "").partition(" ")
        if keyword != KEYWORD:
            return None
        if not text:
            raise BadCredentials()
        return user_of_token(text.strip(), str(request.META.get("REMOTE_ADDR", ""))), None

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return KEYWORD


class PageAuthentication(SessionAuthentication):
    """The session of a page, for calls of the panel's own pages."""

    def enforce_csrf(self, request: Request) -> None:
        """Raise AccessDenied for a call that another site's page makes, or one without the page's proof."""
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            origin, host = request.headers.get("Origin", ""), request.get_host()
            if origin and not own_origin.is_own(origin, host):
                raise AccessDenied(own_origin.why_foreign(origin[:255], host), permission="origin") from error
            message = "This page is too old, or your browser keeps no cookies. Load it again."
            raise AccessDenied(message, permission="origin") from error


class PageScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema tells of pages' sessions."""

    target_class = PageAuthentication
    name = "cookieAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The session's cookie."""
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema tells of tokens."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A bearer token."""
        return {"type": "http", "scheme": "bearer"}
