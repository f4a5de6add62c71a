"""One's own profile: what its dialogs do, tell and show once; and the form of signing in."""

from __future__ import annotations

import json
import re
from typing import Any

import pyotp
import pytest
from django.test import Client

from panel.accounts import services, totp
from panel.accounts.models import BrowserSession, SshKey, Token, User
from panel.accounts.tokens import create_token
from tests.db.web.test_pages import _text, signed_in

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Xk0A3T0mT7ZJmYx1m0c3yJb0zQm7s9v1n2b3c4d5e me"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def do(client: Client, deed: str, values: dict[str, Any] | None = None) -> tuple[int, str, dict[str, Any]]:
    """Post a dialog; answers the status, what it shows, and what it has the page do."""
    answer = client.post(f"/profile/do/{deed}", values or {}, secure=True)
    return answer.status_code, answer.content.decode(), json.loads(answer.headers.get("HX-Trigger", "{}"))


def wrong_field(shown: str) -> list[str]:
    """The fields of a dialog that are marked as wrong."""
    return re.findall(r'id="id_(\w+)-error"', shown)


@pytest.mark.parametrize(
    ("deed", "good", "wrong", "field"),
    [
        ("password", {"current": "correct horse", "password": "battery staple"}, {"current": "guess"}, "current"),
        (
            "details",
            {"email": "a@example.org", "language": "en", "time_zone": "Asia/Tokyo"},
            {"email": "a"},
            "email",
        ),
        ("ssh-key", {"name": "laptop", "public_key": KEY}, {"public_key": "no key"}, "public_key"),
        ("token", {"name": "billing", "addresses": "192.0.2.0/24"}, {"addresses": "nowhere"}, "addresses"),
    ],
)
def test_a_dialog_tells_at_its_field_what_is_wrong_and_else_does_it(
    user: User, deed: str, good: dict[str, str], wrong: dict[str, str], field: str
) -> None:
    client = signed_in(user)
    assert client.get(f"/profile/do/{deed}", secure=True).status_code == 200
    status, shown, _events = do(client, deed, {**good, **wrong})
    assert (status, wrong_field(shown)) == (422, [field])
    status, _shown, _events = do(client, deed, good)
    assert status in (200, 204)
    # And is signed in still.
    _text(client, "/profile")


def test_what_was_done_closes_the_dialog_and_has_the_page_read_anew(user: User) -> None:
    client = signed_in(user)
    status, _shown, events = do(client, "ssh-key", {"name": "laptop", "public_key": KEY})
    assert status == 204 and {"say", "close-dialog", "changed"} <= events.keys()
    [key] = SshKey.objects.filter(user=user)
    assert do(client, "ssh-key-remove", {"id": key.pk})[0] == 204 and not SshKey.objects.exists()


def test_language_and_time_zone_are_in_force_at_once(user: User) -> None:
    client = signed_in(user)
    answer = client.post("/profile/do/details", {"email": "", "language": "ru", "time_zone": "Asia/Tokyo"}, secure=True)
    assert answer.headers["HX-Refresh"] == "true"
    page = _text(client, "/profile")
    assert '<html lang="ru"' in page and "Asia/Tokyo" in page and "Часовой пояс" in page


def test_a_token_is_shown_once_and_revoked(user: User) -> None:
    client = signed_in(user)
    form = {"name": "billing", "rights": ["vms.view"], "expires_at": "2038-01-01T12:00"}
    status, shown, events = do(client, "token", form)
    token = Token.objects.get(user=user)
    text = re.search(r'<pre class="secret"[^>]*>([^<]+)</pre>', shown)
    assert status == 200 and text is not None and "changed" in events
    assert token.rights == ["vms.view"] and token.expires_at is not None and token.expires_at.hour == 12
    assert text[1] not in _text(client, "/profile")
    assert do(client, "token-revoke", {"id": token.pk})[0] == 204 and not Token.objects.exists()


