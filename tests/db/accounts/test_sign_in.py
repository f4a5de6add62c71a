"""Signing in through every door, and how guessing is stopped."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts import hashing, throttling
from panel.accounts.backend import WRONG_ALLOWED
from panel.accounts.models import JournalEntry, Token, User
from panel.accounts.tokens import create_token


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """No wrong password of an earlier test counts."""
    redis.Redis.from_url(settings.CONFIG.redis_url).flushall()


def _token(name: str, password: str, address: str = "192.0.2.1") -> int:
    client = APIClient(REMOTE_ADDR=address)
    return client.post("/api/v1/auth/token", {"name": name, "password": password}).status_code


def test_after_many_wrong_passwords_the_right_one_is_refused_too_from_that_address_alone(user: User) -> None:
    assert {_token("anna", f"guess {number}") for number in range(WRONG_ALLOWED)} == {401}
    assert _token("anna", "correct horse") == 401
    assert _token("anna", "correct horse", address="192.0.2.2") == 201


def test_a_name_written_otherwise_gives_no_more_guesses(user: User) -> None:
    # The database takes all of these for the same name.
    names = ("anna", "Anna", "ANNA", "anna ", "anna  ", "ánna")
    for number in range(WRONG_ALLOWED):
        assert _token(names[number % len(names)], f"guess {number}") == 401
    for name in names:
        assert _token(name, "correct horse") == 401, name


def test_the_page_and_the_api_count_together(user: User) -> None:
    for number in range(WRONG_ALLOWED):
        _token("anna", f"guess {number}", address="127.0.0.1")
    answer = Client().post("/login", {"username": "anna", "password": "correct horse"}, secure=True)
    assert answer.status_code == 200
    assert b"The name or the password is wrong." in answer.content


def test_a_few_wrong_passwords_do_no_harm(user: User) -> None:
    for number in range(WRONG_ALLOWED - 1):
        _token("anna", f"guess {number}")
    assert _token("anna", "correct horse") == 201


def test_an_unknown_name_is_answered_like_a_wrong_password(user: User) -> None:
    client = APIClient()
    wrong = client.post("/api/v1/auth/token", {"name": "anna", "password": "no"}).json()
    unknown = client.post("/api/v1/auth/token", {"name": "nobody", "password": "no"}).json()
    assert {**wrong, "request_id": ""} == {**unknown, "request_id": ""}


def test_a_missing_password_names_its_field() -> None:
    answer = APIClient().post("/api/v1/auth/token", {"name": "anna"})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "missing_value", "password")


def test_an_expired_token_lets_nobody_in(user: User) -> None:
    token, text = create_token(user, "old")
    Token.objects.filter(pk=token.pk).update(expires_at=timezone.now())
    assert APIClient().get("/api/v1/me", headers={"Authorization": f"Bearer {text}"}).status_code == 401


def test_a_tokens_last_use_is_written_once_a_minute(user: User) -> None:
    token, text = create_token(user, "mine")
    client = APIClient()
    client.get("/api/v1/me", headers={"Authorization": f"Bearer {text}"})
    first = Token.objects.get(pk=token.pk).last_used_at
    client.get("/api/v1/me", headers={"Authorization": f"Bearer {text}"})
    assert first is not None and Token.objects.get(pk=token.pk).last_used_at == first


def test_only_ones_own_tokens_and_keys_are_seen_and_removed(api: APIClient, api_as_user: APIClient, user: User) -> None:
    made = api.post("/api/v1/tokens", {"name": "theirs"}).json()
    key = {
        "name": "laptop",
        "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Xk0A3T0mT7ZJmYx1m0c3yJb0zQm7s9v1n2b3c4d5e me",
    }
    made_key = api.post("/api/v1/ssh-keys", key).json()
    assert made["token"] and "token" not in api.get("/api/v1/tokens").json()["results"][0]
    assert api_as_user.get("/api/v1/tokens").json()["results"] == []
    assert api_as_user.get("/api/v1/ssh-keys").json()["results"] == []
    assert api_as_user.delete(f"/api/v1/tokens/{made['id']}").status_code == 404
    assert api_as_user.delete(f"/api/v1/ssh-keys/{made_key['id']}").status_code == 404
    again = api.post("/api/v1/ssh-keys", key)
    assert (again.status_code, again.json()["field"]) == (409, "name")
    assert api.delete(f"/api/v1/tokens/{made['id']}").status_code == 204
    assert api.delete(f"/api/v1/ssh-keys/{made_key['id']}").status_code == 204


def test_the_commands_answer_json_and_show_a_secret_once(user: User) -> None:
    def answer(*words: str) -> dict[str, object]:
        out = StringIO()
        call_command(*words, stdout=out)
        found: dict[str, object] = json.loads(out.getvalue())
        return found

    first = answer("create_admin", "--name", "boss")
    assert first["created"] is True and first["password"]
    assert answer("create_admin", "--name", "boss") == {"name": "boss", "created": False}
    assert _token("boss", str(first["password"])) == 201
    text = answer("token_create", "anna", "script")["token"]
    assert APIClient().get("/api/v1/me", headers={"Authorization": f"Bearer {text}"}).json()["name"] == "anna"
    with pytest.raises(CommandError, match="no user"):
        call_command("token_create", "nobody", "script")


def at_once(count: int, act: Callable[[int], int]) -> list[int]:
    """What `act` answers to each number, all asked at the same moment."""
    together = threading.Barrier(count)

    def one(number: int) -> int:
        try:
            together.wait(20)
            return act(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were hashed to be compared; each takes as long as a real one."""
    found: list[str] = []
    verify = Argon2PasswordHasher.verify

    def slow(hasher: Argon2PasswordHasher, password: str, encoded: str) -> bool:
        found.append(password)
        time.sleep(0.1)
        return verify(hasher, password, encoded)

    monkeypatch.setattr(Argon2PasswordHasher, "verify", slow)
    return found


