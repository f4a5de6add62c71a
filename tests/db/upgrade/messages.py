"""A message of every kind: rows that others wait for, and what is on its way when a panel is upgraded."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import (
    BrowserSession,
    Level,
    Limits,
    RecoveryCode,
    Role,
    SecurityKey,
    SigninKey,
    SshKey,
    Totp,
    User,
)
from panel.accounts.tokens import create_token
from panel.api.models import KeptAnswer
from panel.cluster.models import Node
from panel.core import kinds, live, secretbox
from panel.core.redis_client import client
from panel.mgrapi.models import ClassicSession
from panel.monitoring import services as monitoring
from panel.monitoring.models import RolledUp, Step
from panel.monitoring.statistics.waiting import take_waiting
from panel.notices.models import Severity
from panel.notices.services import close_problem, open_problem
from panel.tasks.models import Status, Task
from panel.vms.models import Vm, VmStatus
from panel.webhooks import collecting
from panel.webhooks.models import Delivery, DeliveryState, Webhook
from tests.db.monitoring.counting import collected
from tests.db.monitoring.messages import EPOCH, event, full_report, told
from vmwatch import wire

WITHOUT_ROWS = {"Group", "Session"}
"""Django's own, which the panel does not use."""


def fill(admin: User) -> dict[str, Any]:
    """Have a row of every kind; answers what waits outside of the database."""
    _of_accounts(admin)
    _of_api(admin)
    for severity in Severity.values:
        open_problem(f"dump:{severity}", f"A problem of the kind {severity}.", severity=severity)
    close_problem(f"dump:{Severity.values[0]}")
    heard = _of_vmwatch()
    _of_webhooks(admin)
    assert empty_tables() <= WITHOUT_ROWS, empty_tables()
    return {"vmwatch": heard, "events": _events(), "celery": ["panel.tasks.run", [_waiting().pk]]}


def empty_tables() -> set[str]:
    """The names of the models that have no row."""
    return {model.__name__ for model in apps.get_models() if not model._default_manager.exists()}


def _of_accounts(admin: User) -> None:
    role = Role.objects.create(name="helpdesk", level=Level.USER, rights=["vms.view"])
    anna = User.objects.create(name="anna", password=admin.password, role=role)
    Limits.objects.create(user=anna, vms=5)
    soon = timezone.now() + timedelta(minutes=5)
    BrowserSession.objects.create(id="a" * 32, data="{}", user=anna, address="192.0.2.9", expires_at=soon)
    Totp.objects.create(user=anna, sealed=secretbox.seal({"secret": "of tests alone"}))
    SecurityKey.objects.create(user=anna, name="key", credential_id=b"id", digest="b" * 64, public_key=b"key")
    RecoveryCode.objects.create(user=anna, digest="c" * 64)
    SigninKey.objects.create(user=anna, digest="d" * 64, expires_at=soon)
    SshKey.objects.create(user=anna, name="laptop", public_key="ssh-ed25519 AAAA anna")
    create_token(anna, "billing")


def _of_api(admin: User) -> None:
    api = APIClient()
    api.force_authenticate(admin)
    node = Node.objects.earliest("pk")
    post = {"method": "POST", "path": f"/api/v1/nodes/{node.pk}/check", "body": {}}
    assert api.post("/api/v1/batch", {"calls": [post, post], "atomic": True}).status_code == 200
    KeptAnswer.objects.create(user=admin, key="answered", digest="d" * 64, sealed=secretbox.seal({"status": 202}))
    KeptAnswer.objects.create(user=admin, key="under way", digest="e" * 64)
    ClassicSession.objects.create(
        digest="f" * 64, user=admin, address="192.0.2.9", proof="proof", used_at=timezone.now()
    )


def _of_vmwatch() -> list[str]:
    """Messages were taken; answers one of each kind that is on its way."""
    vm = Vm.objects.filter(installed=True, status=VmStatus.RUNNING).earliest("pk")
    for sequence, value in ((1, 100), (2, 350)):
        monitoring.take_messages([collected(vm, sequence, value)])
    take_waiting()
    monitoring.take_messages([collected(vm, 3, 500), event(vm, wire.PAUSED, 4, detail="paused")])
    RolledUp.objects.get_or_create(step=Step.HOUR, defaults={"until": timezone.now()})
    past = [wire.PastEvent(EPOCH, 5, told(vm, wire.RUNNING, "unpaused"))]
    seen = full_report(vm.node, [told(vm, wire.RUNNING)], 6)
    coming = [
        event(vm, wire.RUNNING, 5, detail="unpaused"),
        wire.Message(**{**vars(seen), "recent": past}),
        wire.Message(vm.node_id, EPOCH, 7, seen.time, wire.ALIVE),
        collected(vm, 8, 600),
    ]
    assert {each.kind for each in coming} == set(wire.KINDS)
    return [wire.to_body(each).decode() for each in coming]


def _of_webhooks(admin: User) -> None:
    """One delivery in each state."""
    sealed = secretbox.seal({"secret": "a secret of the billing system"})
    Webhook.objects.create(owner=admin, url="https://192.0.2.7/told", events=["*"], sealed=sealed)
    collecting.collect()
    for topic in kinds.topics():
        live.publish(topic, {"id": 1, "owner": admin.pk, "status": "done", "title": "Told", "open": True})
    collecting.collect()
    for state, delivery in zip(DeliveryState.values, Delivery.objects.order_by("pk"), strict=False):
        Delivery.objects.filter(pk=delivery.pk).update(state=state)
    assert set(Delivery.objects.values_list("state", flat=True)) == set(DeliveryState.values)


def _events() -> list[str]:
    """The newest event of each topic, as the stream has them."""
    entries = client().xrevrange(live.STREAM, count=2000)
    newest: dict[str, str] = {}
    for _id, fields in entries:  # type: ignore[union-attr]
        text = fields[b"event"].decode()
        newest.setdefault(json.loads(text)["topic"], text)
    return [newest[topic] for topic in sorted(newest)]


def _waiting() -> Task:
    return Task.objects.filter(status=Status.QUEUED).latest("pk")
