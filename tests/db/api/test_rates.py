"""How many calls a token and an address may make in a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from rest_framework.test import APIClient

from panel.accounts.models import Token, User
from panel.accounts.tokens import create_token
from panel.core import rates
from panel.core.redis_client import client


@pytest.fixture(autouse=True)
def one_minute(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All calls are of one minute, of which nothing is counted yet."""
    monkeypatch.setattr(rates.time, "time", lambda: 60_000.0)
    forget()
    yield
    forget()


def forget() -> None:
    """Nothing is counted."""
    for key in client().scan_iter("vmpanel:rate:*"):
        client().delete(key)


def test_a_token_that_calls_too_often_is_told_when_to_come_again(
    user: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "rate_limit_token", 3)
    headers = {"Authorization": f"Bearer {create_token(user, 'a')[1]}"}
    api = APIClient()
    left = [api.get("/api/v1/me", headers=headers).headers["RateLimit-Remaining"] for _ in range(3)]
    answer = api.get("/api/v1/me", headers=headers)

    assert left == ["2", "1", "0"]
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (429, "throttled", 3)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == answer.headers["RateLimit-Reset"] == "60"
    other = {"Authorization": f"Bearer {create_token(admin, 'b')[1]}"}
    assert api.get("/api/v1/me", headers=other).status_code == 200


def test_an_address_that_calls_too_often_is_refused_whatever_it_calls_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG, "rate_limit_address", 2)
    api = APIClient()
    for number in range(2):
        guess = {"Authorization": f"Bearer guess{number}"}
        assert api.get("/api/v1/me", headers=guess, REMOTE_ADDR="192.0.2.1").status_code == 401
    assert api.get("/api/v1/nothing", REMOTE_ADDR="192.0.2.1").status_code == 429
    assert api.get("/api/v1/nothing", REMOTE_ADDR="192.0.2.2").status_code == 404
    assert api.get("/login", REMOTE_ADDR="192.0.2.1").status_code == 200


def test_the_addresses_of_one_ipv6_network_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG, "rate_limit_address", 2)
    api = APIClient()
    near = ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::3")
    assert [api.get("/api/v1/nothing", REMOTE_ADDR=each).status_code for each in near] == [404, 404, 429]
    assert api.get("/api/v1/nothing", REMOTE_ADDR="2001:db8:0:2::1").status_code == 404
    mapped = ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1")
    assert [api.get("/api/v1/nothing", REMOTE_ADDR=each).status_code for each in mapped] == [404, 404, 429]


def test_a_batch_counts_as_the_calls_that_it_holds(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG, "rate_limit_token", 12)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {create_token(user, 'a')[1]}")
    make = {"method": "POST", "path": "/api/v1/tokens", "body": {"name": "made"}}
    group = {"method": "POST", "path": "/api/v1/vms/group/start", "body": {"ids": [1, 2, 3]}}

    first = api.post("/api/v1/batch", {"calls": [make] * 5}, format="json")
    assert (first.status_code, first.headers["RateLimit-Remaining"]) == (200, "7")
    second = api.post("/api/v1/batch", {"calls": [make, group]}, format="json")
    assert (second.status_code, second.headers["RateLimit-Remaining"]) == (200, "3")
    tokens = Token.objects.count()
    refused = api.post("/api/v1/batch", {"calls": [make] * 4}, format="json")
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (429, "throttled", 12)
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert (refused.headers["Retry-After"], refused.headers["RateLimit-Remaining"]) == ("60", "0")
    assert Token.objects.count() == tokens, "nothing of it was carried out"


def test_a_group_counts_as_the_objects_that_it_names(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG, "rate_limit_token", 10)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {create_token(user, 'a')[1]}")
    answer = api.post("/api/v1/vms/group/start", {"ids": list(range(1, 9))}, format="json")
    assert (answer.status_code, answer.headers["RateLimit-Remaining"]) == (200, "2")
    assert api.post("/api/v1/vms/group/start", {"ids": [1, 2, 3]}, format="json").status_code == 429


def test_no_limit_counts_nothing(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG, "rate_limit_token", 0)
    monkeypatch.setattr(settings.CONFIG, "rate_limit_address", 0)
    assert "RateLimit-Limit" not in api.get("/api/v1/me").headers
    assert list(client().scan_iter("vmpanel:rate:*")) == []


def test_no_token_is_readable_in_redis(user: User) -> None:
    text = create_token(user, "a")[1]
    APIClient().get("/api/v1/me", headers={"Authorization": f"Bearer {text}"})
    keys = [key.decode() for key in client().scan_iter("vmpanel:rate:*")]
    assert len(keys) == 2 and not any(text in key for key in keys)


def test_while_redis_is_away_calls_go_on(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def away() -> redis.Redis:
        asked.append(1)
        return redis.Redis(unix_socket_path="/nonexistent/redis.sock")

    monkeypatch.setattr(rates, "client", away)
    assert [api.get("/api/v1/me").status_code for _ in range(3)] == [200] * 3
    assert len(asked) == 1, "each call would wait for a Redis that is away"