def test_of_many_wrong_passwords_at_the_same_moment_no_more_are_looked_at(user: User, looked_at: list[str]) -> None:
    answers = at_once(24, lambda number: _token("anna", f"guess {number}"))
    assert set(answers) == {401} and len(looked_at) == WRONG_ALLOWED
    assert JournalEntry.objects.filter(action="session.locked").count() == 1


def test_ones_own_password_is_guessed_no_more_often_at_the_same_moment(user: User, looked_at: list[str]) -> None:
    def change(number: int) -> int:
        client = APIClient()
        client.force_authenticate(user)
        values = {"current": f"guess {number}", "password": "battery staple"}
        return client.post("/api/v1/me/password", values).status_code

    assert set(at_once(24, change)) == {400} and len(looked_at) == WRONG_ALLOWED


def test_many_right_passwords_at_the_same_moment_are_all_taken(user: User, looked_at: list[str]) -> None:
    assert set(at_once(24, lambda _: _token("anna", "correct horse"))) == {201}
    assert _token("anna", "correct horse") == 201


@pytest.mark.parametrize("where", ["page", "rest", "classic", "key"])
def test_wrong_passwords_of_all_names_from_one_address_are_limited_together(
    user: User, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttling, "WRONG_OF_ADDRESS", 4)
    client = Client(REMOTE_ADDR="192.0.2.1")

    def ask(name: str, password: str) -> str:
        if where == "rest":
            return str(_token(name, password))
        if where == "key":
            answer = client.get(f"/sign-in/{name}{password}", secure=True, follow=True)
            return "limited" if b"from your address" in answer.content else "wrong"
        if where == "page":
            answer = client.post("/login", {"username": name, "password": password}, secure=True)
            return f"{answer.status_code} {b'from your address' in answer.content}"
        answer = client.get("/vmmgr", {"func": "vm", "out": "xml", "authinfo": f"{name}:{password}"}, secure=True)
        return "limited" if b"from your address" in answer.content else "wrong"

    wrong, limited = {"page": ("200 False", "429 True"), "rest": ("401", "429")}.get(where, ("wrong", "limited"))
    assert {ask(f"name{number}", "guess") for number in range(4)} == {wrong}
    assert ask("anna", "correct horse") == limited
    assert _token("anna", "correct horse", address="192.0.2.2") == 201


class SmallHasher(hashing.BoundedHasher):
    """The panel's hashing, which takes less of everything."""

    memory_cost, time_cost, parallelism = 34 * 1024, 1, 1


def test_few_passwords_are_hashed_at_once_and_memory_stays_bounded(user: User, settings: Any) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.SmallHasher"]
    user.set_password("correct horse")
    user.save()
    _most_memory_mib()
    before = _most_memory_mib()
    answers = at_once(50, lambda number: _token("anna", "correct horse", address=f"192.0.2.{number}"))
    # On a machine that is busy with other things some may have waited too long.
    assert {201} <= set(answers) <= {201, 429}
    assert _most_memory_mib() - before < 200
    assert hashing.BoundedHasher.memory_cost * hashing.AT_ONCE <= 256 * 1024


def _most_memory_mib() -> float:
    """How much this process has had at most, counted anew from now on."""
    most = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    Path("/proc/self/clear_refs").write_text("5")
    assert most is not None
    return int(most[1]) / 1024


def test_trying_to_sign_in_by_the_page_counts_as_calls(user: User, settings: Any) -> None:
    settings.CONFIG = copy(settings.CONFIG)
    settings.CONFIG.rate_limit_address = 3
    answers = [Client().post("/login", {"username": "anna", "password": "no"}, secure=True) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["Retry-After"] and Client().get("/login", secure=True).status_code == 200
