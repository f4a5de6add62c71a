"""The forms of other accounts and of roles."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from panel.accounts.limits import LIMITS
from panel.accounts.models import Level, User
from panel.accounts.selectors import list_roles
from panel.core import wording
from panel.core.permissions import RIGHTS
from panel.web.limits import TITLES
from panel.web.listing import Choices
from panel.web.operation_form import style
from panel.web.plain_form import PlainForm, password_field

MOST_ROLES = 500
LARGEST = 2**31 - 1


def all_levels(viewer: User) -> Choices:
    """All levels that there are."""
    return [(each.value, wording.translated(str(each.label))) for each in Level]


def levels(viewer: User) -> Choices:
    """The levels that the viewer may give."""
    found = all_levels(viewer)
    return found if viewer.level == Level.SUPER else [each for each in found if each[0] == Level.USER.value]


class Account(PlainForm):
    """Who the user is, and what they may do."""

    name = forms.CharField(label=_("Name"), max_length=64)
    email = forms.CharField(label=_("E-mail address"), required=False, max_length=254, widget=forms.EmailInput)
    password = password_field(_("Password"), new=True, required=False)
    level = forms.ChoiceField(label=_("Level"))
    role = forms.ChoiceField(label=_("Role"), required=False, help_text=_("It leaves some of the level's rights."))
    may_create_vms = forms.BooleanField(label=_("May create VMs"), required=False)

    def __init__(self, *args: Any, viewer: User, is_new: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = levels(viewer)
        roles = list_roles(viewer).filter(level__in=[value for value, _label in offered])[:MOST_ROLES]
        none = ("", _("None: all rights of the level"))
        self._choose("level", offered)
        self._choose("role", [none, *((each.name, each.name) for each in roles)])
        self.fields["password"].help_text = (
            _("Empty: nobody signs in by a password.")
            if is_new
            else _("Empty: as it is. Another one ends all sessions.")
        )

    def _choose(self, name: str, choices: Choices) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = list(choices)

    @property
    def values(self) -> dict[str, Any]:
        """What services take; no password is none, or the one that it is."""
        return {name: value for name, value in self.cleaned_data.items() if name != "password" or value}


class LimitsForm(PlainForm):
    """How much an account may have; empty is without limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in LIMITS:
            field = forms.IntegerField(label=str(TITLES[name][0]), required=False, min_value=0, max_value=LARGEST)
            field.unit = TITLES[name][1]  # type: ignore[attr-defined]
            style(field)
            self.fields[name] = field


class RoleForm(PlainForm):
    """A role. Its rights are ticked in groups (_rights.html)."""

    name = forms.CharField(label=_("Name"), max_length=64)
    level = forms.ChoiceField(label=_("For accounts of the level"))
    rights = forms.MultipleChoiceField(required=False, choices=[(name, name) for name in RIGHTS])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["level"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(each.value, wording.translated(str(each.label))) for each in Level]


class TypedName(PlainForm):
    """The name of what would be lost, typed."""

    typed_name = forms.CharField(label="", widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, *args: Any, lost: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lost = lost
        self.fields["typed_name"].label = _("Type %(name)s to go on") % {"name": lost}

    def clean_typed_name(self) -> str:
        """It must be that very name."""
        typed = str(self.cleaned_data["typed_name"]).strip()
        if typed != self.lost:
            raise forms.ValidationError(_("The name is not the one of what would be lost."))
        return typed
