"""Who makes a classic call, and how that is proved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyotp
import pytest
from django.test import Client
from django.utils import timezone

from panel.accounts import totp
from panel.accounts.backend import WRONG_ALLOWED
from panel.accounts.models import JournalEntry, User
from panel.accounts.tokens import create_token
from panel.mgrapi import periodic
from panel.mgrapi.models import ClassicSession
from panel.tasks.models import Task
from tests.db.mgrapi.classic import ADDRESS, BROWSER, PASSWORD, World, call, doc_of, error_of, values_of

REFUSED = ("auth", "badpassword")
ELSEWHERE = "192.0.2.2"


def begin(name: str = "anna", address: str = ADDRESS) -> str:
    """A session's id."""
    element = doc_of(call(func="auth", out="xml", address=address, username=name, password=PASSWORD)).find("auth")
    assert element is not None and element.get("id") == element.text
    return element.text or ""


def test_a_session_calls_from_where_it_was_begun_until_it_is_left(user: User) -> None:
    session = begin()
    assert values_of(call(func="", out="xml", auth=session))["user"] == "anna"
    assert error_of(call(func="", out="xml", auth=session, address=ELSEWHERE)) == REFUSED
    call(func="exit", out="xml", auth=session)
    assert error_of(call(func="", out="xml", auth=session)) == REFUSED


def test_only_a_hash_of_a_session_is_kept(user: User) -> None:
    session = begin()
    (kept,) = ClassicSession.objects.values()
    assert session not in str(kept)


@pytest.mark.parametrize(("minutes", "there"), [(59, True), (61, False)])
def test_a_session_ends_an_hour_after_its_last_call(user: User, minutes: int, there: bool) -> None:
    session = begin()
    ClassicSession.objects.update(used_at=timezone.now() - timedelta(minutes=minutes))
    if there:
        call(func="", out="xml", auth=session)
        assert timezone.now() - ClassicSession.objects.get().used_at < timedelta(minutes=1)
    else:
        assert error_of(call(func="", out="xml", auth=session)) == REFUSED
    periodic.purge()
    assert ClassicSession.objects.exists() is there


def test_a_session_ends_with_all_others_of_the_account(user: User) -> None:
    session = begin()
    _token, text = create_token(user, "mine")
    api = Client(headers={"Authorization": f"Bearer {text}"})
    assert api.delete("/api/v1/me/sessions", secure=True).status_code == 204
    assert error_of(call(func="", out="xml", auth=session)) == REFUSED


def test_a_session_ends_with_the_password_and_the_account(user: User) -> None:
    session = begin()
    user.set_password("another horse")
    user.save()
    assert error_of(call(func="", out="xml", auth=session)) == REFUSED
    user.set_password(PASSWORD)
    user.save()
    session = begin()
    User.objects.update(is_active=False)
    assert error_of(call(func="", out="xml", auth=session)) == REFUSED


@pytest.mark.parametrize("authinfo", ["", "admin", "admin:wrong", "nobody:correct horse"])
def test_without_the_right_password_nothing_is_done(admin: User, authinfo: str) -> None:
    assert error_of(call(func="vmwatch.configure", out="xml", authinfo=authinfo)) == REFUSED
    assert not Task.objects.exists()


def test_after_many_wrong_passwords_the_right_one_is_refused_too_from_that_address_alone(admin: User) -> None:
    for number in range(WRONG_ALLOWED):
        assert error_of(call(func="auth", out="xml", username="admin", password=f"guess {number}")) == REFUSED
    assert error_of(call(func="vmwatch.configure", out="xml", authinfo=f"admin:{PASSWORD}")) == REFUSED
    assert error_of(call(func="auth", out="xml", username="admin", password=PASSWORD)) == REFUSED
    assert not Task.objects.exists() and not ClassicSession.objects.exists()
    call(func="vmwatch.configure", out="xml", authinfo=f"admin:{PASSWORD}", address=ELSEWHERE)
    assert Task.objects.count() == 1


def test_authinfo_can_be_restricted_to_addresses(user: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG, "restrict_authinfo", ("192.0.2.0/31",))
    proof = {"func": "", "out": "xml", "authinfo": f"anna:{PASSWORD}"}
    assert values_of(call(address=ADDRESS, **proof))["user"] == "anna"
    assert error_of(call(address=ELSEWHERE, **proof)) == ("access", "authinfo")
    assert error_of(call(address="2001:db8::1", **proof)) == ("access", "authinfo")
    assert begin(address=ELSEWHERE)


def test_who_has_a_second_factor_needs_a_code_of_it(user: User) -> None:
    secret = totp.enrol(user).secret
    codes = totp.confirm(user, pyotp.TOTP(secret).now())
    proof = {"func": "auth", "out": "xml", "username": "anna", "password": PASSWORD}
    assert error_of(call(**proof)) == REFUSED
    assert error_of(call(func="", out="xml", authinfo=f"anna:{PASSWORD}")) == REFUSED
    assert doc_of(call(**proof, code=codes[0])).find("auth") is not None
    assert error_of(call(**proof, code=codes[0])) == REFUSED


def test_a_token_of_the_rest_api_is_a_proof_too(user: User) -> None:
    _, text = create_token(user, "billing")
    assert values_of(call(func="", out="xml", headers={"Authorization": f"Bearer {text}"}))["user"] == "anna"
    assert error_of(call(func="", out="xml", headers={"Authorization": "Bearer x"})) == REFUSED


