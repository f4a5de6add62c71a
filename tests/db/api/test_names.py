"""Names, titles and reasons are plain text, whichever route takes them; secrets are taken as they are."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import SigninKey, User
from panel.accounts.signin_keys import redeem
from panel.core import secretbox
from panel.vms.models import Vm
from panel.webhooks.models import Webhook
from tests.db.monitoring.messages import make_vm

EVIL = "a\x1b[2Jb"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Xk0A3T0mT7ZJmYx1m0c3yJb0zQm7s9v1n2b3c4d5e me"
NAMED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("tokens", "name", {}),
    ("ssh-keys", "name", {"public_key": KEY}),
    ("roles", "name", {"level": "user", "rights": []}),
    ("pools", "name", {"path": "/srv/more/pool"}),
    ("vms/{vm}/snapshot", "name", {}),
    ("vms/{vm}/snapshot", "description", {"name": "fine"}),
    ("vms/{vm}/suspend", "reason", {}),
    ("vms/{vm}/configure", "title", {}),
    ("vms/{vm}/configure", "description", {}),
    ("users", "email", {"name": "bert"}),
    ("isos?name=small&title={evil}", "title", {}),
)


@pytest.fixture
def vm(user: User, node: Any) -> Vm:
    """The user's VM."""
    made: Vm = make_vm(node, user, "web1")
    return made


@pytest.mark.parametrize(("path", "field", "others"), NAMED)
def test_control_characters_are_refused_with_the_field(
    api: APIClient, vm: Vm, path: str, field: str, others: dict[str, Any]
) -> None:
    where = path.format(vm=vm.pk, evil="a%1B%5B2Jb")
    value = f"{EVIL}@example.org" if field == "email" else EVIL
    answer = api.post(f"/api/v1/{where}", {**others, field: value}, format="json")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_value", field)
    assert "\x1b" not in answer.content.decode()


def test_a_title_is_made_one_line(api: APIClient, vm: Vm) -> None:
    asked = {"title": "My\xa0shop\r\nof tools"}
    planned = api.post(f"/api/v1/vms/{vm.pk}/configure?plan=1", asked, format="json")
    assert planned.status_code == 200, planned.content
    assert "My shop of tools" in planned.content.decode()


def test_blanks_of_secrets_count_where_they_are_set_and_used(api: APIClient, user: User) -> None:
    secret, key = " a secret of 24 letters ", " key of billing 16 "
    api.post("/api/v1/webhooks", {"url": "https://billing.example/hook", "secret": secret}, format="json")
    assert secretbox.unseal(bytes(Webhook.objects.get().sealed)) == {"secret": secret}
    made = api.post(f"/api/v1/users/{user.pk}/signin-key", {"key": key}, format="json").json()
    assert (made["key"], made["path"]) == (key, "/sign-in/%20key%20of%20billing%2016%20")
    assert SigninKey.objects.count() == 1
    assert redeem(key)[0] == user
