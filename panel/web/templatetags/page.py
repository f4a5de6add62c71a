"""What the templates of all pages use: assets, icons, times, live regions, addresses with other parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from panel.core import wording
from panel.vms.usage import had
from panel.web import assets, words

register = template.Library()
register.simple_tag(assets.address, name="asset")
register.filter("had", had)


@register.simple_tag
def module(name: str) -> SafeString:
    """A script of ours, and what it imports, so that all of them are fetched at once."""
    early = format_html_join(
        "\n", '<link rel="modulepreload" href="{}">', ((assets.address(each),) for each in assets.imported(name))
    )
    return format_html('{}\n<script type="module" src="{}"></script>', early, assets.address(name))


@register.simple_tag
def icon(name: str) -> SafeString:
    """One of Bootstrap's icons, which says nothing to who hears the page."""
    # The files are npm's, by names that stand in templates.
    return mark_safe(assets.icon(name).replace("<svg ", '<svg aria-hidden="true" '))


@register.filter
def moment(value: datetime | None) -> str:
    """A time in the reader's zone, with that of UTC beside it for who points at it; a dash for none."""
    if value is None:
        return "–"
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        value.isoformat(),
        value.astimezone(timezone.get_default_timezone()).strftime("%Y-%m-%d %H:%M:%S"),
        date_format(local, "Y-m-d H:i:s"),
    )


@register.simple_tag(takes_context=True)
def live(context: template.Context, name: str, *topics: Any) -> SafeString:
    """Attributes of a region of the page that is read anew when an event of one of the topics comes.

    A topic is “vm”, “vm:12” or, of the tasks of one object, “task:vm:12”; {% live "head" "vm:" vm.pk " problem" %} puts
    its parts together. It is read anew as well when an answer says that something was “changed” (plain_form.changed):
    what has no events may have no topics. The view renders the region alone for a request whose target it is
    (rendering.page).
    """
    request = context["request"]
    return format_html(
        'id="{}" data-live="{}" hx-get="{}" hx-trigger="refresh, changed from:body" '
        'hx-target="this" hx-swap="morph:outerHTML" hx-disinherit="*"',
        name,
        "".join(str(each) for each in topics),
        request.get_full_path(),
    )


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: Any) -> str:
    """The page's own address with some parameters changed; None takes one away. Pages begin anew."""
    found = context["request"].GET.copy()
    found.pop("page", None)
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = str(value)
    return f"?{found.urlencode()}"


@register.filter
def as_json(value: Any) -> str:
    """The value as an attribute for htmx."""
    return json.dumps(value)


@register.filter
def worded(text: str) -> str:
    """A sentence or label of the panel in the reader's language."""
    return wording.translated(text)


def _called(names: Mapping[str, words.Label]) -> Callable[[str], str]:
    """A filter: what pages call a status or the like; itself where they have no word for it."""
    return lambda value: str(names.get(value, value))


status_word = register.filter("status_word", _called(words.STATUSES))
register.filter("task_word", _called(words.TASK_STATUSES))
register.filter("step_word", _called(words.STEP_STATUSES))
register.filter("severity_word", _called(words.SEVERITIES))
register.filter("state_word", _called(words.NODE_STATES))


@register.simple_tag
def options(choices: Iterable[tuple[str, Any]], chosen: str) -> SafeString:
    """The choices of a menu; there may be one for each of hundreds of nodes."""
    return SafeString("".join(_option(value, label, value == chosen) for value, label in choices))


def _option(value: str, label: Any, chosen: bool) -> SafeString:
    shown = conditional_escape(value)
    # Most are called as they are.
    name = shown if label is value else conditional_escape(label)
    return SafeString(f'<option value="{shown}"{" selected" if chosen else ""}>{name}</option>')


@register.simple_tag
def status(name: str, order: str = "") -> SafeString:
    """A VM's status; of two pages that show one, the larger `order` is the later."""
    bears = format_html(' data-order="{}"', order) if order else ""
    return format_html('<span class="status" data-status="{}"{}>{}</span>', name, bears, status_word(name))


@register.filter
def took(row: Any) -> str:
    """How long a task or a step took; "" for one that has not ended."""
    return words.took(row.started_at, row.finished_at)
