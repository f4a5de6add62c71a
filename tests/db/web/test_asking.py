"""What cannot be taken back is asked for twice, whichever way a page goes about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core import kinds
from panel.dns.models import DnsServer
from panel.network.models import Network, SecurityGroup
from panel.storage.models import NodePool
from panel.tasks import registry
from panel.tasks.models import Task
from panel.tasks.operation import Operation
from panel.vms.models import Snapshot, Vm
from tests.db.web.test_pages import signed_in, vm

__all__ = ["vm"]

DANGEROUS = sorted((each for each in registry.every() if each.dangerous), key=lambda each: each.name)


@pytest.mark.parametrize("operation", DANGEROUS, ids=lambda each: each.name)
def test_what_destroys_is_refused_to_a_page_that_did_not_ask(
    admin: User, vm: int, node: Node, operation: Operation[Any]
) -> None:
    page, before = signed_in(admin), Task.objects.count()
    kind = kinds.get(operation.object_type)
    plural = kind.plural
    assert kind.only is None
    objects = {"vm": vm, "node": node.pk, "network": Network.objects.latest("pk").pk}
    objects["dns-server"] = DnsServer.objects.create(name="unused", sealed=b"x", compare_at=timezone.now()).pk
    objects["security-group"] = SecurityGroup.objects.create(owner=admin, name="unused").pk
    object_id = objects[operation.object_type]
    calls = [("POST", f"/api/v1/{plural}/{object_id}/{operation.verb}", {})]
    if operation.object_type == "vm":
        calls.append(("POST", f"/api/v1/vms/group/{operation.verb}", {"ids": [vm]}))
    if operation.verb in ("delete", "remove"):
        calls.append(("DELETE", f"/api/v1/{plural}/{object_id}", {}))
    for method, path, body in calls:
        answer = page.generic(method, path, json.dumps(body), "application/json", secure=True)
        assert (answer.status_code, answer.json()["code"]) == (428, "confirmation_required"), path
        assert answer.json()["question"].startswith(f"{operation.label}?")
    assert Task.objects.count() == before


def test_a_page_that_has_asked_and_a_token_are_not_asked_again(admin: User, api: APIClient, vm: int) -> None:
    path = f"/api/v1/vms/{vm}/force-off"
    headers = {"X-Confirmed": "yes"}
    answer = signed_in(admin).post(path, "{}", "application/json", secure=True, headers=headers)
    assert answer.status_code == 202
    Task.objects.all().delete()
    assert api.post(path, {}).status_code == 202
    assert signed_in(admin).post(f"{path}?plan=1", "{}", "application/json", secure=True).status_code == 200


class Buttons(HTMLParser):
    """The attributes of all buttons and forms of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a button or a form."""
        if tag in ("button", "form"):
            self.found.append(dict(attrs))


def _destroying(client: Client, paths: list[str]) -> Iterator[dict[str, str | None]]:
    verbs = {each.verb for each in DANGEROUS}
    for path in paths:
        answer = client.get(path, secure=True)
        assert answer.status_code == 200, path
        for button in Buttons(answer.content.decode()).found:
            action = button.get("data-action") or button.get("data-group") or button.get("data-submit") or ""
            if button.get("aria-disabled") == "true" or "disabled" in button:
                continue
            if (
                action.rpartition("/")[2] in verbs
                or button.get("data-verb") in verbs
                or button.get("data-method") == "DELETE"
            ):
                yield button


def test_every_button_that_destroys_says_what_is_asked(
    admin: User, api: APIClient, vm: int, node: Node, user: User, run_tasks: Callable[[], None]
) -> None:
    for path, body in (("add-disk", {"size_gib": 1}), ("add-interface", {}), ("add-address", {})):
        assert api.post(f"/api/v1/vms/{vm}/{path}", body).status_code == 202
        run_tasks()
    devices = list(_destroying(signed_in(admin), [f"/vms/{vm}/devices", f"/vms/{vm}/guest"]))
    Vm.objects.filter(pk=vm).update(drift=[{"field": "vcpus", "node": 2, "stored": 1}])
    for state in ("ready", "failed"):
        Snapshot.objects.create(vm_id=vm, name=state, state=state)
    NodePool.objects.update(fault="not_mounted")
    paths = ["/vms", f"/vms/{vm}", f"/vms/{vm}/devices", f"/vms/{vm}/guest", f"/nodes/{node.pk}", f"/users/{user.pk}"]
    found = [*devices, *_destroying(signed_in(admin), paths)]
    for button in found:
        assert button.get("data-confirm") or "hx-get" in button, button
    verbs = {
        (each.get("data-action") or each.get("data-submit") or each.get("data-verb") or "").rpartition("/")[2]
        for each in found
    }
    # What is rare is offered where something is wrong that is not wrong here, as is settling.
    assert {each.verb for each in DANGEROUS if each.object_type == "vm" and not each.rare} - verbs <= {"settle"}
