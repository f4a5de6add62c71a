"""The pages of webhooks: one is made, changed, deleted, and sent once more; another's is as absent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from panel.accounts.models import User
from panel.web.webhooks import EVENTS, TOPICS
from panel.webhooks.events import NAMES
from panel.webhooks.models import Delivery, DeliveryState, Webhook
from panel.webhooks.services import create_webhook
from tests.db.web.test_own import wrong_field
from tests.db.web.test_pages import _text, signed_in

URL = "https://billing.example/hook"


def post(client: Client, path: str, values: dict[str, Any] | None = None) -> Any:
    """Post a dialog."""
    return client.post(f"/webhooks/{path}", values or {}, secure=True)


def test_the_secret_of_a_new_webhook_is_shown_once(user: User) -> None:
    client = signed_in(user)
    for wrong, field in (({"url": "nowhere"}, "url"), ({"events": ["vm.sings"]}, "events")):
        answer = post(client, "new", {"url": URL, "language": "ru", "events": ["*"], **wrong})
        assert (answer.status_code, wrong_field(answer.content.decode())) == (422, [field])
    shown = post(client, "new", {"url": URL, "language": "ru", "events": ["task.done", "vm.gone"]}).content.decode()
    hook = Webhook.objects.get(owner=user)
    secret = re.search(r'<pre class="secret"[^>]*>([^<]+)</pre>', shown)
    assert secret is not None and (hook.language, hook.events) == ("ru", ["task.done", "vm.gone"])
    for path in ("/webhooks", f"/webhooks/{hook.pk}"):
        page = _text(client, path)
        assert URL in page and secret[1] not in page


def test_a_webhook_rests_is_sent_again_and_deleted_by_its_owner_alone(user: User, admin: User) -> None:
    hook, _secret = create_webhook(user, {"url": URL, "events": ["task.*"]})
    sent = Delivery.objects.create(webhook=hook, key="1", event="task.done", data={}, state=DeliveryState.FAILED)
    other, client = signed_in(admin), signed_in(user)
    values = {"url": URL, "language": "en", "events": ["task.*"]}
    for path in (f"{hook.pk}/change", f"{hook.pk}/delete", f"{hook.pk}/retry/{sent.pk}"):
        assert post(other, path, values).status_code == 404
    _text(other, f"/webhooks/{hook.pk}", 404)
    # What a program chose stays to be chosen; a box that is not ticked has it rest.
    assert 'value="task.*"' in _text(client, f"/webhooks/{hook.pk}/change")
    assert post(client, f"{hook.pk}/change", values).status_code == 204
    hook.refresh_from_db()
    assert (hook.active, hook.events) == (False, ["task.*"])
    assert post(client, f"{hook.pk}/retry/{sent.pk}").status_code == 204
    sent.refresh_from_db()
    assert sent.state == DeliveryState.WAITING
    assert post(client, f"{hook.pk}/delete").headers["HX-Redirect"] == "/webhooks" and not Webhook.objects.exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_event_has_words(name: str) -> None:
    assert name in EVENTS and f"{name.partition('.')[0]}.*" in TOPICS
