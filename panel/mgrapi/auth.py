"""Who makes a classic call: a session, `authinfo=user:password`, or a token of the REST API."""

from __future__ import annotations

import ipaddress
import logging

from django.conf import settings
from django.http import HttpRequest

from panel.accounts.models import Level, User
from panel.accounts.services import sign_in
from panel.accounts.tokens import user_of_token
from panel.core.errors import AccessDenied, BadCredentials, NotFound
from panel.mgrapi import sessions
from panel.mgrapi.call import Call

log = logging.getLogger(__name__)

LEVELS = {Level.SUPER: 30, Level.ADMIN: 29, Level.READONLY: 28, Level.USER: 16}
"""VMmanager's numbers. It knows no read-only administrator: 28 is less than what clients take for an administrator."""


def level_of(user: User) -> int:
    """The level as VMmanager counts it."""
    return LEVELS[Level(user.level)]


def address_of(request: HttpRequest) -> str:
    """Where the call comes from."""
    return str(request.META.get("REMOTE_ADDR", ""))


def viewer_of(call: Call) -> User:
    """In whose name the call is; raises BadCredentials or AccessDenied."""
    viewer = _caller(call)
    name = call.text("su")
    return acting_as(viewer, name) if name and name != viewer.name else viewer


def _caller(call: Call) -> User:
    if session := call.text("auth"):
        return sessions.user_of(session, address_of(call.request))
    if authinfo := call.params.get("authinfo", ""):
        refuse_address(call.request)
        name, separator, password = authinfo.partition(":")
        if not separator:
            raise BadCredentials("“authinfo” must be user:password.")
        return sign_in(call.request, name, password)
    keyword, _, token = call.request.headers.get("Authorization", "").partition(" ")
    if keyword == "Bearer" and token:
        return user_of_token(token.strip())
    raise BadCredentials()


def refuse_address(request: HttpRequest) -> None:
    """Raise AccessDenied where RestrictAuthinfo does not name the caller's address; no password is looked at then."""
    allowed = settings.CONFIG.restrict_authinfo
    if not allowed:
        return
    try:
        address = ipaddress.ip_address(address_of(request))
    except ValueError:
        address = None
    if address is None or not any(address in network for network in allowed):
        raise AccessDenied("“authinfo” is not accepted from this address.", field="authinfo")


def acting_as(viewer: User, name: str) -> User:
    """The user whom an administrator acts as; recorded. Raises AccessDenied or NotFound."""
    if not viewer.is_admin:
        raise AccessDenied("Only administrators act as another user.", field="su")
    user = User.objects.filter(name=name, is_active=True).first()
    if user is None:
        raise NotFound(object="user", id=name[:64])
    if level_of(user) >= level_of(viewer):
        raise AccessDenied("Nobody acts as somebody of the same level.", field="su")
    log.info("%s acts as %s", viewer, user)
    return user
