"""An operation's parameters as a form: made from their description, so that each new one has its form at once."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from django import forms
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core import wording
from panel.core.errors import PanelError
from panel.core.validation import LINES
from panel.tasks.declaration import Declaration
from panel.web import choices, presets, words

Choices = Sequence[tuple[str, Any]]
SEVERAL = ("groups", "security_groups")
"""Lists of which several are chosen."""
LONG_SECRETS = ("key",)
"""Secrets of several lines."""


class Lines(forms.CharField):
    """A list of texts, one in each line."""

    widget = forms.Textarea(attrs={"rows": 3})

    def clean(self, value: Any) -> list[str]:
        """The lines that are not empty."""
        return [line.strip() for line in super().clean(value).splitlines() if line.strip()]

    def prepare_value(self, value: Any) -> Any:
        """A list as its lines."""
        return "\n".join(value) if isinstance(value, list) else value


class Pairs(forms.CharField):
    """Names with values, “name = value” in each line."""

    widget = forms.Textarea(attrs={"rows": 3})

    def clean(self, value: Any) -> dict[str, str]:
        """The pairs of the lines that have one."""
        pairs = [line.partition("=") for line in super().clean(value).splitlines()]
        return {name.strip(): text.strip() for name, sign, text in pairs if sign and text.strip()}

    def prepare_value(self, value: Any) -> Any:
        """Pairs as their lines."""
        return "\n".join(f"{name} = {text}" for name, text in value.items()) if isinstance(value, dict) else value


class SecretLines(forms.Textarea):
    """A secret of several lines; as a password it is not sent back with a form that is wrong."""

    def format_value(self, value: Any) -> None:
        """Nothing."""


class OperationForm(forms.Form):
    """The form of an operation about an object (None: it makes one). `fixed` are parameters settled by its place."""

    def __init__(
        self,
        operation: Declaration[Any],
        viewer: User,
        obj: Any,
        *args: Any,
        fixed: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.operation, self.fixed = operation, dict(fixed or {})
        initial = presets.of(operation, viewer, obj, self.fixed)
        for name, info in operation.params.model_fields.items():
            if not presets.may_set(operation, viewer, name):
                continue
            field = field_of(name, info, choices.of(operation, name, viewer, obj))
            field.initial = initial.get(name, field.initial)
            if name in self.fixed:
                field.widget = forms.HiddenInput()
            self.fields[name] = field
            style(field)

    @property
    def raw(self) -> dict[str, Any]:
        """What was filled in, as the operation takes it; what was left empty is left to the operation.

        A text or list that was there and is none any more is taken away.
        """
        return {
            name: value
            for name, value in self.cleaned_data.items()
            if value not in (None, "", [], {}) or (value in ("", []) and self.fields[name].initial)
        }

    def take(self, error: PanelError, redaction: Redaction) -> None:
        """Show what the operation was refused for, at its field where that is one of the form's."""
        told = redaction.error(error)
        # Of a list an error names the place too, as “ranges.0”.
        field = (told.field or "").partition(".")[0]
        self.add_error(field if field in self.fields else None, told.message)

    @property
    def settled(self) -> list[tuple[Any, Any]]:
        """What its place settles of what there is to choose from: the parameters' labels and what is chosen."""
        told = []
        for field in self.hidden_fields():
            names = {str(value): label for value, label in getattr(field.field, "choices", ())}
            if (chosen := str(field.value())) in names:
                told.append((field.label, names[chosen]))
        return told

    @property
    def asks(self) -> bool:
        """Whether there is anything to fill in."""
        return bool(self.visible_fields())


def field_of(name: str, info: FieldInfo, offered: Choices | None) -> forms.Field:
    kind, optional = _kind_of(info.annotation)
    usual = None if info.is_required() else info.get_default(call_default_factory=True)
    common: dict[str, Any] = {
        "label": words.PARAMETERS.get(name, name),
        "help_text": wording.translated(info.description) if info.description else "",
        "required": info.is_required() and kind is not bool,
        "initial": usual.value if isinstance(usual, enum.Enum) else usual,
    }
    if offered is not None:
        # How the API takes a name is no help where it is chosen.
        common["help_text"] = ""
    field = _of_kind(name, kind, optional, info, offered, common)
    if name in LONG_SECRETS:
        field.widget = SecretLines(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"})
    field.unit = words.unit_of(name)  # type: ignore[attr-defined]
    return field


def _of_kind(
    name: str, kind: Any, optional: bool, info: FieldInfo, offered: Choices | None, common: dict[str, Any]
) -> forms.Field:
    none = words.NONE_CHOSEN.get(name, "–")
    if kind is bool and optional:
        return forms.TypedChoiceField(
            choices=words.YES_NO, coerce=lambda value: value == "yes", empty_value=None, **common
        )
    if kind is bool:
        return forms.BooleanField(**common)
    if offered is not None and name in SEVERAL:
        return forms.MultipleChoiceField(choices=offered, widget=forms.SelectMultiple(attrs={"size": 6}), **common)
    if offered is not None and get_origin(kind) is list:
        return _chosen(offered, lambda value: value.split("\n"), none, common)
    if offered is not None:
        return _chosen(offered, int if kind is int else str, none, common)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _chosen([(each.value, _named(each)) for each in kind], str, none, common)
    if get_origin(kind) is Literal:
        values = get_args(kind)
        return _chosen([(str(each), str(each)) for each in values], type(values[0]), none, common)
    if kind in (int, float):
        least, most = _bounds(info)
        number = forms.IntegerField if kind is int else forms.FloatField
        return number(min_value=least, max_value=most, **common)
    if get_origin(kind) is list:
        return Lines(**common)
    if get_origin(kind) is dict:
        return Pairs(**common)
    if kind is SecretStr:
        return forms.CharField(
            strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), **common
        )
    lines = forms.Textarea(attrs={"rows": 2}) if name in LINES else forms.TextInput()
    return forms.CharField(max_length=_longest(info), widget=lines, **common)


def _named(choice: enum.Enum) -> str:
    return wording.translated(str(getattr(choice, "label", choice.value)))


def _chosen(offered: Choices, coerce: Any, none: Any, common: dict[str, Any]) -> forms.Field:
    empty = [] if common["required"] else [("", none)]
    return forms.TypedChoiceField(choices=[*empty, *offered], coerce=coerce, empty_value=None, **common)


def _kind_of(annotation: Any) -> tuple[Any, bool]:
    """The type without None, and whether None is taken."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [each for each in get_args(annotation) if each is not type(None)]
        return _kind_of(rest[0])[0], len(rest) < len(get_args(annotation))
    return annotation, False


def _bounds(info: FieldInfo) -> tuple[Any, Any]:
    least = next((each.ge for each in info.metadata if isinstance(each, annotated_types.Ge)), None)
    most = next((each.le for each in info.metadata if isinstance(each, annotated_types.Le)), None)
    return least, most


def _longest(info: FieldInfo) -> int | None:
    return next((each.max_length for each in info.metadata if isinstance(each, annotated_types.MaxLen)), None)


def style(field: forms.Field) -> None:
    """Bootstrap's classes."""
    if isinstance(field.widget, forms.CheckboxInput):
        style = "form-check-input"
    elif isinstance(field.widget, forms.Select):
        style = "form-select"
    else:
        style = "form-control"
    field.widget.attrs.setdefault("class", style)
