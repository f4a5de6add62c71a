"""Webhooks over REST: the viewer's own, their deliveries, and having one sent again."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import idempotency
from panel.api.idempotency import idempotent
from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described, guarded
from panel.api.parameters import ApiView
from panel.api.preconditions import IF_MATCH
from panel.api.reading import body_of, created, viewer_of
from panel.api.redacted_fields import WordedField
from panel.core.wording import LANGUAGES
from panel.webhooks import services
from panel.webhooks.models import Delivery, Webhook
from panel.webhooks.selectors import get_delivery, get_webhook, list_webhooks


class WebhookSerializer(serializers.ModelSerializer[Webhook]):
    """A webhook; its secret is shown once, when it is made."""

    events = serializers.ListField(child=serializers.CharField(max_length=64), required=False)
    language = serializers.ChoiceField(
        choices=LANGUAGES, required=False, help_text="Of the sentences in what it is told; en when absent."
    )
    token_id = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="The token that it ends with, if it was made by a limited one."
    )

    class Meta:
        model = Webhook
        fields = ["id", "url", "events", "active", "language", "token_id", "created_at"]
        read_only_fields = ["token_id", "created_at"]


class WebhookValuesSerializer(WebhookSerializer):
    """What a webhook is made of; a secret is made where none is given."""

    secret = serializers.CharField(write_only=True, required=False, min_length=16, max_length=128)

    class Meta(WebhookSerializer.Meta):
        fields = ["url", "events", "active", "language", "secret"]


class NewWebhookSerializer(WebhookSerializer):
    """A webhook that was just made, with its secret."""

    secret = serializers.CharField(read_only=True)

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """An event for a webhook, and what became of it; `response_text` is the begin of the last answer."""

    data: Any = serializers.DictField()
    error = WordedField(source="worded_error")

    class Meta:
        model = Delivery
        fields = [
            "id",
            "uuid",
            "event",
            "data",
            "state",
            "attempts",
            "next_try_at",
            "response_status",
            "response_text",
            "error",
            "created_at",
            "finished_at",
        ]


KINDS["webhook"] = Kind(Webhook, WebhookSerializer, get_webhook)


class WebhooksView(ListView):
    """The viewer's own webhooks."""

    serializer = WebhookSerializer

    def objects(self, request: Request) -> QuerySet[Any]:
        """The viewer's webhooks."""
        return list_webhooks(viewer_of(request))

    @listed(WebhookSerializer)
    def get(self, request: Request) -> Response:
        """One page of webhooks."""
        return super().get(request)

    @extend_schema(
        request=WebhookValuesSerializer, responses={201: NewWebhookSerializer}, parameters=[idempotency.PARAMETER]
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Make a webhook; the answer alone ever holds its secret."""
        webhook, secret = services.create_webhook(viewer_of(request), body_of(request))
        return created({**WebhookSerializer(webhook).data, "secret": secret}, f"webhooks/{webhook.pk}")


class WebhookView(ObjectView):
    """One of the viewer's webhooks."""

    kind = "webhook"

    @described(WebhookSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The webhook."""
        return super().get(request, object_id)

    @extend_schema(request=WebhookValuesSerializer, responses=WebhookSerializer, parameters=[IF_MATCH])
    @guarded("webhook")
    def patch(self, request: Request, object_id: int) -> Response:
        """Change what the body names."""
        viewer = viewer_of(request)
        webhook = services.change_webhook(viewer, get_webhook(viewer, object_id), body_of(request))
        return Response(WebhookSerializer(webhook).data)

    @extend_schema(request=None, responses={204: None}, parameters=[IF_MATCH])
    @guarded("webhook")
    def delete(self, request: Request, object_id: int) -> Response:
        """Forget it and its deliveries."""
        viewer = viewer_of(request)
        services.delete_webhook(viewer, get_webhook(viewer, object_id))
        return Response(status=204)


class DeliveriesView(ListView):
    """A webhook's deliveries."""

    serializer = DeliverySerializer
    filters = {"state": "state", "event": "event"}
    newest_first = True

    def objects(self, request: Request) -> QuerySet[Any]:
        """The deliveries of one of the viewer's webhooks."""
        return get_webhook(viewer_of(request), self.kwargs["object_id"]).deliveries.all()

    @listed(DeliverySerializer, *filters)
    def get(self, request: Request, object_id: int) -> Response:
        """One page of deliveries, the newest first."""
        return super().get(request)


class RedeliverView(ApiView):
    """Sending an event once more."""

    @extend_schema(
        operation_id="webhook_redeliver",
        request=None,
        responses={202: DeliverySerializer},
        parameters=[OpenApiParameter("delivery_id", int, OpenApiParameter.PATH)],
    )
    def post(self, request: Request, object_id: int, delivery_id: int) -> Response:
        """Have the delivery sent again, whatever became of it."""
        delivery = services.deliver_again(get_delivery(viewer_of(request), object_id, delivery_id))
        where = f"/api/v1/webhooks/{object_id}/deliveries"
        return Response(DeliverySerializer(delivery).data, status=202, headers={"Location": where})