def test_a_one_time_key_signs_a_browser_in_once(world: World) -> None:
    key = "a key of the billing system"
    assert doc_of(world.call("operator", "session.newkey", username="anna", key=key)).find("ok") is not None
    browser = Client(REMOTE_ADDR=ADDRESS, headers=BROWSER)
    asked = {"func": "auth", "username": "anna", "key": key, "checkcookie": "no"}
    answer = browser.get("/vmmgr", asked, secure=True)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert b"shop" in browser.get("/vms", secure=True).content
    answer = Client(REMOTE_ADDR=ADDRESS, headers=BROWSER).get("/vmmgr", asked, secure=True)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")


def test_a_link_with_a_key_needs_no_name_and_guessing_at_those_is_stopped_too(world: World) -> None:
    keys = [values_of(world.call("operator", "session.newkey", username="anna"))["key"] for _ in range(2)]
    browser = Client(REMOTE_ADDR=ADDRESS, headers=BROWSER)
    answer = browser.get("/vmmgr", {"func": "auth", "key": keys[0]}, secure=True)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert b"shop" in browser.get("/vms", secure=True).content
    for number in range(WRONG_ALLOWED):
        assert error_of(call(func="auth", out="xml", key=f"{number:016}")) == REFUSED
    assert error_of(call(func="auth", out="xml", key=keys[1])) == REFUSED


def test_keys_are_long_and_for_the_user_whom_they_were_made_for(world: World) -> None:
    assert error_of(world.call("operator", "session.newkey", username="anna", key="short")) == ("value", "key")
    assert error_of(world.call("anna", "session.newkey", username="anna", key="0" * 16)) == ("access", "session.newkey")
    made = values_of(world.call("operator", "session.newkey", username="anna"))["key"]
    assert error_of(call(func="auth", out="xml", username="bert", key=made)) == REFUSED
    assert doc_of(call(func="auth", out="xml", username="anna", key=made)).find("auth") is not None


def test_blanks_of_a_key_that_was_chosen_count(world: World) -> None:
    world.call("admin", "session.newkey", username="anna", key=" sixteen letters ")
    assert error_of(call(func="auth", out="xml", username="anna", key="sixteen letters")) == REFUSED
    assert doc_of(call(func="auth", out="xml", username="anna", key=" sixteen letters ")).find("auth") is not None


def test_an_administrator_who_acts_as_a_user_changes_nothing_of_who_may_come_in(world: World) -> None:
    before = User.objects.values_list("password", flat=True).get(name="anna")
    anna = str(world.users["anna"].pk)
    asked = {"elid": anna, "sok": "ok", "passwd": "a secret word", "old_passwd": PASSWORD}
    assert error_of(world.call("admin", "user.edit", su="anna", **asked)) == ("access", "user.edit")
    assert error_of(world.call("admin", "session.newkey", su="operator", username="anna"))[0] == "access"
    assert User.objects.values_list("password", flat=True).get(name="anna") == before


def test_guessing_keys_locks_the_name_as_guessing_passwords_does(world: World) -> None:
    key = values_of(world.call("admin", "session.newkey", username="anna"))["key"]
    for number in range(WRONG_ALLOWED):
        assert error_of(call(func="auth", out="xml", username="anna", key=f"{number:016}")) == REFUSED
    assert error_of(call(func="auth", out="xml", username="anna", key=key)) == REFUSED
    assert doc_of(call(func="auth", out="xml", username="anna", key=key, address=ELSEWHERE)).find("auth") is not None


def test_an_administrator_acts_as_a_user_whose_rights_count_and_it_is_recorded(world: World) -> None:
    assert values_of(world.call("admin", "", su="anna"))["user"] == "anna"
    assert error_of(world.call("admin", "vmhostnode", su="anna")) == ("access", "vmhostnode")
    assert error_of(world.call("admin", "vm.restart", su="bert", elid="237")) == ("missed", "vm")
    world.call("admin", "vm.restart", su="anna", elid="237")
    kept = JournalEntry.objects.filter(impersonated_by="admin", user_name="anna").values_list(
        "action", "door", "address"
    )
    assert {("user.open", "classic", ADDRESS), ("vm.restart", "classic", ADDRESS)} <= set(kept)
    world.call("admin", "vm.restart", elid="237")
    assert JournalEntry.objects.latest("pk").impersonated_by == ""


def test_who_acts_as_a_user_has_no_more_rights_than_the_token_that_they_came_with(world: World) -> None:
    _, text = create_token(world.users["admin"], "billing", rights=["users.open", "vms.view"])
    proof = {"headers": {"Authorization": f"Bearer {text}"}, "out": "xml", "su": "anna"}
    assert len(doc_of(call(func="vm", **proof)).findall("elem")) == 1
    assert error_of(call(func="vm.restart", elid="237", **proof)) == ("access", "vm.restart")


@pytest.mark.parametrize(
    ("who", "su", "refused"),
    [
        ("anna", "bert", ("access", "")),
        ("watcher", "anna", ("access", "")),
        ("operator", "admin", ("access", "")),
        ("operator", "watcher", ("access", "")),
        ("admin", "nobody", ("missed", "user")),
        ("admin", "system", ("missed", "user")),
    ],
)
def test_only_administrators_act_as_others_and_only_below_them(
    world: World, who: str, su: str, refused: tuple[str, str]
) -> None:
    kind, about = error_of(world.call(who, "vm", su=su))
    assert (kind, about if refused[1] else "") == refused
