"""Webhooks: where a user wants to be told of what, and each delivery with all that became of it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models

from panel.accounts.models import Token
from panel.core.wording import ENGLISH, Text, of_row


class Webhook(models.Model):
    """An address that is told of its owner's events. `sealed` is the secret, encrypted (core/secretbox.py).

    One that was made by a `token` which is narrowed or expires is told no more than that may read, and ends with it.
    `events` are names as `task.done`, or whole topics as `task.*`; `*` is all.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks")
    token = models.ForeignKey(Token, null=True, on_delete=models.CASCADE, related_name="+")
    url = models.CharField(max_length=500)
    events = models.JSONField(default=list)
    sealed = models.BinaryField()
    active = models.BooleanField(default=True)
    language = models.CharField(max_length=8, default=ENGLISH, help_text="Of the sentences in what it is told.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.url


class DeliveryState(models.TextChoices):
    """Where a delivery is."""

    WAITING = "waiting", "Waiting"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Given up"


class Delivery(models.Model):
    """One event for one webhook. `key` is the event's own, so that no event is taken twice."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    uuid = models.UUIDField(default=uuid.uuid4, unique=True)
    key = models.CharField(max_length=100)
    event = models.CharField(max_length=64)
    data = models.JSONField()
    state = models.CharField(max_length=16, choices=DeliveryState.choices, default=DeliveryState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True)
    response_status = models.PositiveSmallIntegerField(null=True)
    response_text = models.CharField(max_length=500, blank=True)
    error = models.CharField(max_length=200, blank=True)
    error_said = models.JSONField(null=True, help_text="The Text that the error is made of when it is shown.")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["webhook", "key"], name="one_delivery_an_event")]
        indexes = [models.Index(fields=["state", "next_try_at"], name="delivery_due")]

    @property
    def worded_error(self) -> Text:
        """Why it did not arrive, to be shown to a reader."""
        return of_row(self.error, self.error_said)

    def __str__(self) -> str:
        return f"{self.event} to webhook {self.webhook_id}"


class Position(models.Model):
    """Up to where the stream of events was read; one row."""

    last_id = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return self.last_id
