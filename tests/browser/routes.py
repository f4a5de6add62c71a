"""The pages of the URL map: which there are, who sees them, and where they are of what sample.py made.

A page of an address that is new is walked from its first day: its parameters are filled from the sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, reverse

from panel.core import kinds
from panel.tasks import registry
from panel.web.urls import urlpatterns
from tests.browser import sample

NO_PAGES = {
    "sign-in-key": "leads to a page",
    "logout": "is posted to",
    "open-as": "is posted to",
    "go-back": "is posted to",
    "events": "never ends",
    "asset": "is a file",
    "operation": "is a dialog of a page",
    "vm-group": "is a dialog of a page",
    "task-do": "is a dialog of a page",
    "vm-console-link": "is posted to",
    "vm-picture": "is a file",
    "palette": "is a dialog of a page",
    "theme": "is posted to",
    "node-settings": "is posted to",
    "storage-settings": "is posted to",
    "profile-do": "is a dialog of a page",
    "user-do": "is a dialog of a page",
    "webhook-new": "is a dialog of a page",
    "webhook-change": "is a dialog of a page",
    "webhook-delete": "is a dialog of a page",
    "webhook-retry": "is posted to",
    "security-group-new": "is a dialog of a page",
    "iso-rename": "is a dialog of a page",
    "iso-delete": "is a dialog of a page",
    "role-delete": "is a dialog of a page",
    "image-change": "is a dialog of a page",
    "plan-new": "is a dialog of a page",
    "plan-change": "is a dialog of a page",
    "plan-delete": "is a dialog of a page",
    "problem-acknowledge": "is a dialog of a page",
    "problem-unacknowledge": "is posted to",
}
"""Addresses that are no pages of their own, and why."""
MORE = {"not-found": "/nothing-of-this-name"}
"""Pages that are not in the URL map of the pages."""
BEFORE_SIGN_IN = {"login": "nobody", "login-code": "half"}
"""Pages of those who are not signed in yet, and who they are."""
ADMINISTRATORS = {
    "nodes", "node-new", "node", "storages", "storage-new", "problems", "problems-ended", "users", "user-new", "user",
    "roles", "role-new", "role", "vm-settings", "cluster-settings", "options",
    "networks", "network", "network-new", "health", "dns-servers", "dns-server-new", "dns-server",
}  # fmt: skip
"""Pages that customers do not have."""


def routes(patterns: Iterable[URLPattern | URLResolver] = urlpatterns) -> Iterator[URLPattern]:
    """All that the pages' URL map has."""
    for each in patterns:
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns)
        else:
            yield each


def pages() -> list[str]:
    """The names of all pages."""
    return [name for name in map(name_of, routes()) if name not in NO_PAGES] + list(MORE)


def name_of(route: URLPattern) -> str:
    """Its name, or what it looks like where it has none."""
    return route.name or str(route.pattern)


def path_of(name: str, ids: dict[str, Any]) -> str:
    """The address of a page; KeyError for a parameter that sample.py made nothing for."""
    if name in MORE:
        return MORE[name]
    pattern = next(each for each in routes() if name_of(each) == name)
    return reverse(name, kwargs={key: ids[key] for key in pattern.pattern.converters})


def viewers_of(name: str) -> list[str]:
    """Who sees a page."""
    if name in BEFORE_SIGN_IN:
        return [BEFORE_SIGN_IN[name]]
    if name == "webhook":
        return [sample.CUSTOMER]
    return [sample.ADMIN] if name in {*ADMINISTRATORS, "api-docs"} else [sample.ADMIN, sample.CUSTOMER]


def dialogs(ids: dict[str, Any]) -> dict[str, str]:
    """The addresses of the dialogs of all operations, by the operations' names."""
    found = {}
    for each in registry.every():
        if not each.creates:
            kind = kinds.get(each.object_type)
            found[each.name] = reverse("operation", args=[kind.plural, ids.get(f"{kind.name}_id", 1), each.verb])
    return found
