"""What cannot be taken back is asked in a dialog that names what is lost, and done once that is posted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from panel.accounts.models import BrowserSession, SshKey, Token, User
from panel.images.models import Iso
from panel.tasks.models import Status, StepStatus, Task, TaskStep
from panel.webhooks.models import Delivery, Webhook
from tests.db.web.test_cluster_pages import post
from tests.db.web.test_pages import signed_in

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
Made = tuple[str, list[str], Callable[[], Any], Any]


def _ssh_key(user: User) -> Made:
    key = SshKey.objects.create(user=user, name="laptop", public_key="ssh-ed25519 AAAAlaptop anna@laptop")
    said = ["laptop", "ssh-ed25519 AAAAlaptop"]
    return f"/profile/do/ssh-key-remove?id={key.pk}", said, SshKey.objects.count, 0


def _token(user: User) -> Made:
    used = {"last_used_at": timezone.now(), "last_used_from": "192.0.2.77"}
    token = Token.objects.create(user=user, name="billing", digest="x", rights=[], **used)
    Webhook.objects.create(owner=user, token=token, url="https://billing.example/", events=["*"], sealed=b"x")
    said = ["billing", "192.0.2.77", "https://billing.example/"]
    return f"/profile/do/token-revoke?id={token.pk}", said, Token.objects.count, 0


def _session(user: User, name: str = "f") -> None:
    about = {"agent": FIREFOX, "address": "192.0.2.9", "expires_at": timezone.now() + timedelta(days=1)}
    BrowserSession.objects.create(id=name * 64, user=user, **about)


def _sessions(user: User) -> Made:
    _session(user)
    count = BrowserSession.objects.filter(id="f" * 64).count
    return "/profile/do/sessions-end", ["Firefox 140", "192.0.2.9"], count, 0


def _iso(user: User) -> Made:
    iso = Iso.objects.create(owner=user, name="rescue", file_name="isos/none.iso", size_bytes=3 << 20)
    return f"/isos/{iso.pk}/delete", ["rescue", "3 MiB"], Iso.objects.count, 0


def _webhook(user: User) -> Made:
    hook = Webhook.objects.create(owner=user, url="https://billing.example/", events=["*"], sealed=b"x")
    for number in range(2):
        Delivery.objects.create(webhook=hook, key=str(number), event="task.done", data={})
    said = ["https://billing.example/", "2 deliveries that are known", "2 events that are not delivered yet"]
    return f"/webhooks/{hook.pk}/delete", said, Webhook.objects.count, 0


def _task(user: User, status: str) -> Task:
    about = {"operation": "vm.start", "title": "Start VM shop", "object_type": "vm", "object_id": 7}
    task = Task.objects.create(owner=user, status=status, **about)
    TaskStep.objects.create(task=task, position=0, name="a", title="Make the disk", status=StepStatus.DONE)
    TaskStep.objects.create(task=task, position=1, name="b", title="Start it", status=StepStatus.PENDING)
    return task


def _cancel(user: User) -> Made:
    task = _task(user, Status.RUNNING)
    return f"/tasks/{task.pk}/cancel", ["Make the disk"], lambda: bool(Task.objects.get().cancel_requested_by), True


def _give_up(user: User) -> Made:
    task = _task(user, Status.STUCK)
    return f"/tasks/{task.pk}/give-up", ["Make the disk"], lambda: Task.objects.get().status, Status.FAILED


OWN = {"ssh key": _ssh_key, "token": _token, "sessions": _sessions, "iso": _iso, "webhook": _webhook, "cancel": _cancel}


@pytest.mark.parametrize("name", [*OWN, "give up"])
def test_what_is_lost_is_named_before_it_is_done(name: str, user: User, admin: User) -> None:
    viewer = admin if name == "give up" else user
    client = signed_in(viewer)
    address, said, read, then = OWN[name](viewer) if name in OWN else _give_up(viewer)
    before = read()
    page = client.get(address, secure=True)
    assert page.status_code == 200 and read() == before != then
    assert [each for each in said if each not in page.content.decode()] == []
    if name != "sessions":
        stranger = signed_in(User.objects.create_user("boris", "x"))
        assert stranger.get(address, secure=True).status_code == post(stranger, address).status_code == 404
    assert post(client, address).status_code == 204
    assert read() == then


@pytest.mark.parametrize("deed", ["disable", "sessions-end", "reset-second-factor"])
def test_what_a_user_loses_is_named_before_it_is_done(deed: str, user: User, admin: User) -> None:
    _session(user)
    Token.objects.create(user=user, name="billing", digest="x")
    address = f"/users/{user.pk}/do/{deed}"
    client: Client = signed_in(admin)
    page = client.get(address, secure=True).content.decode()
    said = {"disable": ["Firefox 140", "1 token"], "sessions-end": ["Firefox 140"]}.get(deed, ["the recovery codes"])
    assert [each for each in [user.name, *said] if each not in page] == []
    user.refresh_from_db()
    assert user.is_active and BrowserSession.objects.filter(user=user).exists()
    answer = post(client, address)
    user.refresh_from_db()
    assert answer.status_code == 204 and user.is_active is (deed != "disable")
    assert BrowserSession.objects.filter(user=user).exists() is (deed == "reset-second-factor")
