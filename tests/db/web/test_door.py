"""The panel's own server: TLS, the way there for who speaks plain http, and further ports."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from panel.config import Config, parse
from panel.core.errors import ConfigError
from panel.standalone.door import Door, listen_locally, listeners, redirect_for, server
from panel.standalone.options import parse as options
from panel.standalone.setup import Layout, make_certificate

SECONDS = 10.0
Send = Callable[[dict[str, Any]], Awaitable[None]]


@pytest.fixture(autouse=True)
def database() -> None:
    """None is needed."""


async def application(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """Answers with the address that was asked for."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{scope['scheme']} {scope['path']}".encode()})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Ports that are free, and a certificate."""
    var = tmp_path_factory.mktemp("door")
    layout = Layout(options(["--var", str(var)]))
    layout.tls.mkdir()
    make_certificate(layout)
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in free]
    for each in free:
        each.close()
    return parse(
        f"VarDir={var}\nListenIp=127.0.0.1\nListenPort={ports[0]}\nListenAlso={ports[1]}\nListenSocket={var}/panel.sock"
    )


@pytest.fixture(scope="module")
def door(config: Config) -> Iterator[Door]:
    """The server, running."""
    running = server(config, application)
    thread = threading.Thread(target=running.run, args=(listeners(config),))
    thread.start()
    until = time.monotonic() + SECONDS
    while not running.started and time.monotonic() < until:
        time.sleep(0.01)
    yield running
    running.should_exit = True
    thread.join(SECONDS)
    assert not thread.is_alive()


@pytest.fixture
def trusting(config: Config) -> ssl.SSLContext:
    """Believes the panel's certificate alone."""
    return ssl.create_default_context(cafile=str(config.certificate_path))


def test_each_port_answers_https(door: Door, config: Config, trusting: ssl.SSLContext) -> None:
    for port in (config.listen_port, *config.listen_also):
        answer = httpx.get(f"https://127.0.0.1:{port}/vms", verify=trusting)
        assert (answer.status_code, answer.text) == (200, "https /vms")


def test_a_proxy_of_this_machine_speaks_plain_http_on_a_socket(door: Door, config: Config) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=config.listen_socket)) as proxy:
        for _ in range(2):
            answer = proxy.get("http://panel/vms")
            assert (answer.status_code, answer.text) == (200, "http /vms")


def test_a_socket_that_a_panel_left_is_taken_over_and_one_in_use_is_not(door: Door, tmp_path: Path) -> None:
    left = tmp_path / "panel.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(left))
    with contextlib.closing(listen_locally(str(left))), pytest.raises(OSError, match="another panel"):
        listen_locally(str(left))


def test_no_answer_waits_for_an_acknowledgement(
    door: Door, config: Config, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []

    class Told(door.config.http_protocol_class):  # type: ignore[misc,name-defined]
        """Says how its socket is set."""

        def connection_made(self, transport: Any) -> None:
            """The moment."""
            plain = transport.get_extra_info("socket")
            kept.append(plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            super().connection_made(transport)

    monkeypatch.setattr(door.config, "http_protocol_class", Told)
    with httpx.Client(verify=trusting) as http:
        assert http.get(f"https://127.0.0.1:{config.listen_port}/").status_code == 200
    assert kept == [1]


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308)])
def test_plain_http_is_led_to_the_same_address_by_https(
    door: Door, config: Config, trusting: ssl.SSLContext, method: str, status: int
) -> None:
    at = f"127.0.0.1:{config.listen_port}/vmmgr?func=vm&out=xml"
    answer = httpx.request(method, f"http://{at}", content=b"x=1" if method == "POST" else None)
    assert (answer.status_code, answer.headers["Location"]) == (status, f"https://{at}")
    followed = httpx.request(method, f"http://{at}", follow_redirects=True, verify=trusting)
    assert followed.status_code == 200


@pytest.mark.parametrize(
    "said", [b"", b"\x00\x01", b"HELLO\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"]
)
def test_what_is_neither_is_ended_and_nobody_waits_for_it(
    door: Door, config: Config, trusting: ssl.SSLContext, said: bytes
) -> None:
    silent = socket.create_connection(("127.0.0.1", config.listen_port))
    with socket.create_connection(("127.0.0.1", config.listen_port), timeout=SECONDS) as odd:
        odd.sendall(said)
        odd.shutdown(socket.SHUT_WR)
        while odd.recv(1024):
            pass
    assert httpx.get(f"https://127.0.0.1:{config.listen_port}/", verify=trusting).status_code == 200
    silent.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /\r\nX: y HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/..\r\n\r\n",
        b"GET http://else.where/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_no_word_of_a_caller_becomes_a_header(head: bytes) -> None:
    assert redirect_for(head) == b""


def test_a_port_that_is_taken_leaves_the_others(config: Config, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = parse(f"VarDir={tmp_path}\nListenIp=127.0.0.1\nListenPort=65123\nListenAlso={port}")
        found = listeners(other)
    assert [each.getsockname()[1] for each in found] == [65123]
    found[0].close()
    for wrong in ("http", "0", "443, 70000"):
        with pytest.raises(ConfigError):
            parse(f"ListenAlso={wrong}")
