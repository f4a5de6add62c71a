"""The form of signing in, and its second step, a code or a security key.

Between that and the first, the session knows only whose password was right.
"""

from __future__ import annotations

import json
import time
from typing import Any

from django.contrib import messages
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from panel.accounts import second_factor, security_keys, sessions, totp
from panel.accounts.models import User
from panel.core.errors import PanelError, SecondFactorRequired, Throttled
from panel.web.rendering import outside

SECONDS = 300
"""How long a right password waits for its code."""
MOST_CHARACTERS = 16_384
"""Of a security key's answer."""
_HALF = "password_was_right"
WRONG = _("The name or the password is wrong.")


class NameAndPassword(AuthenticationForm):
    """The form's first step."""

    error_messages = {"invalid_login": WRONG, "inactive": _("This account is disabled.")}

    def clean(self) -> dict[str, Any]:
        """Look at both; what is not looked at for the number of tries is told as such."""
        try:
            return super().clean()
        except Throttled as error:
            raise ValidationError(told(error), error.code) from error


def told(error: PanelError) -> str:
    """Why somebody is not let in, in the browser's language."""
    error.word(nodes=False)
    return error.message


def password_was_right(request: HttpRequest, user: User, leads_to: str) -> None:
    """Remember it for SECONDS; nobody is signed in by that."""
    request.session.flush()
    # The password's own hash is in it: a password that is changed meanwhile was not the right one.
    request.session[_HALF] = {
        "user": user.pk,
        "hash": user.get_session_auth_hash(),
        "until": time.time() + SECONDS,
        "leads_to": leads_to,
    }


def second_step(request: HttpRequest) -> HttpResponse:
    """Ask for a code or a security key; the right one begins the session."""
    half = request.session.get(_HALF)
    user = _user(half)
    if half is None or user is None:
        messages.error(request, gettext("That took too long. Sign in again."))
        return redirect("login")
    error = ""
    if request.method == "POST":
        try:
            by = _prove(request, user)
        except SecondFactorRequired as refused:
            error = told(refused)
        else:
            sessions.begin(request, user, by)
            return redirect(half["leads_to"])
    asks_key = security_keys.is_configured() and security_keys.has_any(user)
    options = json.dumps(security_keys.begin_sign_in(user, request.session)) if asks_key else ""
    return outside(request, "login_code.html", error=error, options=options, has_app=totp.is_on(user))


def _prove(request: HttpRequest, user: User) -> str:
    """By what the user proved who they are; raises SecondFactorRequired."""
    if "credential" not in request.POST:
        second_factor.require_code(user, request.POST.get("code", "")[:64])
        return "code"
    try:
        answer = json.loads(request.POST["credential"][:MOST_CHARACTERS])
    except (ValueError, RecursionError):
        answer = None
    second_factor.require_key(user, request.session, answer)
    return "security key"


def _user(half: dict[str, Any] | None) -> User | None:
    if half is None or half["until"] < time.time():
        return None
    user = User.objects.filter(pk=half["user"], is_active=True).first()
    return user if user is not None and user.get_session_auth_hash() == half["hash"] else None
