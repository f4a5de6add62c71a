"""How requests come to views: few threads, turns between callers, refusals in place of a collapse, bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from django.db import connections
from django.http import HttpRequest, HttpResponse

from panel import listening, serving
from panel.core.gate import Crowded, Gate
from panel.serving import Handler

Answer = dict[str, Any]


async def ask(handler: Handler, caller: str, *, slow_body: bool = False, path: str = "/api/v1/vms") -> Answer:
    """A request's status, headers and body."""
    messages: list[dict[str, Any]] = [] if slow_body else [{"type": "http.request", "body": b"", "more_body": False}]
    told: Answer = {"body": b""}

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        told["body"] += message.get("body", b"")
        if message["type"] == "http.response.start":
            told["status"] = message["status"]
            told["headers"] = {name.decode(): value.decode() for name, value in message["headers"]}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "root_path": "", "scheme": "https"}
    headers = [(b"host", b"127.0.0.1"), (b"authorization", caller.encode())]
    await handler({**scope, "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}, receive, send)
    return told


class Views:
    """In place of all views: each request waits until it is let go; who was begun, in which thread."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.begun.append(request.headers["Authorization"])
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(20)
        return HttpResponse("done")


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Handler:
    """Two threads, and room for four who wait."""
    found = Handler()
    found.gate = Gate(2, 4, 5.0)
    return found


async def until(ready: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0.01)


def run(work: Awaitable[None]) -> None:
    """Carry out a coroutine."""
    asyncio.run(work)  # type: ignore[arg-type]


def test_what_is_too_much_is_refused_and_told_when_to_come_again(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = Views()
    monkeypatch.setattr(handler, "get_response", views)

    async def storm() -> None:
        asked = [asyncio.create_task(ask(handler, "one")) for _ in range(10)]
        await until(lambda: sum(each.done() for each in asked) == 4)
        views.go.set()
        answers = await asyncio.gather(*asked)
        refused = [each for each in answers if each["status"] == 503]
        assert [each["status"] for each in answers].count(200) == 6 and len(refused) == 4
        assert all(int(each["headers"]["retry-after"]) > 0 for each in refused)
        problem = json.loads(refused[0]["body"])
        assert (problem["code"], problem["instance"]) == ("overloaded", "/api/v1/vms")
        assert problem["request_id"] == refused[0]["headers"]["x-request-id"]

    run(storm())
    assert len(views.threads) == 2


def test_callers_take_turns_and_the_greediest_gives_way(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Views()
    monkeypatch.setattr(handler, "get_response", views)

    async def storm() -> None:
        many = [asyncio.create_task(ask(handler, "many")) for _ in range(6)]
        await until(lambda: len(views.begun) == 2 and handler.gate._count == 4)
        other = asyncio.create_task(ask(handler, "other"))
        await until(lambda: any(each.done() for each in many))
        views.go.set()
        assert (await other)["status"] == 200
        assert sorted([(await each)["status"] for each in many]) == [200] * 5 + [503]

    run(storm())
    # Behind the two that were under way and one that waited before it, not behind all.
    assert views.begun.index("other") <= 3


def test_a_thread_that_somebody_waited_for_in_vain_is_the_next_ones() -> None:
    async def storm() -> None:
        gate = Gate(1, 5, 0.05)
        turn = await gate.enter(b"one")
        with pytest.raises(Crowded):
            await gate.enter(b"two")
        gone = asyncio.create_task(gate.enter(b"three"))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        turn.end()
        turn.end()
        await until(lambda: len(gate._free) == 1)
        (await gate.enter(b"four")).end()
        assert gate._count == 0 and not gate._rows

    run(storm())


def test_a_body_that_does_not_arrive_holds_no_thread_and_ends(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "BODY_SECONDS", 0.2)
    views = Views()
    views.go.set()
    monkeypatch.setattr(handler, "get_response", views)

    async def storm() -> None:
        slow = [asyncio.create_task(ask(handler, "slow", slow_body=True)) for _ in range(50)]
        await asyncio.sleep(0)
        assert len(handler.gate._free) == 2
        assert (await ask(handler, "other"))["status"] == 200
        answers = await asyncio.gather(*slow)
        assert {each["status"] for each in answers} == {408}
        assert json.loads(answers[0]["body"])["code"] == "too_slow"

    run(storm())


def test_threads_keep_their_connections_and_are_few(handler: Handler) -> None:
    seen: set[tuple[str, int]] = set()

    def view(request: HttpRequest) -> HttpResponse:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID(), @@max_statement_time")
            number, limit = cursor.fetchone()
        seen.add((threading.current_thread().name, number))
        assert float(limit) == serving.STATEMENT_SECONDS
        return HttpResponse("done")

    handler.get_response = view  # type: ignore[method-assign]
    handler.gate = Gate(2, 4, 5.0, begin=serving.keep_connection)

    async def storm() -> None:
        for _ in range(3):
            await asyncio.gather(*(ask(handler, "one") for _ in range(4)))

    run(storm())
    assert len(seen) == len({thread for thread, _number in seen}) <= 2


def test_a_head_that_does_not_end_ends_its_connection_and_an_idle_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEAD_SECONDS", 0.5)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def closed_after(writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(10):
            while not reader.at_eof():
                writer.write(b"x")
                await asyncio.sleep(0.05)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        return await reader.read()
        return b""

    async def storm() -> None:
        config = uvicorn.Config(
            application, http="panel.listening:Http", port=0, lifespan="off", log_level="error", timeout_keep_alive=75
        )
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        serving_on = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            idle_reader, idle_writer = await asyncio.open_connection(*listener.getsockname())
            idle_writer.write(b"GET / HTTP/1.1\r\nHost: panel\r\n\r\n")
            assert b"200 OK" in await idle_reader.readuntil(b"ok")
            writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
            await closed_after(writer, reader)
            # The other one has been idle for longer than a head may take, and is used again.
            idle_writer.write(b"GET / HTTP/1.1\r\nHost: panel\r\n\r\n")
            assert b"200 OK" in await idle_reader.readuntil(b"ok")
            idle_writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
            await closed_after(idle_writer, idle_reader)
        finally:
            server.should_exit = True
            await serving_on

    run(storm())
