"""Webhooks: what is told to whom, signed, again where it failed, and never to what only the panel reaches."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import Token, User
from panel.accounts.tokens import create_token
from panel.cluster.models import Node
from panel.core import live
from panel.core.redis_client import client
from panel.tasks.models import Status, Task
from panel.webhooks import periodic, sending
from panel.webhooks.collecting import collect
from panel.webhooks.delivering import Deliverer
from panel.webhooks.models import Delivery, DeliveryState, Position, Webhook
from tests.stack import wait_until

SECRET = "a secret of the billing system"


class Receiver:
    """A server on loopback that keeps what it is sent and answers `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.got: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((dict(self.headers), body))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"thank you" * 1000)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A server that webhooks may call."""
    monkeypatch.setattr(settings.CONFIG, "webhook_networks", ("127.0.0.0/8",))
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(autouse=True)
def nothing_told() -> Iterator[None]:
    """The stream of events is empty."""
    client().delete(live.STREAM)
    yield
    client().delete(live.STREAM)


def make(api: APIClient, url: str, *names: str) -> int:
    """A webhook's id; events are read from now on."""
    answer = api.post("/api/v1/webhooks", {"url": url, "events": list(names) or ["*"], "secret": SECRET})
    assert answer.status_code == 201, answer.content
    live.publish("node", {"id": 0})
    collect()
    return int(answer.json()["id"])


def finished(owner: User, status: str = "done", task_id: int = 7) -> None:
    """A task of the owner has ended."""
    live.publish("task", {"id": task_id, "status": status, "owner": owner.pk, "title": "Start web1"})


def send_due() -> list[Delivery]:
    """Make the attempts that are due."""
    due = Delivery.objects.filter(state=DeliveryState.WAITING, next_try_at__lte=timezone.now()).order_by("pk")
    return [found for pk in due.values_list("pk", flat=True) if (found := sending.send(pk)) is not None]


def test_an_event_arrives_with_a_signature_that_its_secret_makes(
    api: APIClient, admin: User, receiver: Receiver
) -> None:
    make(api, receiver.url, "task.done")
    finished(admin)
    collect()
    (delivery,) = send_due()

    ((headers, body),) = receiver.got
    at, digest = (part.partition("=")[2] for part in headers["X-Vmpanel-Signature"].split(","))
    assert digest == hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    told = json.loads(body)
    assert (told["event"], told["data"]["id"], told["id"]) == ("task.done", 7, headers["X-Vmpanel-Delivery"])
    assert told["data"]["owner"] == "admin"
    assert (told["at"], told["sequence"]) == (told["data"]["at"], told["data"]["sequence"])
    assert told["at"].endswith("Z")
    assert (delivery.state, delivery.response_status, delivery.attempts) == (DeliveryState.DELIVERED, 200, 1)
    assert len(delivery.response_text) <= sending.LONGEST_ANSWER


def test_a_tasks_events_say_what_it_was_and_what_came_of_it_as_rest_does(
    api: APIClient, node: Node, receiver: Receiver, run_tasks: Callable[[], None]
) -> None:
    make(api, receiver.url, "task.*")
    asked = api.post("/api/v1/cluster/examine", {}).json()["task"]["id"]
    run_tasks()
    collect()
    queued, done = Delivery.objects.order_by("pk")
    assert (queued.event, done.event) == ("task.queued", "task.done")
    rest = api.get(f"/api/v1/tasks/{asked}").json()
    shared = ("id", "operation", "object_type", "object_id", "object_name", "owner", "title", "request_id")
    for each in (queued, done):
        assert {name: each.data[name] for name in shared} == {name: rest[name] for name in shared}
    assert (done.data["result"], done.data["error"]) == (rest["result"], rest["error"])
    assert (queued.data["at"], done.data["at"]) == (rest["created_at"], rest["finished_at"])
    assert queued.data["sequence"] < done.data["sequence"]
    # The second waits for the first to have been tried, whoever comes to it first.
    assert sending.send(done.pk) is None and receiver.got == []
    assert sending.send(queued.pk) is not None and sending.send(done.pk) is not None
    assert [headers["X-Vmpanel-Event"] for headers, _body in receiver.got] == ["task.queued", "task.done"]


def test_one_that_is_refused_holds_up_no_later_one(api: APIClient, admin: User, receiver: Receiver) -> None:
    make(api, receiver.url, "task.*")
    finished(admin, "queued")
    finished(admin, "done")
    collect()
    first, second = Delivery.objects.order_by("pk")
    receiver.status = 503
    sending.send(first.pk)
    assert sending.send(second.pk) is not None


def test_the_first_event_of_an_installation_is_told(api: APIClient, admin: User, receiver: Receiver) -> None:
    client().delete(live.STREAM)
    Position.objects.all().delete()
    api.post("/api/v1/webhooks", {"url": receiver.url})
    collect()
    finished(admin)
    collect()
    assert [each.event for each in Delivery.objects.all()] == ["task.done"]


def test_only_chosen_events_of_one_s_own_are_told(
    api: APIClient, api_as_user: APIClient, admin: User, user: User, receiver: Receiver
) -> None:
    make(api_as_user, receiver.url, "task.*", "node.state")
    finished(admin, task_id=1)
    finished(user, "failed", task_id=2)
    live.publish("task", {"id": 2, "status": "running", "owner": user.pk})
    live.publish("node", {"id": 3, "state": "ready"})
    live.publish("vm", {"id": 4, "status": "running", "owner": user.pk})
    collect()
    assert [(each.event, each.data["id"]) for each in Delivery.objects.all()] == [("task.failed", 2)]


def test_the_end_of_a_task_is_told_once_however_often_it_is_seen(
    api: APIClient, admin: User, receiver: Receiver
) -> None:
    make(api, receiver.url, "task.done")
    for _ in range(3):
        finished(admin)
        collect()
    collect()
    assert Delivery.objects.count() == 1


def test_what_redis_lost_of_tasks_is_read_from_the_database(api: APIClient, admin: User, receiver: Receiver) -> None:
    make(api, receiver.url)
    now = timezone.now()
    task = Task.objects.create(operation="vm.start", title="t", owner=admin, status=Status.DONE, finished_at=now)
    old = now - timedelta(days=3)
    Task.objects.create(operation="vm.start", title="t", owner=admin, status=Status.DONE, finished_at=old)
    Position.objects.update(last_id=f"{int((now.timestamp() - 60) * 1000)}-0")
    client().delete(live.STREAM)
    live.publish("node", {"id": 3, "state": "ready"})
    collect()
    told = {(each.event, each.data["id"]) for each in Delivery.objects.exclude(data__id=0)}
    assert told == {("task.done", task.pk), ("node.state", 3)}


def test_what_fails_is_tried_again_later_and_given_up_in_the_end(
    api: APIClient, admin: User, receiver: Receiver
) -> None:
    make(api, receiver.url, "task.done")
    receiver.status = 503
    finished(admin)
    collect()
    waits = []
    for _ in range(20):
        if not (sent := send_due()):
            break
        (delivery,) = sent
        if delivery.next_try_at is not None:
            waits.append(round((delivery.next_try_at - timezone.now()).total_seconds(), -1))
        Delivery.objects.filter(next_try_at__isnull=False).update(next_try_at=timezone.now())
    assert waits == list(sending.BACKOFF_SECONDS)
    assert (delivery.state, delivery.response_status) == (DeliveryState.FAILED, 503)
    assert len(receiver.got) == len({body for _headers, body in receiver.got}) * (len(waits) + 1)


class Dripping:
    """A server that sends a byte of its answer now and then, for as long as it is listened to."""

    def __init__(self, begin: bytes) -> None:
        self.begin = begin
        self.server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.getsockname()[1]}/hook"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self.server.accept()
                with contextlib.suppress(OSError), link:
                    link.sendall(self.begin)
                    for _ in range(200):
                        link.sendall(b"x")
                        time.sleep(0.05)


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_an_answer_that_does_not_end_in_time_counts_as_failed(
    api: APIClient, admin: User, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(sending, "DEADLINE_SECONDS", 0.3)
    slow = Dripping(begin)
    make(api, slow.url, "task.done")
    finished(admin)
    collect()
    began = time.monotonic()
    Delivery.objects.update(attempts=len(sending.BACKOFF_SECONDS))
    (delivery,) = send_due()
    slow.server.close()
    assert time.monotonic() - began < 8
    assert (delivery.state, delivery.error) == (DeliveryState.FAILED, "The answer did not end within 0.3 s.")


def test_one_owners_slow_addresses_hold_up_nobody_elses() -> None:
    hanging, sent, under_way = threading.Event(), [], []

    def send(delivery_id: int) -> None:
        under_way.append(delivery_id)
        if delivery_id < 100:
            assert hanging.wait(20)
        sent.append(delivery_id)

    deliverer = Deliverer(send, threads=4, share=2)
    deliverer.offer([(each, 1) for each in range(50)])
    deliverer.offer([*((each, 1) for each in range(50)), *((each, 2) for each in range(100, 110))])
    wait_until(lambda: len(sent) == 10, "the other's are sent", 20)
    assert sorted(sent) == list(range(100, 110)) and [each for each in under_way if each < 100] == [0, 1]
    hanging.set()
    # Each once, although they were offered twice.
    wait_until(lambda: len(sent) == 60, "the slow ones are sent", 20)
    assert sorted(under_way) == [*range(50), *range(100, 110)]


def test_every_owners_first_delivery_is_due_before_anybodys_second(
    api: APIClient, api_as_user: APIClient, admin: User, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(api, "https://hooks.example/a", "task.done")
    make(api_as_user, "https://hooks.example/b", "task.done")
    for number in range(3):
        finished(admin, task_id=number + 1)
    finished(user, task_id=9)
    offered: list[tuple[int, int]] = []
    monkeypatch.setattr(periodic, "_deliverer", SimpleNamespace(offer=offered.extend))
    monkeypatch.setattr(periodic, "AT_ONCE", 2)
    periodic.collect_and_send()
    assert [owner for _delivery, owner in offered] == [admin.pk, user.pk]


def test_a_delivery_is_read_and_sent_again(api: APIClient, admin: User, receiver: Receiver) -> None:
    webhook = make(api, receiver.url, "task.done")
    finished(admin)
    collect()
    send_due()
    path = f"/api/v1/webhooks/{webhook}/deliveries"
    (told,) = api.get(path).json()["results"]
    assert (told["state"], told["response_status"]) == ("delivered", 200)
    assert api.post(f"{path}/{told['id']}/send").status_code == 202
    send_due()
    assert len(receiver.got) == 2 and receiver.got[0][1] == receiver.got[1][1]


def test_one_attempt_is_made_although_many_workers_hear_of_it(api: APIClient, admin: User, receiver: Receiver) -> None:
    make(api, receiver.url, "task.done")
    finished(admin)
    collect()
    pk = Delivery.objects.get().pk

    def send() -> None:
        sending.send(pk)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.got) == 1


def test_a_redirection_is_not_followed(api: APIClient, admin: User, receiver: Receiver) -> None:
    make(api, receiver.url, "task.done")
    receiver.status, receiver.headers = 302, {"Location": f"{receiver.url}/inside"}
    finished(admin)
    collect()
    (delivery,) = send_due()
    assert (delivery.state, delivery.response_status, len(receiver.got)) == (DeliveryState.WAITING, 302, 1)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://[64:ff9b:1::169.254.169.254]/",
        "https://[::127.0.0.1]/",
        "https://[fec0::1]/",
        "https://[2002:7f00:1::]/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://224.0.0.1/",
        "http://1.1.1.1/",
    ],
)
def test_an_address_that_only_the_panel_reaches_is_not_called(
    api: APIClient, admin: User, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*_: object, **__: object) -> None:
        raise AssertionError("it was called")

    monkeypatch.setattr(sending.httpx, "Client", called)
    refused = api.post("/api/v1/webhooks", {"url": url})
    assert (refused.status_code, refused.json()["field"]) == (400, "url")
    # One that was allowed when it was made, or a name that leads elsewhere by now.
    made = make(api, "https://1.1.1.1/hook", "task.done")
    assert api.patch(f"/api/v1/webhooks/{made}", {"url": url}).status_code == 400
    Webhook.objects.filter(pk=made).update(url=url)
    finished(admin)
    collect()
    (delivery,) = send_due()
    assert "must not call" in delivery.error
    assert delivery.response_status is None


def test_a_name_with_one_private_address_is_refused_and_the_looked_at_address_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolving(*addresses: str) -> Callable[..., Any]:
        return lambda *_args, **_kwargs: [(2, 1, 6, "", (address, 443)) for address in addresses]

    monkeypatch.setattr(sending.socket, "getaddrinfo", resolving("1.1.1.1", "10.0.0.1"))
    with pytest.raises(sending.Refused):
        sending.resolve("https://billing.example/hook")
    monkeypatch.setattr(sending.socket, "getaddrinfo", resolving("1.1.1.1", "1.0.0.1"))
    target = sending.resolve("https://billing.example:8443/hook?a=1")
    assert str(target.pinned) == "https://1.1.1.1:8443/hook?a=1"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://x/"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://user:word@x/"}, "url"),
        ({"url": "https://x/ y"}, "url"),
        ({"url": "https://x:99999/"}, "url"),
        ({"url": "https://x/", "events": []}, "events"),
        ({"url": "https://x/", "events": ["task.started"]}, "events"),
        ({"url": "https://x/", "secret": "short"}, "secret"),
        ({"url": "https://x/", "surprise": 1}, "surprise"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(api: APIClient, body: dict[str, Any], field: str) -> None:
    answer = api.post("/api/v1/webhooks", body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_a_secret_is_shown_once_and_readable_nowhere(api: APIClient) -> None:
    made = api.post("/api/v1/webhooks", {"url": "https://x.example/"}).json()
    assert len(made["secret"]) > 20
    assert "secret" not in api.get(f"/api/v1/webhooks/{made['id']}").json()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM webhooks_webhook")
        assert made["secret"] not in str(cursor.fetchall())


def test_a_webhook_is_changed_and_removed(api: APIClient) -> None:
    path = f"/api/v1/webhooks/{api.post('/api/v1/webhooks', {'url': 'https://x.example/'}).json()['id']}"
    assert api.patch(path, {"active": False, "events": ["vm.*"]}).json()["events"] == ["vm.*"]
    assert api.get(path).json()["active"] is False
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_old_deliveries_are_forgotten(api: APIClient, admin: User, receiver: Receiver) -> None:
    make(api, receiver.url, "task.done")
    finished(admin)
    collect()
    periodic.purge()
    assert Delivery.objects.count() == 1
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=settings.CONFIG.webhook_days + 1))
    periodic.purge()
    assert Delivery.objects.count() == 0


def by_token(user: User, **fields: Any) -> tuple[Token, APIClient]:
    """A token of the user, and the API with it."""
    token, text = create_token(user, "billing", **fields)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return token, client


def test_a_webhook_tells_no_more_than_the_token_that_made_it_may_read(user: User) -> None:
    _token, narrow = by_token(user, rights=["vms.view"])
    webhook = make(narrow, "https://billing.example/hook")
    finished(user)
    live.publish("vm", {"id": 3, "owner": user.pk, "status": "running", "gone": False})
    collect()
    told = Delivery.objects.filter(webhook=webhook)
    assert [each.event for each in told] == ["vm.status"]


def test_a_webhook_ends_with_the_token_that_made_it(api_as_user: APIClient, user: User) -> None:
    ended, short = by_token(user, expires_at=timezone.now() + timedelta(hours=1))
    revoked, narrow = by_token(user, rights=["tasks.view"])
    theirs = [make(client, "https://billing.example/hook") for client in (short, narrow)]
    own = make(api_as_user, "https://billing.example/hook")
    Token.objects.filter(pk=ended.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert api_as_user.delete(f"/api/v1/tokens/{revoked.pk}").status_code == 204
    finished(user)
    collect()
    assert list(Delivery.objects.values_list("webhook", flat=True)) == [own]
    assert api_as_user.get(f"/api/v1/webhooks/{theirs[0]}").json()["token_id"] == ended.pk
    assert api_as_user.get(f"/api/v1/webhooks/{theirs[1]}").status_code == 404


def test_a_scoped_token_reaches_its_own_webhooks_alone(api_as_user: APIClient, user: User) -> None:
    own = make(api_as_user, "https://billing.example/hook")
    _token, narrow = by_token(user, rights=["vms.view"])
    made = make(narrow, "https://billing.example/hook")
    _token, other = by_token(user, rights=["vms.view"])
    assert [each["id"] for each in narrow.get("/api/v1/webhooks").json()["results"]] == [made]
    for path in (f"webhooks/{own}", f"webhooks/{own}/deliveries"):
        assert narrow.get(f"/api/v1/{path}").status_code == 404
    assert narrow.patch(f"/api/v1/webhooks/{own}", {"url": "https://evil.example/"}).status_code == 404
    assert other.delete(f"/api/v1/webhooks/{made}").status_code == 404
    assert len(api_as_user.get("/api/v1/webhooks").json()["results"]) == 2
