"""Making, changing and removing webhooks; having an event delivered once more."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.utils import timezone
from pydantic import Field, SecretStr, field_validator

from panel.accounts import journal
from panel.accounts.guards import refuse_impersonated, refuse_scoped
from panel.accounts.models import Token, User
from panel.core import secretbox
from panel.core.errors import InvalidValue, LimitExceeded, MissingValue
from panel.core.validation import Params, parse
from panel.core.wording import ENGLISH, LANGUAGES, Text
from panel.webhooks import sending
from panel.webhooks.events import NAMES, TOPICS
from panel.webhooks.models import Delivery, DeliveryState, Webhook

MOST = 20
"""Webhooks of one user."""
LOOKED_UP_SECONDS = 2.0
"""How long whoever makes a webhook waits for its host's addresses."""


class Values(Params):
    """What a webhook is made of; what is not named stays."""

    url: str | None = Field(None, max_length=500)
    events: list[str] | None = Field(None, max_length=50)
    secret: SecretStr | None = Field(None, min_length=16, max_length=128)
    active: bool | None = None
    language: str | None = None

    @field_validator("language")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in LANGUAGES:
            raise ValueError(f"must be one of {', '.join(LANGUAGES)}")
        return value


@transaction.atomic
def create_webhook(viewer: User, raw: dict[str, Any]) -> tuple[Webhook, str]:
    """A new webhook and its secret, which is shown this once; it is made where none is given.

    Raises AccessDenied (a scoped way in; while an administrator works in the account), MissingValue, InvalidValue and
    LimitExceeded.
    """
    refuse_impersonated()
    values = parse(Values, raw)
    if values.url is None:
        raise MissingValue(field="url")
    url = _checked_url(values.url)
    # Two at the same moment must not both be the last that is allowed.
    User.objects.select_for_update().get(pk=viewer.pk)
    used = Webhook.objects.filter(owner=viewer).count()
    if used >= MOST:
        raise LimitExceeded(limit="webhooks", used=used, allowed=MOST)
    secret = values.secret.get_secret_value() if values.secret else secrets.token_urlsafe(32)
    webhook = Webhook.objects.create(
        owner=viewer,
        token=_binding(viewer),
        url=url,
        events=_checked_events(values.events if values.events is not None else ["*"]),
        sealed=secretbox.seal({"secret": secret}),
        active=values.active is not False,
        language=values.language or ENGLISH,
    )
    after = {"url": webhook.url, "events": webhook.events}
    journal.record(viewer, "webhook.create", "webhook", webhook.pk, webhook.url, owner_id=viewer.pk, after=after)
    return webhook, secret


@transaction.atomic
def change_webhook(viewer: User, webhook: Webhook, raw: dict[str, Any]) -> Webhook:
    """Have the webhook as the values say; raises AccessDenied while an administrator works in the account."""
    refuse_impersonated()
    values = parse(Values, raw)
    before = {"url": webhook.url, "events": webhook.events, "active": webhook.active, "language": webhook.language}
    if values.url is not None:
        webhook.url = _checked_url(values.url)
    if values.events is not None:
        webhook.events = _checked_events(values.events)
    if values.active is not None:
        webhook.active = values.active
    if values.language is not None:
        webhook.language = values.language
    if values.secret is not None:
        webhook.sealed = secretbox.seal({"secret": values.secret.get_secret_value()})
    webhook.save()
    after = {"url": webhook.url, "events": webhook.events, "active": webhook.active, "language": webhook.language}
    journal.record(
        viewer, "webhook.change", "webhook", webhook.pk, webhook.url, owner_id=viewer.pk, before=before, after=after
    )
    return webhook


@transaction.atomic
def delete_webhook(viewer: User, webhook: Webhook) -> None:
    """Forget the webhook and its deliveries; raises AccessDenied while an administrator works in the account."""
    refuse_impersonated()
    journal.record(viewer, "webhook.delete", "webhook", webhook.pk, webhook.url, owner_id=viewer.pk)
    webhook.delete()


def deliver_again(delivery: Delivery) -> Delivery:
    """Have the event sent once more, from the first attempt on, whatever became of it before."""
    Delivery.objects.filter(pk=delivery.pk).update(
        state=DeliveryState.WAITING, attempts=0, next_try_at=timezone.now(), finished_at=None
    )
    delivery.refresh_from_db()
    return delivery


def _binding(viewer: User) -> Token | None:
    """The token that the webhook ends with: else a narrow or short way in would leave a wide and lasting one behind."""
    by = viewer.by_token
    if by is None:
        refuse_scoped(viewer)
    return by if by is not None and by.is_limited else None


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
        fit = fit and not parts.username and not parts.password and url.isascii() and url.isprintable()
    except ValueError:
        fit = False
    if not fit or " " in url:
        raise InvalidValue("A webhook's address is written as https://host/path.", field="url")
    _refuse_forbidden(url)
    return url


def _refuse_forbidden(url: str) -> None:
    """Raise InvalidValue for an address that would never be called; a host that is not found now may be later."""
    try:
        sending.resolve_in(url, LOOKED_UP_SECONDS)
    except sending.Refused as error:
        raise InvalidValue(error.text, field="url") from error
    except OSError:
        return


def _checked_events(names: list[str]) -> list[str]:
    known = {"*", *NAMES, *(f"{topic}.*" for topic in TOPICS)}
    for name in names:
        if name not in known:
            raise InvalidValue(
                Text("There is no event “{name}”.", {"name": name[:64]}), field="events", allowed=sorted(known)
            )
    if not names:
        raise InvalidValue("A webhook has at least one event.", field="events")
    return sorted(set(names))
