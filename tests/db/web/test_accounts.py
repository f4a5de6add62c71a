"""The pages of accounts: for whom they are, what stands on them; and an administrator in a user's account."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from panel.accounts import journal, totp
from panel.accounts.models import (
    BrowserSession,
    JournalEntry,
    Level,
    Role,
    SecurityKey,
    SigninKey,
    SshKey,
    Token,
    Totp,
    User,
)
from panel.accounts.services import add_ssh_key
from panel.accounts.session_store import drop_all
from panel.accounts.tokens import create_token
from panel.core.permissions import RIGHTS
from panel.web import events
from panel.webhooks.models import Webhook
from panel.webhooks.services import create_webhook
from tests.db.web.test_pages import _text, signed_in


@pytest.fixture
def helper() -> User:
    """An administrator of the cluster, who opens accounts and runs none."""
    return User.objects.create_user("helper", "correct horse", level=Level.ADMIN)


def _post(client: Client, path: str) -> str:
    answer = client.post(path, secure=True)
    assert answer.status_code in (200, 302, 404), path
    return answer.headers.get("Location", str(answer.status_code))


def _me(client: Client) -> str:
    name: str = client.get("/api/v1/me", secure=True).json()["name"]
    return name


def test_the_navigation_shows_what_the_viewer_has_rights_for(user: User, admin: User) -> None:
    for viewer, shown in ((user, False), (admin, True)):
        page = _text(signed_in(viewer), "/")
        assert ('href="/users"' in page, 'href="/roles"' in page) == (shown, shown)
        assert 'href="/journal"' in page and 'href="/profile"' in page


def test_a_customer_has_no_page_of_users_and_roles(user: User, admin: User) -> None:
    client = signed_in(user)
    for path in ("/users", "/users/new", f"/users/{admin.pk}", f"/users/{user.pk}", "/roles", "/roles/new"):
        _text(client, path, 404)
    assert _post(client, f"/users/{admin.pk}/open") == "404"


def test_the_profile_shows_ones_own_and_nobody_elses(user: User, admin: User) -> None:
    create_token(user, "billing", rights=["vms.view"], addresses=["192.0.2.0/24"])
    create_token(admin, "theirs")
    page = _text(signed_in(user), "/profile")
    assert "billing" in page and "192.0.2.0/24" in page and "theirs" not in page
    assert "/profile/do/password" in page and "/profile/do/app" in page
    offered = re.findall(r'name="rights" value="([a-z.]+)"', _text(signed_in(user), "/profile/do/token"))
    assert set(offered) == user.rights


def test_a_second_factor_that_is_on_can_be_turned_off_on_the_profile(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totp, "_take_step", lambda *_: True)
    totp.enrol(user)
    totp.confirm(user, "123456")
    page = _text(signed_in(user), "/profile")
    assert "/profile/do/app-off" in page and "10 recovery codes left" in page


def test_users_are_searched_by_name_and_level(admin: User, user: User, helper: User) -> None:
    client = signed_in(admin)
    assert re.findall(r"/users/\d+\">(\w+)<", _text(client, "/users")) == ["admin", "anna", "helper"]
    assert re.findall(r"/users/\d+\">(\w+)<", _text(client, "/users?search=NN")) == ["anna"]
    assert re.findall(r"/users/\d+\">(\w+)<", _text(client, "/users?level=admin")) == ["helper"]
    assert re.findall(r"/users/\d+\">(\w+)<", _text(client, "/users?state=disabled")) == []
    assert "Nothing fits" in _text(client, "/users?search=%25")


def test_a_user_is_changed_in_a_form_by_those_alone_who_may(admin: User, user: User, helper: User) -> None:
    Role.objects.create(name="<viewer>", level=Level.USER, rights=["vms.view"])
    page = _text(signed_in(admin), f"/users/{user.pk}")
    assert f"/users/{user.pk}/do/change" in page
    assert "&lt;viewer&gt;" in _text(signed_in(admin), f"/users/{user.pk}/do/change")
    assert f'action="/users/{user.pk}/open"' in page
    seen = _text(signed_in(helper), f"/users/{user.pk}")
    assert "/do/" not in seen and f'action="/users/{user.pk}/open"' in seen
    assert "/open" not in _text(signed_in(admin), f"/users/{admin.pk}")
    auditor = signed_in(User.objects.create_user("auditor", level=Level.READONLY))
    assert "/open" not in _text(auditor, f"/users/{user.pk}")


def test_a_role_is_composed_of_every_right_there_is(admin: User) -> None:
    role = Role.objects.create(name="viewer", level=Level.USER, rights=["vms.view", "vms.console"])
    client = signed_in(admin)
    assert set(re.findall(r'name="rights" value="([a-z.]+)"', _text(client, "/roles/new"))) == set(RIGHTS)
    page = _text(client, f"/roles/{role.pk}")
    assert re.search(r'value="vms.console"\s+id="[^"]+" checked', page)
    assert not re.search(r'value="vms.power"\s+id="[^"]+" checked', page)


def test_the_journal_is_searched_by_user_action_object_and_day(admin: User, user: User) -> None:
    journal.record(user, "vm.stop", "vm", 1, "web1", owner_id=user.pk, after={"x": "<b>"})
    journal.record(admin, "vm.delete", "vm", 2, "db1")
    client = signed_in(admin)

    def found(search: str) -> list[str]:
        return re.findall(r"data-action=\"(vm\.\w+)\"", _text(client, f"/journal{search}"))

    assert found("") == ["vm.delete", "vm.stop"]
    for search in ("?search=an", "?search=vm.stop", "?search=WEB", "?search=web1&since=2020-01-01&object_type=vm"):
        assert found(search) == ["vm.stop"], search
    day = f"{JournalEntry.objects.earliest('pk').at:%Y-%m-%d}"
    assert len(found(f"?since={day}&until={day}")) == 2
    assert found("?until=2020-01-01") == [] and found("?since=never") == []
    assert "&lt;b&gt;" in _text(client, "/journal")
    assert re.findall(r"data-action=\"(vm\.\w+)\"", _text(signed_in(user), "/journal")) == ["vm.stop"]


@pytest.mark.parametrize(
    ("search", "exported"),
    [
        ("&search=anna", ["vm.stop"]),
        ("&search=db1", ["vm.delete"]),
        ("&search=vm.stop&object_type=vm", ["vm.stop"]),
        ("&since=2020-01-01&until=2020-01-01", []),
        ("&since=2020-01-01", ["vm.delete", "vm.stop"]),
        ("", ["vm.delete", "vm.stop"]),
    ],
)
def test_what_the_journal_shows_is_what_its_page_exports(
    admin: User, user: User, search: str, exported: list[str]
) -> None:
    journal.record(user, "vm.stop", "vm", 1, "web1", owner_id=user.pk)
    journal.record(admin, "vm.delete", "vm", 2, "db1")
    client = signed_in(admin)
    answer: Any = client.get(f"/journal?format=csv{search}", secure=True)
    assert answer.status_code == 200, answer.content
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert [line.split(",")[1] for line in lines[1:] if ",vm " in line] == exported


@pytest.mark.parametrize("path", ["/users", "/roles", "/journal", "/profile", "/limits"])
def test_a_page_of_accounts_makes_the_same_queries_for_few_and_many(admin: User, path: str) -> None:
    client = signed_in(admin)

    def add(start: int, count: int) -> None:
        for number in range(start, start + count):
            role = Role.objects.create(name=f"role{number}", level=Level.USER, rights=[])
            User.objects.create_user(f"user{number}", role=role)
            journal.record(admin, "vm.stop", "vm", number, f"web{number}")
            create_token(admin, f"token{number}")
            signed_in(admin)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            _text(client, path)
        return len(captured)

    add(0, 3)
    few = queries()
    add(3, 10)
    assert queries() == few <= 12


def test_an_administrator_works_in_an_account_and_goes_back(helper: User, user: User) -> None:
    client = signed_in(helper)
    assert _post(client, f"/users/{user.pk}/open") == "/"
    assert _me(client) == "anna"
    assert "work as <b>anna</b>" in _text(client, "/")
    assert "/profile/do/password" not in _text(client, "/profile")
    signed_in(user)
    assert client.delete("/api/v1/me/sessions", secure=True).status_code == 204
    entry = JournalEntry.objects.get(action="session.end")
    assert (entry.user_name, entry.impersonated_by) == ("anna", "helper")
    assert JournalEntry.objects.filter(action="user.open", user_name="helper", object_name="anna").count() == 1
    assert _post(client, "/back") == f"/users/{user.pk}"
    assert _me(client) == "helper" and "work as" not in _text(client, "/")


def test_what_proves_who_a_user_is_stays_theirs_in_an_impersonated_account(helper: User, user: User) -> None:
    client = signed_in(helper)
    _post(client, f"/users/{user.pk}/open")

    def post(path: str, body: dict[str, str]) -> int:
        return client.post(f"/api/v1/{path}", body, content_type="application/json", secure=True).status_code

    assert post("me/password", {"current": "correct horse", "password": "battery staple"}) == 403
    assert post("tokens", {"name": "backdoor"}) == 403
    assert post("me/totp", {}) == 403
    body = {"password": "battery staple"}
    changed = client.patch(f"/api/v1/users/{user.pk}", body, content_type="application/json", secure=True)
    assert changed.status_code == 403
    assert User.objects.get(pk=user.pk).check_password("correct horse")


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Xk0A3T0mT7ZJmYx1m0c3yJb0zQm7s9v1n2b3c4d5e me"
HOOK = {"url": "https://billing.example/hook", "events": ["*"]}
LASTING = (
    ("POST", "ssh-keys", {"name": "mine", "public_key": KEY}),
    ("DELETE", "ssh-keys/{key}", {}),
    ("POST", "webhooks", HOOK),
    ("PATCH", "webhooks/{hook}", HOOK),
    ("DELETE", "webhooks/{hook}", {}),
    ("PATCH", "users/{user}", {"email": "helper@example.org"}),
    ("PATCH", "users/{user}", {"password": "battery staple"}),
    ("POST", "me/password", {"current": "correct horse", "password": "battery staple"}),
    ("POST", "tokens", {"name": "backdoor"}),
    ("DELETE", "tokens/{token}", {}),
    ("POST", "me/totp", {}),
    ("POST", "me/totp/confirm", {"code": "000000"}),
    ("POST", "me/totp/off", {"code": "000000", "password": "correct horse"}),
    ("POST", "me/security-keys/challenge", {}),
    ("POST", "me/security-keys", {"name": "mine", "credential": {}}),
    ("POST", "me/security-keys/{security_key}/remove", {"password": "correct horse"}),
)


@pytest.fixture
def furnished(user: User) -> dict[str, int]:
    """The ids of what the user's account has."""
    hook, _secret = create_webhook(user, HOOK)
    made = SecurityKey.objects.create(user=user, name="blue", credential_id=b"1", digest="1", public_key=b"1")
    return {
        "user": user.pk,
        "key": add_ssh_key(user, "laptop", KEY).pk,
        "hook": hook.pk,
        "token": create_token(user, "billing")[0].pk,
        "security_key": made.pk,
    }


