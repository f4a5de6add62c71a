"""Who calls the REST API: a token, or the session of a page."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from panel.accounts.models import User
from panel.accounts.tokens import user_of_token
from panel.core.errors import BadCredentials

KEYWORD = "Bearer"


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


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema tells of tokens."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A bearer token."""
        return {"type": "http", "scheme": "bearer"}
