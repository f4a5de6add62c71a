"""Who makes a classic call: a session, `authinfo=user:password`, or a token of the REST API."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, QueryDict

from panel.accounts import journal
from panel.accounts.models import Level, User
from panel.accounts.services import require_power_over
from panel.accounts.signing_in import sign_in
from panel.accounts.tokens import user_of_token
from panel.core import origin, permissions
from panel.core.addresses import in_ranges
from panel.core.errors import AccessDenied, BadCredentials, NotFound
from panel.mgrapi import sessions
from panel.mgrapi.call import Call

LEVELS = {Level.SUPER: 30, Level.ADMIN: 29, Level.READONLY: 28, Level.USER: 16}
"""VMmanager's numbers. It knows no read-only administrator: 28 is less than what clients take for an administrator."""


class LocalRequest(HttpRequest):
    """A request that no network brought; `viewer` is who makes it."""

    def __init__(self, params: Mapping[str, str], viewer: User) -> None:
        super().__init__()
        self.viewer = viewer
        self.method, self.path = "POST", "/vmmgr"
        form = QueryDict(mutable=True)
        form.update(dict(params))
        self.POST = form  # type: ignore[assignment]
        address = urlsplit(settings.CONFIG.public_url or f"https://localhost:{settings.CONFIG.listen_port}")
        self.META = {"HTTP_HOST": address.netloc, "REMOTE_ADDR": "", "wsgi.url_scheme": "https"}

    def _get_scheme(self) -> str:
        return "https"


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
    if isinstance(call.request, LocalRequest):
        return call.request.viewer
    if session := call.text("auth"):
        return sessions.user_of(session, address_of(call.request))
    if authinfo := call.params.get("authinfo", ""):
        refuse_address(call.request)
        name, separator, password = authinfo.partition(":")
        if not separator:
            raise BadCredentials("“authinfo” must be user:password.")
        return sign_in(call.request, name, password, call.text("code") or None)
    keyword, _, token = call.request.headers.get("Authorization", "").partition(" ")
    if keyword == "Bearer" and token:
        return user_of_token(token.strip(), address_of(call.request))
    raise BadCredentials()


def refuse_address(request: HttpRequest) -> None:
    """Raise AccessDenied where RestrictAuthinfo does not name the caller's address; no password is looked at then."""
    allowed = settings.CONFIG.restrict_authinfo
    if allowed and not in_ranges(address_of(request), allowed):
        raise AccessDenied("“authinfo” is not accepted from this address.", field="authinfo")


def acting_as(viewer: User, name: str) -> User:
    """The user whom an administrator acts as, with no more rights than the administrator's way in leaves.

    It stands in the journal, and so does the administrator's name with everything that is done.
    Raises AccessDenied or NotFound.
    """
    permissions.require(viewer, "users.open")
    user = User.objects.select_related("role").filter(name=name, is_active=True).first()
    if user is None:
        raise NotFound(object="user", id=name[:64])
    require_power_over(viewer, user)
    user.scope = viewer.scope
    origin.bind(dataclasses.replace(origin.current(), impersonated_by=viewer.name[:64]))
    journal.record(user, "user.open", "user", user.pk, user.name, owner_id=user.pk)
    return user
