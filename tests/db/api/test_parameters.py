"""Nothing that a caller says is passed over: parameters and fields that are not known are refused, by every route."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import Token
from panel.api.parameters import ApiView, known_to
from panel.api.urls import urlpatterns
from panel.tasks.models import Task

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_ASKED = {"docs", "events"}
"""A page, and the stream, which has its own test (test_events.py)."""


def every_call() -> list[tuple[str, str, type[ApiView]]]:
    """Each method of each route, with ids in its path and the view that answers it."""
    found = []
    for route in urlpatterns:
        view = getattr(route.callback, "view_class", None)
        if str(route.pattern) in NOT_ASKED:
            continue
        assert view is not None and issubclass(view, ApiView), f"{route.pattern} is no view of ours"
        path = re.sub(r"<\w+:\w+>", "1", f"/api/v1/{route.pattern}")
        found += [(each, path, view) for each in METHODS if hasattr(view, each.lower())]
    return found


def test_every_route_of_every_method_refuses_parameters_that_it_does_not_know(api: APIClient) -> None:
    calls = every_call()
    for method, path, kind in calls:
        view = kind(request=None, kwargs={})
        for name in ("plna", *({"plan", "queue", "user"} - known_to(view, method))):
            answer = api.generic(method, f"{path}?{name}=1", "{}", content_type="application/json")
            said = (answer.status_code, answer.data.get("field"))  # type: ignore[attr-defined]
            assert said == (400, name), f"{method} {path}?{name}=1"
    assert not Task.objects.exists()
    assert len(calls) > 150


@pytest.mark.parametrize("asked", ["plan", "plan=", "plan=1&plan=0", "queue=perhaps"])
def test_a_switch_that_is_neither_on_nor_off_does_nothing(api: APIClient, asked: str) -> None:
    answer = api.post(f"/api/v1/cluster/examine?{asked}", {})
    assert (answer.status_code, answer.json()["field"]) == (400, asked.partition("=")[0].partition("&")[0])
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("tokens", {"name": "t", "right": ["vms.view"]}, "right"),
        ("batch", {"calls": [{"method": "GET", "path": "/api/v1/me"}], "atomc": True}, "atomc"),
        ("batch", {"calls": [{"method": "GET", "path": "/api/v1/me", "bdoy": {}}]}, "bdoy"),
        ("vms/group/stop", {"ids": [1], "parms": {"force": True}}, "parms"),
        ("ssh-keys", {"name": "k", "public_key": "ssh-ed25519 AAAA", "naem": "x"}, "naem"),
        ("pools", {"name": "p", "knd": "dir"}, "knd"),
        ("auth/token", {"name": "admin", "password": "correct horse", "cod": "1"}, "cod"),
    ],
)
def test_a_field_that_is_not_known_is_named_and_nothing_is_made(
    api: APIClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = api.post(f"/api/v1/{path}", body, format="json")
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert not Token.objects.exists()


def test_usage_is_not_everybodys_where_one_users_was_meant(api: APIClient) -> None:
    answer = api.get("/api/v1/usage?user=anna")
    assert (answer.status_code, answer.json()["field"]) == (400, "user")
    assert "owner" in answer.json()["allowed"]
