"""`auth`, `exit`, and the empty function."""

from __future__ import annotations

from collections.abc import Callable

from panel import __version__
from panel.accounts import journal, signin_keys, throttling
from panel.accounts.models import User
from panel.accounts.sessions import begin
from panel.accounts.signing_in import sign_in
from panel.core.addresses import counted_as
from panel.core.errors import BadCredentials
from panel.mgrapi import sessions
from panel.mgrapi.auth import address_of, level_of
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Done, Form, GoTo, SignedIn


def auth(call: Call) -> Answer:
    """A session for whoever knows the password; a browser that has a one-time key is signed in."""
    if key := call.params.get("key", ""):
        return _by_key(call, key)
    name, password = call.text("username"), call.params.get("password", "")
    if not name and not call.out:
        return GoTo("/login")
    if not name or not password:
        raise BadCredentials("“username” and “password” are required.")
    user = sign_in(call.request, name, password, call.text("code") or None)
    if not call.out and call.request.method == "POST":
        begin(call.request, user, "password")
        return GoTo("/")
    journal.record(user, "session.begin", "user", user.pk, user.name, owner_id=user.pk, after={"by": "password"})
    return SignedIn(sessions.begin(user, address_of(call.request)), level_of(user))


def _by_key(call: Call, key: str) -> Answer:
    # Links made by hand after the vendor's own instructions have the key alone.
    name = call.text("username")
    known = User.objects.filter(name=name).first()
    subject = ("key", counted_as(address_of(call.request)), known.name if known is not None else name)
    with throttling.attempt(known, *subject) as attempt:
        if attempt.locked:
            raise BadCredentials()
        user, leads_to = signin_keys.redeem(key, name or None)
        attempt.forgive()
    if call.out:
        return SignedIn(sessions.begin(user, address_of(call.request)), level_of(user))
    begin(call.request, user, "key")
    return GoTo(leads_to)


def leave(call: Call) -> Answer:
    """The session is over."""
    sessions.end(call.text("auth"))
    return Done()


def whoami(viewer: User, call: Call) -> Answer:
    """Who calls: what clients ask to see whether they can sign in."""
    return Form({"user": viewer.name, "level": level_of(viewer), "version": __version__})


FUNCTIONS = {"": whoami}
SIGNING_IN: dict[str, Callable[[Call], Answer]] = {"auth": auth, "exit": leave}
