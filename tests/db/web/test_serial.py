"""A VM's serial port and picture in a browser: who gets them, what is typed and said, and why one cannot be had."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.test import Client

from nodeagent.protocol import host
from panel.accounts.models import Level, Role, User
from panel.cluster import fake
from panel.cluster.fake import FakeDomain
from panel.vms.models import Vm
from panel.web import console
from tests.contract.subjects import make_spec
from tests.db.monitoring.messages import make_vm

SOON = 5.0


@pytest.fixture
def vm(user: User, node: Any) -> Vm:
    """The user's VM, which runs."""
    made: Vm = make_vm(node, user, "web1")
    fake.node(node.pk).domains[str(made.uuid)] = FakeDomain(make_spec("local", uuid=str(made.uuid)), "running")
    return made


class Browser:
    """One that opens the port by a link of its own."""

    def __init__(self, client: Client, token: str) -> None:
        cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
        self.scope = {
            "path": f"/console/{token}",
            "headers": [(b"cookie", cookie.encode()), (b"host", b"panel"), (b"origin", b"https://panel")],
            "subprotocols": ["binary"],
        }
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.running = asyncio.ensure_future(console.serve(self.scope, self.incoming.get, self.said.put))

    async def hears(self) -> dict[str, Any]:
        """The next message to it."""
        return await asyncio.wait_for(self.said.get(), SOON)

    async def end(self) -> None:
        """It is closed."""
        self.incoming.put_nowait({"type": "websocket.disconnect"})
        await asyncio.wait_for(self.running, SOON)


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _link(client: Client, vm: Vm, kind: str = console.SERIAL) -> str:
    token: str = client.post(f"/vms/{vm.pk}/console/link?kind={kind}", secure=True).json()["token"]
    return token


def _guest(vm: Vm) -> socket.socket:
    return fake.node(vm.node_id).serials[str(vm.uuid)]


def test_the_port_serves_one_at_a_time_and_another_may_take_it(user: User, vm: Vm) -> None:
    client = _signed_in(user)
    links = [_link(client, vm) for _ in range(3)]
    taking = _link(client, vm, console.TAKE_SERIAL)

    async def talk() -> None:
        first = Browser(client, links[0])
        assert (await first.hears())["type"] == "websocket.accept"
        _guest(vm).sendall(b"login: ")
        assert (await first.hears())["bytes"] == b"login: "
        first.incoming.put_nowait({"type": "websocket.receive", "bytes": b"root\r"})
        assert await asyncio.to_thread(_guest(vm).recv, 100) == b"root\r"

        second = Browser(client, links[1])
        assert [(await second.hears()).get("code") for _ in range(2)] == [None, 4409]
        third = Browser(client, taking)
        assert (await third.hears())["type"] == "websocket.accept"
        assert await first.hears() == {"type": "websocket.close", "code": 1000}
        _guest(vm).sendall(b"# ")
        assert (await third.hears())["bytes"] == b"# "
        await third.end()
        # Who leaves frees it.
        fourth = Browser(client, links[2])
        assert (await fourth.hears())["type"] == "websocket.accept"
        await fourth.end()

    async_to_sync(talk)()


@pytest.mark.parametrize(("change", "code"), [("stopped", 4410), ("without a port", 4404), ("unreachable", 4500)])
def test_why_it_cannot_be_had_is_told_by_a_code(user: User, vm: Vm, change: str, code: int) -> None:
    client = _signed_in(user)
    domain = fake.node(vm.node_id).domains[str(vm.uuid)]
    if change == "stopped":
        domain.state = "shut off"
    elif change == "without a port":
        domain.serial = False
    else:
        fake.node(vm.node_id).fail("serial", OSError("away"))

    link = _link(client, vm)

    async def talk() -> None:
        browser = Browser(client, link)
        assert [(await browser.hears()).get("code") for _ in range(2)] == [None, code]

    async_to_sync(talk)()


def test_a_link_of_another_kind_is_none(user: User, vm: Vm) -> None:
    client = _signed_in(user)
    assert client.post(f"/vms/{vm.pk}/console/link?kind=other", secure=True).status_code == 400
    page = client.get(f"/vms/{vm.pk}/serial", secure=True)
    assert page.status_code == 200 and b'data-token="' in page.content


def test_a_vms_picture_is_shown_to_who_may_use_its_console_and_its_node_asked_now_and_then(user: User, vm: Vm) -> None:
    client, path = _signed_in(user), f"/vms/{vm.pk}/picture"
    memory = fake.node(vm.node_id)
    for _ in range(3):
        answer = client.get(path, secure=True)
        assert answer.status_code == 200 and answer.content.startswith(b"\x89PNG")
    assert len([each for each in memory.calls if isinstance(each, host.HostPicture)]) == 1
    assert _signed_in(User.objects.create_user("bert")).get(path, secure=True).status_code == 404
    Vm.objects.update(status="shut off")
    assert client.get(path, secure=True).status_code == 204
    user.role = Role.objects.create(name="looker", level=Level.USER, rights=["vms.power"])
    user.save()
    assert client.get(path, secure=True).status_code == 404
    assert b'id="screen"' not in client.get(f"/vms/{vm.pk}", secure=True).content
