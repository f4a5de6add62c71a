"""Behind a proxy that changes Host: the address of PublicUrl is the own one; others are told what was expected."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from django.test import Client

from panel.accounts.models import User
from panel.web import console

PUBLIC, HOST = "https://panel.example.org", "10.0.0.5:1500"


@pytest.fixture(autouse=True)
def behind_a_proxy(settings: Any) -> None:
    """A panel that browsers open at PUBLIC, and a proxy calls HOST."""
    settings.CONFIG = copy(settings.CONFIG)
    settings.CONFIG.public_url = PUBLIC
    settings.CSRF_TRUSTED_ORIGINS = [PUBLIC]


def _sign_in(origin: str) -> Any:
    client = Client(enforce_csrf_checks=True, HTTP_HOST=HOST)
    client.get("/login", secure=True)
    form = {
        "username": "anna",
        "password": "correct horse",
        "csrfmiddlewaretoken": client.cookies["csrftoken"].value,
    }
    return client.post("/login", form, secure=True, HTTP_ORIGIN=origin)


@pytest.mark.parametrize(("origin", "status"), [(PUBLIC, 302), (f"https://{HOST}", 302), ("https://evil.test", 403)])
def test_a_form_of_the_public_address_is_taken(user: User, origin: str, status: int) -> None:
    answer = _sign_in(origin)
    assert answer.status_code == status
    if status == 403:
        said = answer.content.decode()
        assert "https://evil.test" in said and f"https://{HOST} or {PUBLIC}" in said and "PublicUrl" in said


@pytest.mark.parametrize(("origin", "status"), [(PUBLIC, 204), ("https://evil.test", 403)])
def test_a_pages_call_of_the_public_address_is_taken(user: User, origin: str, status: int) -> None:
    client = Client(enforce_csrf_checks=True, HTTP_HOST=HOST)
    client.force_login(user)
    client.get("/profile", secure=True)
    proof = client.cookies["csrftoken"].value
    answer = client.delete("/api/v1/me/sessions", secure=True, HTTP_ORIGIN=origin, HTTP_X_CSRFTOKEN=proof)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "access_denied"
        assert f"expects https://{HOST} or {PUBLIC}" in answer.json()["detail"]


@pytest.mark.parametrize(("origin", "own"), [(PUBLIC, True), (f"https://{HOST}", True), ("https://evil.test", False)])
def test_a_console_of_the_public_address_is_opened(origin: str, own: bool) -> None:
    scope = {"headers": [(b"host", HOST.encode()), (b"origin", origin.encode())]}
    assert console._same_origin(scope) is own


def test_the_policy_lets_a_page_of_the_public_address_have_its_console(user: User) -> None:
    policy = Client(HTTP_HOST=HOST).get("/login", secure=True).headers["Content-Security-Policy"]
    assert f"connect-src 'self' wss://{HOST} wss://panel.example.org;" in policy


@pytest.mark.parametrize("path", ["/login", "/api/v1/me"])
def test_a_host_that_is_not_the_panels_is_told_which_are(settings: Any, path: str) -> None:
    settings.CONFIG.allowed_hosts = ""
    settings.ALLOWED_HOSTS = settings.CONFIG.hosts
    answer = Client(HTTP_HOST="other.example").get(path, secure=True)
    assert answer.status_code == 400
    assert "other.example" in answer.content.decode() and "panel.example.org" in answer.content.decode()
