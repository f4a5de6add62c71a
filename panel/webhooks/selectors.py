"""Reading webhooks: everybody's own, and nobody else's; by a scoped token those alone that it made."""

from __future__ import annotations

from django.db.models import QuerySet

from panel.accounts.models import Token, User
from panel.core.errors import NotFound
from panel.webhooks.models import Delivery, Webhook


def list_webhooks(viewer: User) -> QuerySet[Webhook]:
    """The viewer's webhooks."""
    webhooks = Webhook.objects.filter(owner=viewer)
    if viewer.scope is None:
        return webhooks
    return webhooks.filter(token=viewer.by_token) if viewer.by_token is not None else webhooks.none()


def get_webhook(viewer: User, webhook_id: int) -> Webhook:
    """One of the viewer's webhooks; raises NotFound."""
    found = list_webhooks(viewer).filter(pk=webhook_id).first()
    if found is None:
        raise NotFound(object="webhook", id=webhook_id)
    return found


def get_delivery(viewer: User, webhook_id: int, delivery_id: int) -> Delivery:
    """One delivery of one of the viewer's webhooks; raises NotFound."""
    found = get_webhook(viewer, webhook_id).deliveries.filter(pk=delivery_id).first()
    if found is None:
        raise NotFound(object="delivery", id=delivery_id)
    return found


def webhooks_of(token: Token) -> list[str]:
    """The addresses of the webhooks that end with the token."""
    return list(Webhook.objects.filter(token=token).order_by("url").values_list("url", flat=True))
