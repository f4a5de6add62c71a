"""Long connections end with what they rest on: the session, the token, the right, the VM that is another's now."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import transaction
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client

from panel.accounts import services
from panel.accounts.models import BrowserSession, Level, Role, Token, User
from panel.accounts.roles import put_role
from panel.accounts.sessions import end_one, end_others
from panel.accounts.tokens import create_token, revoke_token
from panel.api import events as rest_events
from panel.vms.models import Vm
from panel.vms.services import change_owner
from panel.web import console, events, leave
from tests.db.monitoring.messages import make_vm

SOON = 5.0
ENDED = {"type": "websocket.close", "code": 4403, "reason": "You may not use it any more."}
Change = Callable[[User, User], object]


@pytest.fixture(autouse=True)
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a connection here is a change that was told."""
    for module in (events, rest_events, leave):
        monkeypatch.setattr(module, "ASK_SECONDS", 600.0)


@pytest.fixture
def vm(user: User, node: Any) -> Vm:
    """The user's VM."""
    made: Vm = make_vm(node, user, "web1")
    return made


def _end_session(admin: User, user: User) -> None:
    end_one(admin, user, BrowserSession.objects.get(user=user).pk)


def _take_console(admin: User, user: User) -> None:
    role = Role.objects.get(name="customer")
    put_role(admin, {"name": "customer", "level": "user", "rights": ["vms.power"]}, role)


def _give_away(admin: User, user: User) -> None:
    with transaction.atomic():
        change_owner(Vm.objects.get(owner=user), User.objects.create_user("bert"))


OF_SESSIONS: dict[str, Change] = {
    "one session ended": _end_session,
    "all sessions ended": end_others,
    "disabled": lambda admin, user: services.set_active(admin, user, False),
    "another password": lambda admin, user: services.change_user(admin, user, {"password": "battery staple"}),
    "another level": lambda admin, user: services.change_user(admin, user, {"level": "readonly", "role": ""}),
}
OF_TOKENS: dict[str, Change] = {
    "revoked": lambda _admin, user: revoke_token(user, Token.objects.get(user=user).pk),
    "disabled": OF_SESSIONS["disabled"],
}
OF_CONSOLES: dict[str, Change] = {**OF_SESSIONS, "right taken": _take_console, "given away": _give_away}


async def stream(client: AsyncClient, path: str, change: Callable[[], object], **headers: str) -> str:
    """All that a stream tells whose first message is followed by the change; it must end then."""
    answer = await client.get(path, secure=True, headers=headers)
    assert isinstance(answer, StreamingHttpResponse)
    content: Any = answer.streaming_content
    told = bytes(await anext(content))
    # The page's stream asks once more when it has begun to listen.
    reading = asyncio.ensure_future(_rest(content))
    await asyncio.sleep(0.05)
    assert not reading.done()
    await sync_to_async(change)()
    return (told + await asyncio.wait_for(reading, SOON)).decode()


async def _rest(content: Any) -> bytes:
    return b"".join([bytes(each) async for each in content])


@pytest.mark.parametrize("path", ["/events", "/api/v1/events"])
@pytest.mark.parametrize("change", ["one session ended", "disabled", "another level"])
def test_a_pages_events_end_with_its_session(admin: User, user: User, path: str, change: str) -> None:
    client = AsyncClient()
    client.force_login(user)
    told = async_to_sync(stream)(client, path, lambda: OF_SESSIONS[change](admin, user))
    assert "event: hello" in told and "rights" not in told


@pytest.mark.parametrize("change", OF_TOKENS)
def test_a_tokens_events_end_with_it(admin: User, user: User, change: str) -> None:
    header = f"Bearer {create_token(user, 'events')[1]}"
    told = async_to_sync(stream)(
        AsyncClient(), "/api/v1/events", lambda: OF_TOKENS[change](admin, user), Authorization=header
    )
    assert "event: hello" in told and "rights" not in told


class Screen:
    """A browser's console, and the guest's end of it."""

    def __init__(self, client: Client, vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
        near, self.far = socket.socketpair()
        monkeypatch.setattr(console, "_open_vnc", lambda vm: near)
        cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
        self.scope = {
            "path": f"/console/{console.make_link(int(client.session['_auth_user_id']), vm.pk)}",
            "headers": [(b"cookie", cookie.encode()), (b"host", b"panel"), (b"origin", b"https://panel")],
            "subprotocols": ["binary"],
        }
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run(self, change: Callable[[], object]) -> dict[str, Any]:
        """The last message to the browser, after a change that came while the console was open."""
        incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        incoming.put_nowait({"type": "websocket.connect"})
        running = asyncio.ensure_future(console.serve(self.scope, incoming.get, self.said.put))
        try:
            assert (await asyncio.wait_for(self.said.get(), SOON))["type"] == "websocket.accept"
            await asyncio.sleep(0.05)
            assert not running.done()
            await sync_to_async(change)()
            await asyncio.wait_for(running, SOON)
        finally:
            self.far.close()
        last = {}
        while not self.said.empty():
            last = self.said.get_nowait()
        return last


@pytest.mark.parametrize("change", OF_CONSOLES)
def test_a_console_ends_with_its_session_right_or_vm(
    admin: User, user: User, vm: Vm, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.role = Role.objects.create(name="customer", level=Level.USER, rights=["vms.console", "vms.power"])
    user.save()
    client = Client()
    client.force_login(user)
    screen = Screen(client, vm, monkeypatch)
    assert async_to_sync(screen.run)(lambda: OF_CONSOLES[change](admin, user)) == ENDED


def test_a_console_in_an_account_that_an_administrator_opened_ends_with_theirs(
    admin: User, user: User, vm: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = User.objects.create_user("helper", level=Level.ADMIN)
    client = Client()
    client.force_login(helper)
    client.post(f"/users/{user.pk}/open", secure=True)
    screen = Screen(client, vm, monkeypatch)
    assert async_to_sync(screen.run)(lambda: services.set_active(admin, helper, False)) == ENDED


@pytest.mark.parametrize("what", ["/events", "/api/v1/events", "console"])
def test_a_change_that_was_not_told_ends_them_at_the_next_look(
    user: User, vm: Vm, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (events, rest_events, leave):
        monkeypatch.setattr(module, "ASK_SECONDS", 0.5)

    def disable() -> None:
        User.objects.filter(pk=user.pk).update(is_active=False)

    if what == "console":
        client = Client()
        client.force_login(user)
        assert async_to_sync(Screen(client, vm, monkeypatch).run)(disable) == ENDED
        return
    page = AsyncClient()
    page.force_login(user)
    assert "event: hello" in async_to_sync(stream)(page, what, disable)
