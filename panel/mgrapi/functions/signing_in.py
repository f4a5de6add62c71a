"""`auth`, `exit`, and the empty function."""

from __future__ import annotations

from collections.abc import Callable

from panel import __version__
from panel.accounts.models import User
from panel.accounts.services import sign_in
from panel.core.errors import BadCredentials
from panel.mgrapi import sessions
from panel.mgrapi.auth import address_of, level_of
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Done, Form, GoTo, SignedIn


def auth(call: Call) -> Answer:
    """A session for whoever knows the password."""
    name, password = call.text("username"), call.params.get("password", "")
    if not name and not call.out:
        return GoTo("/login")
    if not name or not password:
        raise BadCredentials("“username” and “password” are required.")
    user = sign_in(call.request, name, password)
    return SignedIn(sessions.begin(user, address_of(call.request)), level_of(user))


def leave(call: Call) -> Answer:
    """The session is over."""
    sessions.end(call.text("auth"))
    return Done()


def whoami(viewer: User, call: Call) -> Answer:
    """Who calls: what clients ask to see whether they can sign in."""
    return Form({"user": viewer.name, "level": level_of(viewer), "version": __version__})


FUNCTIONS = {"": whoami}
SIGNING_IN: dict[str, Callable[[Call], Answer]] = {"auth": auth, "exit": leave}
