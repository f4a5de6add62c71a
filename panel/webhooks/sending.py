"""Sending one delivery: to an address that may be called, signed, within a deadline, and again later where it failed.

Whoever makes a webhook chooses what the panel calls, so what the panel can reach and they cannot must stay out of
reach: the host's name is resolved once, every address that it has must be allowed, and that very address is called.
Nothing is redirected. Private, loopback and link-local addresses are refused but for the ranges of the option
WebhookNetworks, which alone may be called by plain http.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import json
import logging
import queue
import socket
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from panel.core import live, secretbox
from panel.core.addresses import in_ranges
from panel.core.wording import Text, for_row
from panel.webhooks.models import Delivery, DeliveryState

log = logging.getLogger(__name__)
BACKOFF_SECONDS = (10, 60, 300, 1800, 7200, 6 * 3600, 12 * 3600)
"""Between attempts; after the last of them the delivery is given up."""
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
DEADLINE_SECONDS = 30.0
"""For one attempt with all its parts."""
LONGEST_ANSWER = 500
MOST_LOOKED_AT = 500
HELD = timedelta(seconds=90)
"""How long a delivery that is being sent is nobody else's."""


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
WITH_IPV4_AT_THE_END = tuple(ipaddress.IPv6Network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
"""NAT64's (RFC 6052, RFC 8215), and the old compatible ones."""


class Refused(Exception):
    """The address must not be called."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.english)
        self.text = text


@dataclass(frozen=True)
class Target:
    """Where a call goes: `address` is the host's, already resolved and looked at."""

    url: httpx.URL
    address: str

    @property
    def pinned(self) -> httpx.URL:
        """The URL with the address instead of the name."""
        return self.url.copy_with(host=self.address)


def send(delivery_id: int) -> Delivery | None:
    """Make one attempt if it is due; answers the delivery as left, None when it was not due."""
    now = timezone.now()
    due = Delivery.objects.filter(pk=delivery_id, state=DeliveryState.WAITING, next_try_at__lte=now)
    if _is_preceded(delivery_id):
        return None
    # Whoever moves the time on is the one who sends.
    if not due.update(next_try_at=now + HELD, attempts=F("attempts") + 1):
        return None
    delivery = Delivery.objects.select_related("webhook").get(pk=delivery_id)
    delivery.response_status, delivery.response_text = None, ""
    delivery.error, delivery.error_said = "", None
    try:
        delivery.response_status, delivery.response_text = _call(delivery)
    except Refused as error:
        english, delivery.error_said = for_row(error.text)
        delivery.error = english[:200]
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        delivery.error = (str(error) or type(error).__name__)[:200]
    _settle(delivery)
    return delivery


def _is_preceded(delivery_id: int) -> bool:
    """Whether an earlier event of the same object waits for its first answer: they arrive in their order.

    One that was refused or not answered holds up no other: by `sequence` a receiver knows their order nevertheless.
    """
    own = Delivery.objects.filter(pk=delivery_id).values_list("webhook_id", "event", "data").first()
    if own is None:
        return False
    webhook_id, event, data = own
    untried = Delivery.objects.filter(webhook_id=webhook_id, pk__lt=delivery_id, state=DeliveryState.WAITING)
    earlier = untried.filter(response_status=None, error="").values_list("event", "data")
    mine = (event.partition(".")[0], data.get("id"))
    return any((name.partition(".")[0], each.get("id")) == mine for name, each in earlier[:MOST_LOOKED_AT])


def _settle(delivery: Delivery) -> None:
    now = timezone.now()
    if delivery.response_status is not None and 200 <= delivery.response_status < 300:
        delivery.state, delivery.next_try_at, delivery.finished_at = DeliveryState.DELIVERED, None, now
    elif delivery.attempts > len(BACKOFF_SECONDS):
        delivery.state, delivery.next_try_at, delivery.finished_at = DeliveryState.FAILED, None, now
    else:
        delivery.next_try_at = now + timedelta(seconds=BACKOFF_SECONDS[delivery.attempts - 1])
    delivery.save(
        update_fields=[
            "state", "next_try_at", "finished_at", "response_status", "response_text", "error", "error_said"
        ]
    )  # fmt: skip
    live.publish("webhook", {"id": delivery.webhook_id, "owner": delivery.webhook.owner_id})


def body_of(delivery: Delivery) -> bytes:
    """What is sent, byte for byte the same in every attempt."""
    told: dict[str, Any] = {
        "id": str(delivery.uuid),
        "event": delivery.event,
        # The event's own time; that of when it was taken in where it bears none.
        "at": delivery.data.get("at") or delivery.created_at.isoformat().replace("+00:00", "Z"),
        "sequence": delivery.data.get("sequence"),
        "data": delivery.data,
    }
    return json.dumps(told, sort_keys=True).encode()


def signature(secret: str, at: int, body: bytes) -> str:
    """The header's value: the time, and the HMAC-SHA256 of `TIME.BODY` under the secret."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _call(delivery: Delivery) -> tuple[int, str]:
    target = resolve(delivery.webhook.url)
    body, at = body_of(delivery), int(time.time())
    secret = secretbox.unseal(bytes(delivery.webhook.sealed))["secret"]
    headers = {
        "Host": target.url.netloc.decode(),
        "Content-Type": "application/json",
        "User-Agent": "vmpanel-webhook",
        "X-Vmpanel-Event": delivery.event,
        "X-Vmpanel-Delivery": str(delivery.uuid),
        "X-Vmpanel-Signature": signature(secret, at, body),
    }
    with Deadline(DEADLINE_SECONDS) as deadline:
        # The certificate is checked against the name, although the address is called. No proxy of the environment's.
        ways = {"sni_hostname": target.url.host, "trace": deadline.trace}
        with (
            httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as http,
            http.stream("POST", target.pinned, content=body, headers=headers, extensions=ways) as answer,
        ):
            text = next(answer.iter_bytes(LONGEST_ANSWER), b"")
    return answer.status_code, text[:LONGEST_ANSWER].decode(errors="replace").replace("\0", "")


class Deadline:
    """Ends a call that takes too long in all: whoever answers one byte at a time never runs into a read's limit.

    Raises httpx.ReadTimeout in place of what the cut connection raised, or of an answer that was cut.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._socket: socket.socket | None = None
        self._over = False

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Hear of the connection from httpx; a copy, as TLS takes the socket itself over."""
        if event == "connection.connect_tcp.complete":
            self._socket = info["return_value"].get_extra_info("socket").dup()
            if self._over:
                self._cut()

    def _cut(self) -> None:
        self._over = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
        if self._over and (error is None or isinstance(error, httpx.HTTPError | OSError)):
            raise httpx.ReadTimeout(f"The answer did not end within {self._seconds:g} s.") from error


def resolve(url: str) -> Target:
    """The address to call; raises Refused where the host has one that must not be called, or OSError."""
    parts = urlsplit(url)
    assert parts.hostname
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = [str(found[4][0]) for found in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)]
    for each in addresses:
        if not may_call(each, parts.scheme):
            data = {"host": parts.hostname, "address": each, "scheme": parts.scheme}
            raise Refused(Text("{host} is {address}, which webhooks must not call by {scheme}.", data))
    return Target(httpx.URL(url), addresses[0])


def resolve_in(url: str, seconds: float) -> None:
    """resolve() for who cannot wait longer; says nothing where the host's addresses were not found in that time."""
    found: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def look() -> None:
        try:
            resolve(url)
        except (Refused, OSError) as error:
            found.put(error)
        else:
            found.put(None)

    threading.Thread(target=look, daemon=True).start()
    try:
        error = found.get(timeout=seconds)
    except queue.Empty:
        return
    if error is not None:
        raise error


def may_call(address: str, scheme: str) -> bool:
    """Whether an address may be called: a public one by https, one of WebhookNetworks by http too."""
    found = _led_to(ipaddress.ip_address(address.partition("%")[0]))
    if in_ranges(str(found), settings.CONFIG.webhook_networks):
        return True
    # Python takes site-local addresses, which RFC 3879 gave up and old networks have, for global ones.
    local = isinstance(found, ipaddress.IPv6Address) and found.is_site_local
    return scheme == "https" and found.is_global and not found.is_multicast and not local


def _led_to(found: Address) -> Address:
    """An IPv4 address may come in IPv6's clothes; what it leads to is what counts."""
    if isinstance(found, ipaddress.IPv4Address):
        return found
    if any(found in network for network in WITH_IPV4_AT_THE_END):
        return ipaddress.IPv4Address(found.packed[-4:])
    return found.ipv4_mapped or found.sixtofour or found
