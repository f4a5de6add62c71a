"""Signing in and out: by name and password, by a key of one use."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from panel.accounts import second_factor, sessions, signin_keys, throttling
from panel.accounts.models import User
from panel.core.errors import BadCredentials, Throttled
from panel.web import signing_in
from panel.web.rendering import frame_for_anybody


class SignIn(LoginView):
    """Name and password."""

    template_name = "login.html"
    form_class = signing_in.NameAndPassword
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The form's, with the page's frame."""
        made = super().get_context_data(**kwargs)
        return {**frame_for_anybody(self.request), "wrong": signing_in.WRONG, **made}

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Begin the session."""
        user = form.get_user()
        assert isinstance(user, User)
        if second_factor.is_on(user):
            signing_in.password_was_right(self.request, user, self.get_success_url())
            return redirect("login-code")
        sessions.begin(self.request, user, "password")
        return redirect(self.get_success_url())

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Say what was wrong; 429 where it was not looked at."""
        answer = super().form_invalid(form)
        if form.has_error(NON_FIELD_ERRORS, Throttled.code):
            answer.status_code = Throttled.status
        return answer


def sign_in_by_key(request: HttpRequest, key: str) -> HttpResponse:
    """Sign the browser in by a one-time key, as a billing system sends it; a key that is none leads to the form."""
    try:
        with throttling.from_address(str(request.META.get("REMOTE_ADDR", ""))) as attempt:
            user, leads_to = signin_keys.redeem(key)
            attempt.forgive()
    except (BadCredentials, Throttled) as error:
        messages.error(request, signing_in.told(error))
        return redirect("login")
    sessions.begin(request, user, "key")
    return redirect(leads_to)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    sessions.end(request)
    return redirect("login")
