"""Uploads through the panel's ASGI application: nothing of a body is read before its sender is known, nor kept."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection

from panel import asgi, serving
from panel.accounts.models import Level, Token, User
from panel.accounts.tokens import create_token
from panel.api import isos, streaming
from panel.asgi import application
from panel.core.gate import Gate
from panel.images import incoming
from panel.images.models import Iso
from tests.db.images.test_isos import MIB, files, iso_file

PIECE = 64 * 1024


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images for each test."""
    monkeypatch.setattr(type(settings.CONFIG), "images_dir", tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own: a call has an event loop of its own here, and what it gives back as that ends is lost."""
    gate = Gate(serving.UPLOADS, serving.UPLOADS, serving.WAIT_SECONDS, "upload", serving.keep_connection)
    monkeypatch.setattr(asgi._handler, "uploads", gate)


class Client:
    """One request: gives its body piece by piece, and keeps what it was answered."""

    def __init__(
        self, user: User | None, content: bytes, meanwhile: Callable[[int], None] = lambda taken: None
    ) -> None:
        self.headers = [(b"host", b"localhost"), (b"content-length", str(len(content)).encode())]
        self.headers.append((b"content-type", b"application/octet-stream"))
        if user is not None:
            self.headers.append((b"authorization", f"Bearer {create_token(user, 'upload')[1]}".encode()))
        self.pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
        self.taken, self.sent, self.meanwhile = 0, list[dict[str, Any]](), meanwhile
        self.answered_after, self.ended_after = list[int](), 0
        self.breaks_after: int | None = None
        self.stalls_after = len(self.pieces)

    async def receive(self) -> dict[str, Any]:
        """The next piece; then nothing more happens."""
        if self.breaks_after == self.taken:
            return {"type": "http.disconnect"}
        if self.taken == self.stalls_after:
            return await asyncio.Future()
        self.taken += 1
        self.meanwhile(self.taken)
        more = self.taken < len(self.pieces)
        return {"type": "http.request", "body": self.pieces[self.taken - 1], "more_body": more}

    async def send(self, message: dict[str, Any]) -> None:
        """What the panel answers, and after how many pieces."""
        self.sent.append(message)
        self.answered_after += [self.taken] * bool(message.get("body"))
        self.ended_after = self.taken

    def call(self, query: str = "name=installer", path: str = "/api/v1/isos") -> tuple[int, dict[str, Any]]:
        """The answer to the whole."""
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "scheme": "https", "path": path,
            "query_string": query.encode(), "headers": self.headers, "client": ("127.0.0.1", 1), "root_path": "",
        }  # fmt: skip
        async_to_sync(application)(scope, self.receive, self.send)
        body = b"".join(each.get("body", b"") for each in self.sent)
        return self.sent[0]["status"], json.loads(body)


def test_a_body_is_taken_piece_by_piece_by_another_thread_than_the_event_loop_s(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops, writers = set[int](), set[int]()
    add, largest = incoming.Part.add, []

    def noted(part: incoming.Part, block: bytes) -> None:
        writers.add(threading.get_ident())
        largest.append(len(block))
        add(part, block)

    monkeypatch.setattr(incoming.Part, "add", noted)
    content = iso_file(5 * MIB + 7)
    status, told = Client(user, content, lambda taken: loops.add(threading.get_ident())).call()
    assert (status, told["owner"], told["size_bytes"]) == (201, "anna", len(content))
    assert Iso.objects.get().path.read_bytes() == content
    assert max(largest) < incoming.BLOCK + PIECE and not loops & writers


def test_nothing_is_read_of_what_nobody_may_send(user: User) -> None:
    reader = User.objects.create(name="reader", level=Level.READONLY)
    for sender, status in ((None, 401), (reader, 403)):
        client = Client(sender, iso_file())
        assert client.call()[0] == status and client.answered_after == [0]
    client = Client(user, iso_file())
    assert client.call("name=Not+a+name")[0] == 400 and client.answered_after == [0]
    assert files() == []


def test_a_body_ends_with_its_senders_token(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isos, "ASK_SECONDS", 0.0)

    def revoke() -> None:
        Token.objects.filter(user=user).delete()
        connection.close()

    def meanwhile(taken: int) -> None:
        if taken == 40:
            thread = threading.Thread(target=revoke)
            thread.start()
            thread.join()

    status, told = Client(user, iso_file(5 * MIB), meanwhile).call()
    assert (status, told["code"]) == (401, "bad_credentials")
    assert files() == [] and not Iso.objects.exists()


def test_a_refused_body_is_taken_in_and_thrown_away_so_that_its_client_reads_why(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(user, bytes(5 * MIB))
    assert client.call()[0] == 400
    assert client.answered_after[0] < client.ended_after == len(client.pieces) and files() == []
    # Not for ever.
    monkeypatch.setattr(streaming, "LINGER_SILENT_SECONDS", 0.1)
    client = Client(user, bytes(5 * MIB))
    client.stalls_after = 40
    assert client.call()[0] == 400 and client.ended_after == 40
    monkeypatch.setattr(streaming, "LINGER_SECONDS", 0.2)
    endless = Endless(user, bytes(PIECE))
    assert endless.call()[0] == 400 and endless.answered_after[0] < endless.ended_after


def test_a_client_that_goes_away_leaves_nothing(user: User) -> None:
    client = Client(user, iso_file(5 * MIB))
    client.breaks_after = 40
    status, told = client.call()
    assert (status, told["field"], client.taken) == (400, "body", 40)
    assert files() == [] and not Iso.objects.exists()


def test_a_client_that_sends_nothing_any_more_is_not_waited_for(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STALL_SECONDS", 0.1)
    client = Client(user, iso_file(5 * MIB))
    client.stalls_after = 40
    assert client.call()[0] == 400 and client.taken == 40 and files() == []


class Endless(Client):
    """A request whose body has no end."""

    async def receive(self) -> dict[str, Any]:
        """The same piece again."""
        await asyncio.sleep(0)
        self.taken += 1
        return {"type": "http.request", "body": self.pieces[0], "more_body": True}


@pytest.mark.parametrize("length", [b"", b"999999999999"])
def test_a_body_that_has_no_end_is_not_waited_for(user: User, length: bytes) -> None:
    client = Endless(user, b"a" * PIECE)
    client.headers = [each for each in client.headers if each[0] not in (b"content-length", b"content-type")]
    client.headers += [(b"content-type", b"application/json"), *([(b"content-length", length)] if length else [])]
    # A body of no announced length is none to REST.
    assert client.call("", "/api/v1/tokens")[0] == (413 if length else 400)
