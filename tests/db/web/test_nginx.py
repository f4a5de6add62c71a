"""nginx as it is packaged (packaging/nginx) before the panel's own server."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from panel.config import Config, parse
from panel.core import proxies
from panel.standalone.door import listeners, server
from panel.standalone.options import TOP
from panel.standalone.options import parse as options
from panel.standalone.setup import Layout, make_certificate
from tests.stack import wait_until

Send = Callable[[dict[str, Any]], Awaitable[None]]
MIB = 1024 * 1024
MAIN = """
daemon off; user root; worker_processes 1; pid {var}/nginx.pid; error_log {var}/nginx.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {var}/body; proxy_temp_path {var}/proxy; fastcgi_temp_path {var}/fastcgi;
    uwsgi_temp_path {var}/uwsgi; scgi_temp_path {var}/scgi;
    include {var}/vmpanel.conf;
}}
"""
"""What the distribution's nginx.conf has."""

pytestmark = pytest.mark.skipif(not shutil.which("nginx"), reason="no nginx")


@pytest.fixture(autouse=True)
def database() -> None:
    """None is needed."""


class Told:
    """An application that tells of the requests that come, as the panel is told."""

    def __init__(self) -> None:
        self.first_part = threading.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Answers by who asked; takes a body as it comes; accepts WebSockets; sends an event at a time."""
        scope = proxies.seen_from(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": (await receive())["text"]})
            return
        more = True
        while more:
            part = await receive()
            more = part.get("more_body", False)
            self.first_part.set()
        headers = [(b"x-accel-buffering", b"no"), (b"x-frame-options", b"DENY")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        told = f"{scope['scheme']} {scope['client'][0]} {scope['path']}\n"
        await send({"type": "http.response.body", "body": told.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture(scope="module")
def application() -> Told:
    """What is behind nginx."""
    return Told()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The panel's, with a certificate."""
    var = tmp_path_factory.mktemp("nginx")
    layout = Layout(options(["--var", str(var)]))
    layout.tls.mkdir()
    make_certificate(layout)
    return parse(f"VarDir={var}\nListenIp=127.0.0.1\nListenPort={free_ports(1)[0]}\nListenSocket={var}/panel.sock")


@pytest.fixture(scope="module")
def ports(application: Told, config: Config) -> Iterator[tuple[int, int]]:
    """nginx's two ports; it and the panel's server run."""
    door = server(config, application)
    thread = threading.Thread(target=door.run, args=(listeners(config),))
    thread.start()
    found = free_ports(2)
    packaged = (TOP / "packaging" / "nginx" / "vmpanel.conf").read_text()
    packaged = packaged.replace("/run/vmpanel/panel.sock", config.listen_socket)
    packaged = packaged.replace("/etc/vmpanel/tls", str(config.certificate_path.parent)).replace("listen [::]", "#")
    for usual, own in zip(("listen 443 ", "listen 1500 "), found, strict=True):
        assert usual in packaged
        packaged = packaged.replace(usual, f"listen 127.0.0.1:{own} ")
    (config.var_dir / "vmpanel.conf").write_text(packaged)
    main = config.var_dir / "nginx.conf"
    main.write_text(MAIN.format(var=config.var_dir))
    nginx = subprocess.Popen(["nginx", "-e", str(config.var_dir / "nginx.log"), "-c", str(main)])
    try:
        for port in found:
            wait_until(lambda port=port: answers(port), f"nginx listens on {port}", 20)
        yield (found[0], found[1])
    finally:
        nginx.terminate()
        nginx.wait(20)
        door.should_exit = True
        thread.join(20)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def trusting(config: Config) -> ssl.SSLContext:
    """Believes the panel's certificate alone."""
    return ssl.create_default_context(cafile=str(config.certificate_path))


def test_both_ports_lead_to_the_panel_with_the_callers_own_address(
    ports: tuple[int, int], trusting: ssl.SSLContext
) -> None:
    for port in ports:
        forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"}
        answer = httpx.get(f"https://127.0.0.1:{port}/vms", verify=trusting, headers=forged)
        assert (answer.status_code, answer.text) == (200, "https 127.0.0.1 /vms\nend")
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert not any(char.isdigit() for char in answer.headers["Server"]), "its version is nobody's business"


def test_browsers_get_http_2(ports: tuple[int, int], config: Config) -> None:
    context = ssl.create_default_context(cafile=str(config.certificate_path))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", ports[0]), 20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_is_led_to_https(ports: tuple[int, int], method: str) -> None:
    at = f"127.0.0.1:{ports[1]}/vmmgr?func=vm"
    answer = httpx.request(method, f"http://{at}")
    assert (answer.status_code, answer.headers["Location"]) == (308, f"https://{at}")


def test_an_upload_reaches_the_panel_as_it_comes(
    ports: tuple[int, int], application: Told, trusting: ssl.SSLContext
) -> None:
    application.first_part.clear()
    client = http.client.HTTPSConnection("127.0.0.1", ports[0], timeout=20, context=trusting)
    client.putrequest("PUT", "/upload")
    client.putheader("Content-Length", str(4 * MIB))
    client.endheaders()
    client.send(b"x" * MIB)
    assert application.first_part.wait(20), "nginx keeps the body back until it has all of it"
    client.send(b"x" * 3 * MIB)
    assert client.getresponse().read().endswith(b"end")
    client.close()


def test_a_console_s_websocket_passes(ports: tuple[int, int], trusting: ssl.SSLContext) -> None:
    from websockets.sync.client import connect

    with connect(f"wss://127.0.0.1:{ports[0]}/vms/1/console", ssl=trusting, open_timeout=20) as console:
        console.send("typed")
        assert console.recv(timeout=20) == "typed"
