"""What bench/web wants to know of the panel with many VMs. Run by the panel's own shell."""

from __future__ import annotations

import json
import time

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from bench.api_data import median_by_hand
from panel.accounts import signin_keys
from panel.accounts.models import SigninKey, User
from panel.vms.models import Vm
from panel.vms.status import tell_pages

LIST, EVENTS = "vms", "events"
"""The names of the list's address and of the stream of events."""


def told() -> str:
    """The addresses, and keys that sign browsers in as the administrator."""
    keys = [_key(number) for number in range(2)]
    return "MADE" + json.dumps({"list": reverse(LIST), "events": reverse(EVENTS), "keys": keys})


def by_hand() -> str:
    """How many queries the list makes, and the seconds that they take by hand."""
    client = Client(HTTP_HOST="127.0.0.1")
    client.get(f"/sign-in/{_key(9)}", secure=True)
    client.get(reverse(LIST), secure=True)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(reverse(LIST), secure=True)
    assert answer.status_code == 200, answer.content
    statements = [each["sql"] for each in queries.captured_queries]
    return "HAND" + json.dumps([len(statements), median_by_hand(statements)])


def tell(times: int, seconds: float) -> None:
    """Tell open pages of a VM's status as often, over so many seconds."""
    vm = Vm.objects.filter(name="bench-500").get()
    for _ in range(times):
        tell_pages([vm])
        time.sleep(seconds / times)


def _key(number: int) -> str:
    key = f"bench-web-{number}-{timezone.now().timestamp()}"
    until = timezone.now() + signin_keys.LIFETIME
    user = User.objects.get(name="admin")
    SigninKey.objects.create(user=user, digest=signin_keys.digest(key), leads_to="/", expires_at=until)
    return key