def test_the_secret_of_the_app_is_gone_when_the_recovery_codes_are_shown(user: User) -> None:
    client = signed_in(user)
    _status, shown, _events = do(client, "app")
    secret = re.search(r'<code class="user-select-all">([A-Z2-7]+)</code>', shown)
    assert secret is not None and "<svg" in shown
    status, wrong, _events = do(client, "app-confirm", {"code": "12345"})
    assert (status, wrong_field(wrong)) == (422, ["code"]) and secret[1] not in wrong
    answer = client.post("/profile/do/app-confirm", {"code": pyotp.TOTP(secret[1]).now()}, secure=True)
    # It takes the place of the whole dialog, the picture and the secret included.
    assert answer.headers["HX-Retarget"] == "#dialog-content" and answer.headers["HX-Reswap"] == "innerHTML"
    codes = answer.content.decode()
    assert secret[1] not in codes and "<svg" not in codes and len(re.findall(r"\w{4}(?:-\w{4}){3}", codes)) == 10
    assert totp.is_on(user) and "10 recovery codes left" in _text(client, "/profile")
    status, shown, _events = do(client, "app-off", {"password": "guess", "code": "1"})
    assert (status, wrong_field(shown)) == (422, ["code"])


def test_browsers_are_told_apart_and_this_one_is_marked(user: User) -> None:
    here, other = Client(headers={"user-agent": FIREFOX}), Client(headers={"user-agent": "curl/7.88.1"})
    for each in (here, other):
        each.post("/login", {"username": "anna", "password": "correct horse"}, secure=True)
    page = _text(here, "/profile")
    rows = re.findall(r"<tr data-session.*?</tr>", page, re.DOTALL)
    marked = [("Firefox 140 on Linux" in each, "curl 7.88.1" in each, "this one" in each) for each in rows]
    assert sorted(marked) == [(False, True, False), (True, False, True)]
    session = BrowserSession.objects.get(agent="curl/7.88.1")
    assert do(here, "session-end", {"id": session.pk})[0] == 204
    assert not BrowserSession.objects.filter(pk=session.pk).exists()
    assert do(here, "sessions-end")[0] == 204 and "this one" in _text(here, "/profile")


def test_what_is_anothers_is_as_absent(user: User, admin: User) -> None:
    theirs, _text_of_it = create_token(admin, "theirs")
    key = services.add_ssh_key(admin, "laptop", KEY)
    client = signed_in(user)
    signed_in(admin)
    session = BrowserSession.objects.get(user=admin)
    do(client, "token-revoke", {"id": theirs.pk})
    do(client, "ssh-key-remove", {"id": key.pk})
    assert do(client, "session-end", {"id": session.pk})[0] == 404
    assert Token.objects.count() == SshKey.objects.count() == 1 and BrowserSession.objects.filter(user=admin).exists()
    assert client.get("/profile/do/security-key-remove?id=1", secure=True).status_code == 404
    assert client.get("/profile/do/nothing", secure=True).status_code == 404
    assert client.get("/profile/do/app", secure=True).status_code == 404


def test_the_name_is_kept_after_a_wrong_password(user: User) -> None:
    shown = Client().post("/login", {"username": "anna", "password": "guess"}, secure=True).content.decode()
    assert 'name="username" value="anna"' in shown and "The name or the password is wrong." in shown
    assert "guess" not in shown


@pytest.mark.parametrize(("signed", "mark"), [(True, 'id="sidebar"'), (False, "To the dashboard")])
def test_a_page_that_there_is_not_keeps_the_navigation(user: User, signed: bool, mark: str) -> None:
    client = signed_in(user) if signed else Client()
    assert mark in _text(client, "/nothing-of-this-name", 404)


def test_a_page_that_fails_keeps_the_navigation_and_tells_the_request_id(
    user: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = signed_in(user)
    client.raise_request_exception = False
    monkeypatch.setattr("panel.web.own.listed_sessions", lambda *_: 1 / 0)
    answer = client.get("/profile", secure=True, headers={"x-request-id": "find-me"})
    assert answer.status_code == 500 and b'id="sidebar"' in answer.content and b"find-me" in answer.content
    caplog.clear()
