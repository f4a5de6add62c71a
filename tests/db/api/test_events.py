"""Events of the API: what one may see, in order, and on from where one left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.http import StreamingHttpResponse
from django.test import AsyncClient

from panel.accounts.models import Token, User
from panel.accounts.tokens import create_token
from panel.api import events
from panel.core import live
from panel.core.redis_client import client

PATH = "/api/v1/events"


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing was told yet, and heartbeats come at once."""
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    client().delete(live.STREAM)
    yield
    client().delete(live.STREAM)


def listen(
    user: User | None,
    count: int,
    last: str | None = None,
    query: str = "",
    meanwhile: Any = None,
    *,
    with_beats: bool = False,
) -> Any:
    """The first `count` messages of a stream, or all of it, as [{id, event, data}]; or the answer that refused it.

    Heartbeats, which come whenever the machine is slow, are left out unless they are asked for.
    """
    headers = {} if user is None else {"Authorization": f"Bearer {create_token(user, 'events')[1]}"}
    if last is not None:
        headers["Last-Event-ID"] = last

    async def run() -> Any:
        answer = await AsyncClient().get(f"{PATH}{query}", headers=headers)
        if not isinstance(answer, StreamingHttpResponse):
            return answer
        found: list[dict[str, str]] = []
        content: Any = answer.streaming_content
        async for message in content:
            told = parsed(message.decode())
            if "" in told and not with_beats:
                continue
            found.append(told)
            if len(found) == 1 and meanwhile is not None:
                await sync_to_async(meanwhile)()
            if len(found) == count:
                break
        await content.aclose()
        return found

    return async_to_sync(run)()


def parsed(text: str) -> dict[str, str]:
    """The fields of one message; a comment is under ""."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines() if line)}


def test_events_come_in_their_order_with_ids(admin: User) -> None:
    def tell() -> None:
        for number in range(3):
            live.publish("node", {"id": number, "state": "ready"})

    hello, *told = listen(admin, 4, meanwhile=tell)
    assert hello["event"] == "hello" and hello["id"]
    assert [json.loads(each["data"])["id"] for each in told] == [0, 1, 2]
    assert len({each["id"] for each in told}) == 3


def test_the_first_event_of_all_is_told_whatever_the_clock_says(admin: User) -> None:
    """One that came in the millisecond of the question was lost."""

    def tell() -> None:
        client().xadd(live.STREAM, {"event": json.dumps({"topic": "node", "id": 7})}, id="0-1")

    hello, told = listen(admin, 2, meanwhile=tell)
    assert (hello["event"], told["id"], json.loads(told["data"])["id"]) == ("hello", "0-1", 7)


def test_one_goes_on_after_the_last_event_that_one_has(admin: User) -> None:
    for number in range(5):
        live.publish("node", {"id": number})
    ids = [entry[0].decode() for entry in client().xrange(live.STREAM)]
    hello, *told = listen(admin, 4, last=ids[1])
    assert hello["event"] == "hello"
    assert [each["id"] for each in told] == ids[2:]


def test_whoever_comes_back_too_late_is_told_so(admin: User) -> None:
    for number in range(5):
        live.publish("node", {"id": number})
    ids = [entry[0].decode() for entry in client().xrange(live.STREAM)]
    client().xtrim(live.STREAM, maxlen=2, approximate=False)
    (first,) = listen(admin, 1, last=ids[0])
    assert (first["event"], first["id"]) == ("reset", ids[-1])
    client().delete(live.STREAM)
    assert listen(admin, 1, last=ids[4])[0]["event"] == "reset"
    live.publish("node", {"id": 9})
    assert listen(admin, 1, last="99999999999999-0")[0]["event"] == "reset"


def test_only_what_one_may_see_is_told_and_the_rest_moves_the_id_on(user: User, admin: User) -> None:
    live.publish("vm", {"id": 0, "owner": user.pk})
    start = client().xrange(live.STREAM)[0][0].decode()
    live.publish("vm", {"id": 1, "owner": admin.pk})
    live.publish("node", {"id": 2})
    live.publish("vm", {"id": 3, "owner": user.pk})
    live.publish("problem", {"id": 4})
    end = client().xrange(live.STREAM)[-1][0].decode()

    _hello, told, beat = listen(user, 3, last=start, with_beats=True)
    event = json.loads(told["data"])
    assert (event["id"], event["owner"], event["at"][-1]) == (3, user.name, "Z")
    (_hello, of_another) = listen(admin, 2, last=start)
    assert json.loads(of_another["data"])["owner"] == admin.name
    assert json.loads(of_another["data"])["sequence"] < event["sequence"]
    assert (beat[""], beat["id"]) == ("still here", end)


def test_events_of_one_microsecond_have_numbers_of_their_own(admin: User) -> None:
    """Whichever process tells them, and whatever its clock says; another object has its own."""
    at = datetime(2030, 1, 2, tzinfo=UTC)
    early = at - timedelta(seconds=1)
    for number, when in ((1, at), (1, at), (1, early), (2, at)):
        live.publish("task", {"id": number, "owner": admin.pk, "at": when})
    told = [json.loads(fields[b"event"]) for _, fields in client().xrange(live.STREAM)]
    first = int(at.timestamp()) * 1_000_000
    assert [each["sequence"] for each in told] == [first, first + 1, first + 2, first]
    # The time stays what it was.
    assert told[2]["at"] == "2030-01-01T23:59:59Z"
    for number in (1, 2):
        client().delete(f"{live.STREAM}:task:{number}")


def test_a_token_without_the_right_is_told_nothing(user: User) -> None:
    narrowed = create_token(user, "narrow", rights=["tasks.view"])[0]
    user.scope = frozenset(narrowed.rights or [])
    assert not live.may_see(user, {"topic": "vm", "id": 1, "owner": user.pk})
    assert live.may_see(user, {"topic": "task", "id": 1, "owner": user.pk})


def test_topics_can_be_chosen(admin: User) -> None:
    def tell() -> None:
        live.publish("vm", {"id": 1, "owner": admin.pk})
        live.publish("node", {"id": 2})

    _hello, told = listen(admin, 2, query="?topics=node,problem", meanwhile=tell)
    assert told["event"] == "node"


def test_what_cannot_be_listened_to_is_a_problem(admin: User) -> None:
    nobody = listen(None, 1)
    assert (nobody.status_code, nobody.headers["Content-Type"]) == (401, "application/problem+json")
    assert listen(admin, 1, last="x").json()["field"] == "Last-Event-ID"
    assert listen(admin, 1, query="?topics=x").json()["field"] == "topics"
    assert listen(admin, 1, query="?surprise=x").status_code == 400


def test_a_token_that_is_revoked_ends_the_stream(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ASK_SECONDS", 0.0)
    hello, *beats = listen(admin, 100, meanwhile=lambda: Token.objects.all().delete(), with_beats=True)
    assert hello["event"] == "hello"
    assert len(beats) < 50


def test_the_stream_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEPT", 100)
    live.publish_many("node", [{"id": number} for number in range(1000)])
    # Redis forgets whole blocks of a hundred.
    assert client().xlen(live.STREAM) <= 200
