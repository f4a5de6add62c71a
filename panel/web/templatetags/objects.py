"""Where the object is shown that a row (a problem, a task, an entry of the journal) is about."""

from __future__ import annotations

from typing import Any

from django import template

from panel.cluster.redaction import Redaction
from panel.core import kinds
from panel.tasks.models import Task
from panel.web import words

register = template.Library()


@register.filter
def page(row: Any) -> str:
    """The address of its object's page; "" where that has none."""
    return kinds.page_of(row.object_type, row.object_id)


@register.filter
def named(task: Task, redaction: Redaction) -> str:
    """What the task's object is called, for who reads the page: `{{ task|named:redaction }}`."""
    # A VM may be called as a node is.
    return redaction.text(task.object_name) if task.object_type == "node" else task.object_name


@register.filter
def kind(row: Any) -> str:
    """What people call an object of its kind."""
    return str(words.kind(row.object_type))
