"""A call with an idempotency key is carried out once, however often it is sent."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import SshKey, Token, User
from panel.api import idempotency
from panel.api.models import KeptAnswer

KEY = {"Idempotency-Key": "order-1"}
SSH = {
    "name": "laptop",
    "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtOAZ0PNw1nGgk5jLkVUJ0Pmvi1eCUW",
}


def test_the_same_call_is_given_the_same_answer(api: APIClient) -> None:
    first = api.post("/api/v1/tokens", {"name": "billing"}, headers=KEY)
    again = api.post("/api/v1/tokens", {"name": "billing"}, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json() and again.json()["token"]
    assert (again.headers["Idempotency-Replayed"], Token.objects.count()) == ("true", 1)


def test_an_answer_that_holds_a_token_is_not_readable_where_it_is_kept(api: APIClient) -> None:
    text = api.post("/api/v1/tokens", {"name": "billing"}, headers=KEY).json()["token"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM api_keptanswer")
        assert text not in str(cursor.fetchall())


def test_another_call_with_the_key_is_refused(api: APIClient) -> None:
    api.post("/api/v1/tokens", {"name": "billing"}, headers=KEY)
    for path, body in (("/api/v1/tokens", {"name": "other"}), ("/api/v1/ssh-keys", SSH)):
        answer = api.post(path, body, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_mismatch")


def test_another_user_s_key_is_another_key(api: APIClient, api_as_user: APIClient) -> None:
    api.post("/api/v1/ssh-keys", SSH, headers=KEY)
    assert api_as_user.post("/api/v1/ssh-keys", SSH, headers=KEY).status_code == 201
    assert SshKey.objects.count() == 2


def test_a_call_that_was_refused_may_be_tried_again(api: APIClient) -> None:
    assert api.post("/api/v1/ssh-keys", {**SSH, "public_key": "no"}, headers=KEY).status_code == 400
    assert api.post("/api/v1/ssh-keys", SSH, headers=KEY).status_code == 201
    taken = api.post("/api/v1/ssh-keys", SSH, headers={"Idempotency-Key": "order-2"})
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert KeptAnswer.objects.count() == 1


@pytest.mark.parametrize("key", ["", "x" * 129])
def test_a_key_that_cannot_be_kept_is_refused(api: APIClient, key: str) -> None:
    answer = api.post("/api/v1/tokens", {"name": "billing"}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


def test_the_same_call_at_the_same_moment_is_carried_out_once(admin: User) -> None:
    answers = []

    def call() -> None:
        client = APIClient()
        client.force_authenticate(admin)
        answers.append(client.post("/api/v1/tokens", {"name": "billing"}, headers=KEY))
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["token"] for answer in answers}) == Token.objects.count() == 1


def test_answers_are_forgotten_after_a_while(api: APIClient) -> None:
    api.post("/api/v1/tokens", {"name": "billing"}, headers=KEY)
    idempotency.purge()
    assert KeptAnswer.objects.count() == 1
    KeptAnswer.objects.update(created_at=timezone.now() - timedelta(days=idempotency.KEEP_DAYS + 1))
    idempotency.purge()
    assert KeptAnswer.objects.count() == 0
