"""What a page offers to do with a task."""

from __future__ import annotations

from django import template

from panel.tasks import services

register = template.Library()

register.filter(services.may_cancel)
