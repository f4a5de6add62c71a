"""A browser that follows a link to a function: it is shown the page that has the same, and signed in where it may be.

What a browser asks to be done is done by views.py as for any caller.
"""

from __future__ import annotations

from urllib.parse import quote

from django.contrib import messages

from panel.accounts.sessions import begin
from panel.core.errors import BadCredentials
from panel.mgrapi import sessions
from panel.mgrapi.call import Call
from panel.mgrapi.functions import ACTING, FUNCTIONS
from panel.mgrapi.pages import page_of

PROOFS = ("auth", "authinfo", "key", "password")


def shown(call: Call) -> str:
    """Where a browser goes at once; empty where something is to be done first, or no page is meant.

    `auth`, a session that a billing server began for its customer, signs the browser in, once.
    """
    proved = any(call.text(name) for name in PROOFS)
    if not proved and call.func in FUNCTIONS:
        return page_of(call)
    if not call.text("auth") or call.text("authinfo") or not _is_page_like(call):
        return ""
    try:
        user = sessions.hand_over(call.text("auth"), call.request.user)
    except BadCredentials as error:
        return to_sign_in(call, error)
    if user is not None:
        begin(call.request, user, "handed over")
    return page_of(call)


def to_sign_in(call: Call, error: BadCredentials) -> str:
    """The page where a person signs in, with the reason, that leads on to what was asked for."""
    messages.error(call.request, error.message)
    page = page_of(call)
    return "/login" if page == "/login" else f"/login?next={quote(page)}"


def _is_page_like(call: Call) -> bool:
    """Whether a page shows it: nothing is done by it. What VMmanager had more of leads to the list of VMs."""
    return not call.sok and call.func not in ACTING