def test_an_administrator_leaves_nothing_lasting_in_an_account(
    helper: User, user: User, furnished: dict[str, int]
) -> None:
    def lasting() -> list[Any]:
        kinds = (User, SshKey, Webhook, Token, Totp, SecurityKey)
        return [list(kind.objects.order_by("pk").values()) for kind in kinds]  # type: ignore[attr-defined]

    client = signed_in(helper)
    _post(client, f"/users/{user.pk}/open")
    before, page = lasting(), _text(client, "/profile")
    assert "SSH keys and webhooks are changed by anna alone" in page
    assert set(re.findall(r"/profile/do/([a-z-]+)", page)) <= {"session-end", "sessions-end"}
    for method, path, body in LASTING:
        where = f"/api/v1/{path.format(**furnished)}"
        answer = client.generic(method, where, json.dumps(body), content_type="application/json", secure=True)
        assert (answer.status_code, answer.json()["code"]) == (403, "access_denied"), (method, path)
        assert "by its user alone" in answer.json()["detail"], (method, path)
    assert lasting() == before


def test_no_sign_in_key_is_made_from_an_account_that_was_opened(admin: User, helper: User, user: User) -> None:
    # Its browser would bear no mark of who opened the account.
    client = signed_in(admin)
    _post(client, f"/users/{helper.pk}/open")
    answer = client.post(f"/api/v1/users/{user.pk}/signin-key", {}, content_type="application/json", secure=True)
    assert answer.status_code == 403 and not SigninKey.objects.exists()


