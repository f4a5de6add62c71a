"""The forms of one's own profile."""

from __future__ import annotations

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.utils.translation import gettext_lazy as _

from panel.core.permissions import RIGHTS
from panel.web.operation_form import Lines
from panel.web.plain_form import PlainForm, password_field

LANGUAGES = (("", _("Of the browser")), ("en", "English"), ("ru", "Русский"))
AREAS = (
    "Africa/",
    "America/",
    "Antarctica/",
    "Arctic/",
    "Asia/",
    "Atlantic/",
    "Australia/",
    "Europe/",
    "Indian/",
    "Pacific/",
)
CODE = {"inputmode": "numeric", "autocomplete": "one-time-code"}


@cache
def zones() -> list[tuple[str, str]]:
    """The time zones of places."""
    return [("", "UTC"), *((name, name) for name in sorted(available_timezones()) if name.startswith(AREAS))]


class Details(PlainForm):
    """How the user is reached, and reads pages."""

    email = forms.CharField(label=_("E-mail address"), required=False, max_length=254, widget=forms.EmailInput)
    language = forms.ChoiceField(label=_("Language"), required=False, choices=LANGUAGES)
    time_zone = forms.ChoiceField(
        label=_("Time zone"), required=False, help_text=_("In which pages say times. UTC stands beside them.")
    )

    def __init__(self, *args: Any, in_directory: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["time_zone"]
        assert isinstance(field, forms.ChoiceField)
        now = self.initial.get("time_zone", "")
        known = zones()
        field.choices = known if now in dict(known) else [*known, (now, now)]
        if in_directory:
            del self.fields["email"]


class Password(PlainForm):
    """One's password as it is, and as it is to be."""

    current = password_field(_("Password as it is"))
    password = password_field(
        _("New password"),
        new=True,
        help_text=_(
            "Your other sessions end, and tokens that signing in brought. Other tokens stay until you revoke them."
        ),
    )


class Code(PlainForm):
    """A code of the app."""

    code = forms.CharField(label=_("Code that the app shows"), max_length=40, widget=forms.TextInput(attrs=CODE))


class AppOff(PlainForm):
    """What turning the app off asks for."""

    password = password_field(_("Password"))
    code = forms.CharField(
        label=_("Code"),
        max_length=40,
        help_text=_("Of the app, or a recovery code."),
        widget=forms.TextInput(attrs=CODE),
    )


class SecurityKey(PlainForm):
    """A security key; its answer comes from the browser (security_keys.js)."""

    name = forms.CharField(
        label=_("Name"),
        max_length=64,
        widget=forms.TextInput(attrs={"placeholder": _("Blue key"), "autocomplete": "off"}),
    )
    credential = forms.JSONField(required=False, widget=forms.HiddenInput)


class OnlyPassword(PlainForm):
    """What removing a security key asks for."""

    password = password_field(_("Password"))


class ApiToken(PlainForm):
    """A new token."""

    name = forms.CharField(label=_("Name"), max_length=64)
    expires_at = forms.DateTimeField(
        label=_("Valid until"),
        required=False,
        help_text=_("Empty: until it is revoked."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
    )
    addresses = Lines(
        label=_("Taken from"),
        required=False,
        help_text=_("Addresses or ranges, one in each line, such as 192.0.2.0/24. Empty: from anywhere."),
    )
    rights = forms.MultipleChoiceField(label=_("Rights"), required=False, choices=[(name, name) for name in RIGHTS])


class SshKey(PlainForm):
    """A public key."""

    name = forms.CharField(label=_("Name"), max_length=64)
    public_key = forms.CharField(
        label=_("Public key"), widget=forms.Textarea(attrs={"rows": 4, "placeholder": "ssh-ed25519 AAAA…"})
    )
