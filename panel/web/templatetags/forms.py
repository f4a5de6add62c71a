"""How pages show a form's field."""

from __future__ import annotations

from django import template
from django.forms import BoundField, CheckboxInput
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def is_box(field: BoundField) -> bool:
    """Whether it is a box to tick, whose label stands behind it."""
    return isinstance(field.field.widget, CheckboxInput)


@register.filter
def shown(field: BoundField) -> SafeString:
    """The field's input, marked where it is wrong and tied to what stands below it."""
    told = [f"{field.id_for_label}-help"] if field.help_text else []
    attributes: dict[str, str | bool] = {}
    if field.errors:
        told.append(f"{field.id_for_label}-error")
        attributes["class"] = f"{field.field.widget.attrs.get('class', '')} is-invalid"
        attributes["aria-invalid"] = "true"
    if told:
        attributes["aria-describedby"] = " ".join(told)
    return field.as_widget(attrs=attributes)
