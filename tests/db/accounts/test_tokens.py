"""What a token lets in: its rights, its addresses, its time; and one-time sign-in keys."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework.test import APIClient

from panel.accounts import signin_keys
from panel.accounts.models import JournalEntry, SigninKey, SshKey, Token, User
from panel.accounts.services import change_user
from panel.accounts.tokens import create_token, digest, in_ranges, sign_in_token
from panel.core.errors import BadCredentials


def _with(text: str, address: str = "192.0.2.1") -> APIClient:
    client = APIClient(REMOTE_ADDR=address)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


def test_a_token_gives_only_the_rights_that_it_names(user: User) -> None:
    _token, text = create_token(user, "look", rights=["vms.view"])
    client = _with(text)
    assert client.get("/api/v1/vms").status_code == 200
    assert client.get("/api/v1/tasks").json()["permission"] == "tasks.view"
    assert client.get("/api/v1/me").json()["rights"] == ["vms.view"]
    refused = client.post("/api/v1/vms", {})
    assert (refused.status_code, refused.json()["permission"]) == (403, "vms.create")


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("journal", "journal.own"),
        ("journal/export", "journal.own"),
        ("tokens", "account.view"),
        ("ssh-keys", "account.view"),
        ("me/security-keys", "account.view"),
        ("me/totp", "account.view"),
    ],
)
def test_what_the_account_itself_has_is_a_right_of_its_own(user: User, path: str, right: str) -> None:
    _token, narrow = create_token(user, "look", rights=["vms.view"])
    refused = _with(narrow).get(f"/api/v1/{path}")
    assert (refused.status_code, refused.json()["permission"]) == (403, right)
    _token, own = create_token(user, "own", rights=[right])
    assert _with(own).get(f"/api/v1/{path}").status_code == 200


def test_a_token_never_gives_more_than_its_user_has(user: User) -> None:
    _token, text = create_token(user, "all", rights=["cluster.manage", "vms.view"])
    assert _with(text).get("/api/v1/me").json()["rights"] == ["vms.view"]


def test_a_scoped_token_makes_no_wider_one(user: User) -> None:
    _token, text = create_token(user, "narrow", rights=["vms.view", "vms.power"])
    assert _with(text).post("/api/v1/tokens", {"name": "wide"}).json()["rights"] == ["vms.power", "vms.view"]
    made = _with(text).post("/api/v1/tokens", {"name": "w", "rights": ["vms.view", "vms.delete"]})
    assert made.json()["rights"] == ["vms.view"]


def test_a_token_makes_none_that_lasts_longer(user: User) -> None:
    ends = timezone.now() + timedelta(days=1)
    _token, text = create_token(user, "short", ends)
    for later in (None, (ends + timedelta(days=1)).isoformat()):
        made = _with(text).post("/api/v1/tokens", {"name": "long", "expires_at": later}, format="json")
        assert Token.objects.get(pk=made.json()["id"]).expires_at == ends
    sooner = ends - timedelta(hours=1)
    made = _with(text).post("/api/v1/tokens", {"name": "shorter", "expires_at": sooner.isoformat()})
    assert Token.objects.get(pk=made.json()["id"]).expires_at == sooner


def test_a_token_makes_none_that_is_taken_from_elsewhere(user: User) -> None:
    _token, text = create_token(user, "billing", addresses=["192.0.2.0/24", "2001:db8::/64"])
    client = _with(text)
    assert client.post("/api/v1/tokens", {"name": "same"}).json()["addresses"] == ["192.0.2.0/24", "2001:db8::/64"]
    inside = client.post("/api/v1/tokens", {"name": "in", "addresses": ["192.0.2.8/29"]})
    assert inside.json()["addresses"] == ["192.0.2.8/29"]
    for wide in ("0.0.0.0/0", "192.0.2.0/23", "::/0", "198.51.100.1/32"):
        refused = client.post("/api/v1/tokens", {"name": "wide", "addresses": [wide]})
        assert (refused.status_code, refused.json()["field"]) == (400, "addresses"), wide


PROOF = {"name": "anna", "password": "correct horse"}


def test_a_token_of_a_sign_in_ends_and_makes_one_that_does_not(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG, "sign_in_token_days", 2)
    made = APIClient().post("/api/v1/auth/token", PROOF).json()
    token = Token.objects.get()
    assert parse_datetime(made["expires_at"]) == token.expires_at
    assert token.expires_at is not None and abs(token.expires_at - timezone.now() - timedelta(days=2)).seconds < 60
    client = _with(made["token"])
    assert client.post("/api/v1/tokens", {"name": "script"}).json()["expires_at"] is None
    hook = client.post("/api/v1/webhooks", {"url": "https://billing.example/hook", "events": ["*"]})
    assert (hook.status_code, hook.json()["token_id"]) == (201, None)
    Token.objects.filter(pk=token.pk).update(expires_at=timezone.now())
    assert client.get("/api/v1/me").status_code == 401
    monkeypatch.setattr(settings.CONFIG, "sign_in_token_days", 0)
    assert APIClient().post("/api/v1/auth/token", PROOF).json()["expires_at"] is None


def test_a_changed_password_ends_the_tokens_that_it_brought_but_for_the_one_that_asks(user: User, admin: User) -> None:
    _other, script = create_token(user, "script")
    mine, another = (APIClient().post("/api/v1/auth/token", PROOF).json()["token"] for _ in range(2))
    change = {"current": PROOF["password"], "password": "battery staple"}
    assert _with(mine).post("/api/v1/me/password", change).status_code == 204
    assert [_with(text).get("/api/v1/me").status_code for text in (mine, another, script)] == [200, 401, 200]

    by_admin = APIClient()
    by_admin.force_authenticate(admin)
    assert by_admin.patch(f"/api/v1/users/{user.pk}", {"password": "horse of a stable"}).status_code == 200
    assert [_with(text).get("/api/v1/me").status_code for text in (mine, script)] == [401, 200]
    told = JournalEntry.objects.filter(action="token.revoke").order_by("pk").values_list("user_name", "after")
    assert list(told) == [("anna", {"by": "password"}), ("admin", {"by": "password"})]


def test_a_password_that_is_changed_while_it_is_looked_at_brings_no_token(user: User, admin: User) -> None:
    proved = User.objects.get(pk=user.pk)
    change_user(admin, user, {"password": "battery staple"})
    with pytest.raises(BadCredentials):
        sign_in_token(proved)
    assert not Token.objects.exists()
    assert not JournalEntry.objects.filter(action="token.create").exists()


def test_of_many_tokens_by_signing_in_the_one_unused_longest_gives_way(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "tokens_per_user", 3)
    _other, other = create_token(user, "script")
    texts = [APIClient().post("/api/v1/auth/token", PROOF).json()["token"] for _ in range(3)]
    Token.objects.filter(digest=digest(texts[0])).update(last_used_at=timezone.now() + timedelta(seconds=9))
    texts.append(APIClient().post("/api/v1/auth/token", PROOF).json()["token"])
    assert [_with(text).get("/api/v1/me").status_code for text in texts] == [200, 401, 200, 200]
    assert _with(other).get("/api/v1/me").status_code == 200
    assert Token.objects.filter(by_sign_in=True).count() == 3
    gone = JournalEntry.objects.get(action="token.revoke")
    assert (gone.owner_id, gone.after) == (user.pk, {"by": "limit"})


def test_an_account_has_no_more_tokens_than_allowed_and_those_that_are_over_do_not_count(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "tokens_per_user", 3)
    client = APIClient()
    client.force_authenticate(user)
    made = [client.post("/api/v1/tokens", {"name": f"t{number}"}) for number in range(3)]
    refused = client.post("/api/v1/tokens", {"name": "t3"})
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (403, "limit_exceeded", "tokens")
    assert (refused.json()["used"], refused.json()["allowed"]) == (3, 3)
    with pytest.raises(CommandError, match="tokens"):
        call_command("token_create", "anna", "t3")
    assert Token.objects.count() == 3
    assert APIClient().post("/api/v1/auth/token", PROOF).status_code == 201
    Token.objects.filter(pk=made[1].json()["id"]).update(expires_at=timezone.now())
    assert client.post("/api/v1/tokens", {"name": "t3"}).status_code == 201
    assert set(Token.objects.filter(by_sign_in=False).values_list("name", flat=True)) == {"t0", "t2", "t3"}


def test_a_scoped_token_takes_nothing_from_the_account(user: User) -> None:
    key = SshKey.objects.create(user=user, name="mine", public_key="ssh-ed25519 AAAA")
    other, _text = create_token(user, "other")
    narrow, text = create_token(user, "narrow", rights=["vms.view"])
    client = _with(text)
    assert client.delete(f"/api/v1/tokens/{other.pk}").status_code == 403
    assert client.delete(f"/api/v1/ssh-keys/{key.pk}").status_code == 403
    assert client.delete(f"/api/v1/tokens/{narrow.pk}").status_code == 204
    assert list(Token.objects.values_list("pk", flat=True)) == [other.pk] and SshKey.objects.exists()


def test_a_scoped_token_is_not_given_the_answer_that_a_wide_one_had(user: User) -> None:
    _wide, wide = create_token(user, "wide")
    _narrow, narrow = create_token(user, "narrow", rights=["vms.view"])
    asked = {"name": "made"}
    made = _with(wide).post("/api/v1/tokens", asked, headers={"Idempotency-Key": "k"})
    again = _with(wide).post("/api/v1/tokens", asked, headers={"Idempotency-Key": "k"})
    assert made.json()["token"] == again.json()["token"]
    other = _with(narrow).post("/api/v1/tokens", asked, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_mismatch")


@pytest.mark.parametrize(("address", "status"), [("192.0.2.9", 200), ("198.51.100.1", 401), ("2001:db8::7", 200)])
def test_a_token_is_taken_from_its_addresses_alone(user: User, address: str, status: int) -> None:
    _token, text = create_token(user, "billing", addresses=["192.0.2.0/24", "2001:db8::/64"])
    assert _with(text, address).get("/api/v1/me").status_code == status


def test_an_ipv4_address_written_as_ipv6_is_in_its_range() -> None:
    assert in_ranges("::ffff:192.0.2.5", ["192.0.2.0/24"])
    assert not in_ranges("", ["0.0.0.0/0"])


@pytest.mark.parametrize(
    ("body", "field"),
    [({"rights": ["vms.fly"]}, "rights"), ({"addresses": ["everywhere"]}, "addresses")],
)
def test_a_wrong_token_is_refused_with_its_field(api: APIClient, body: dict[str, object], field: str) -> None:
    answer = api.post("/api/v1/tokens", {"name": "x", **body})
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert not Token.objects.exists()


def test_the_last_use_tells_from_where(user: User) -> None:
    token, text = create_token(user, "mine")
    _with(text, "198.51.100.7").get("/api/v1/me")
    assert Token.objects.get(pk=token.pk).last_used_from == "198.51.100.7"


def test_a_signin_key_signs_a_browser_in_once_and_leads_to_its_page(api: APIClient, user: User) -> None:
    made = api.post(f"/api/v1/users/{user.pk}/signin-key", {"leads_to": "/tasks"}).json()
    browser = Client()
    answer = browser.get(made["path"], secure=True)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/tasks")
    assert browser.get("/tasks", secure=True).status_code == 200
    again = Client().get(made["path"], secure=True, follow=True)
    assert again.redirect_chain == [("/login", 302)]
    assert b"This key signs nobody in" in again.content


def test_a_signin_key_is_worthless_after_its_time(api: APIClient, user: User) -> None:
    made = api.post(f"/api/v1/users/{user.pk}/signin-key", {}).json()
    SigninKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert Client().get(made["path"], secure=True).headers["Location"] == "/login"


NOWHERE = ["//evil.example", "https://evil.example", "/\\evil.example", "vms", "", "/vsm/7", "/nothing"]


@pytest.mark.parametrize("leads_to", [*NOWHERE, "/vms/999", "/vms/999/console", "/tasks/999"])
def test_a_signin_key_leads_nowhere_but_into_the_panel(api: APIClient, user: User, leads_to: str) -> None:
    answer = api.post(f"/api/v1/users/{user.pk}/signin-key", {"leads_to": leads_to})
    assert (answer.status_code, answer.json()["field"]) == (400, "leads_to")


def test_a_signin_key_of_a_disabled_account_and_a_token_that_is_over_are_not_made(api: APIClient, user: User) -> None:
    past = (timezone.now() - timedelta(seconds=1)).isoformat()
    refused = api.post("/api/v1/tokens", {"name": "late", "expires_at": past})
    assert (refused.status_code, refused.json()["field"]) == (400, "expires_at")
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert api.post(f"/api/v1/users/{user.pk}/signin-key", {}).status_code == 409


def test_nobody_gets_a_key_for_a_higher_account(admin: User, user: User) -> None:
    helpdesk = User.objects.create_user("helpdesk", level="admin")
    other = User.objects.create_user("other", level="admin")
    client = APIClient()
    client.force_authenticate(helpdesk)
    assert client.post(f"/api/v1/users/{user.pk}/signin-key", {}).status_code == 201
    assert client.post(f"/api/v1/users/{other.pk}/signin-key", {}).status_code == 403
    assert client.post(f"/api/v1/users/{admin.pk}/signin-key", {}).status_code == 404
    client.force_authenticate(user)
    assert client.post(f"/api/v1/users/{user.pk}/signin-key", {}).status_code == 403


def test_a_chosen_key_is_long_enough_and_kept_as_a_hash(admin: User, user: User) -> None:
    text = signin_keys.issue(admin, user, key="0123456789abcdef")
    assert text == "0123456789abcdef"
    assert text not in str(SigninKey.objects.values().get())