def test_administrators_are_opened_by_a_super_administrator_alone_and_no_account_from_within_another(
    helper: User, admin: User, user: User
) -> None:
    other = User.objects.create_user("other", level=Level.ADMIN)
    client = signed_in(helper)
    for each in (other, helper):
        assert _post(client, f"/users/{each.pk}/open") == "200"
        assert _me(client) == "helper"
    assert _post(client, f"/users/{admin.pk}/open") == "404"
    boss = signed_in(admin)
    _post(boss, f"/users/{helper.pk}/open")
    assert _me(boss) == "helper"
    assert _post(boss, f"/users/{user.pk}/open") == "200"
    assert _me(boss) == "helper"


def test_an_impersonated_account_closes_with_its_administrators_own(helper: User, user: User, api: APIClient) -> None:
    client = signed_in(helper)
    _post(client, f"/users/{user.pk}/open")
    assert _me(client) == "anna"
    api.post(f"/api/v1/users/{helper.pk}/disable")
    assert client.get("/api/v1/me", secure=True).status_code == 401
    assert not BrowserSession.objects.filter(user=user).exists()


def test_nobody_goes_back_from_a_session_that_nobody_opened(user: User) -> None:
    client = signed_in(user)
    assert _post(client, "/back") == "/login"
    assert client.get("/api/v1/me", secure=True).status_code == 401


def test_a_page_whose_session_was_ended_hears_no_more(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(events, "LONGEST_SECONDS", 0.1)
    client = AsyncClient()
    client.force_login(user)

    async def listen() -> str:
        answer = await client.get("/events", secure=True)
        assert isinstance(answer, StreamingHttpResponse)
        return b"".join([bytes(each) async for each in answer.streaming_content]).decode()

    assert async_to_sync(listen)().startswith("event: hello")
    drop_all(user)

    async def again() -> int:
        return (await client.get("/events", secure=True)).status_code

    assert async_to_sync(again)() == 401
