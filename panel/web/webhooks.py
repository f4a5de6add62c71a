"""The pages of one's webhooks: the list, a new one whose secret is shown once, one with its deliveries."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from panel.web.listing import Column, Label, Listing, show
from panel.web.own_forms import LANGUAGES
from panel.web.plain_form import Done, PlainForm, deed, dialog, lead_to, question
from panel.web.rendering import found_or_404, page, viewer_of
from panel.webhooks import services
from panel.webhooks.models import DeliveryState, Webhook
from panel.webhooks.selectors import get_delivery, get_webhook, list_webhooks

MOST_DELIVERIES = 100
"""On a webhook's page: the newest. REST has all."""
EVENTS: dict[str, Label] = {
    "*": gettext_lazy("All events"),
    "task.queued": gettext_lazy("A task is asked for"),
    "task.done": gettext_lazy("A task is done"),
    "task.failed": gettext_lazy("A task failed"),
    "task.cancelled": gettext_lazy("A task is cancelled"),
    "task.stuck": gettext_lazy("A task is stuck"),
    "vm.status": gettext_lazy("A VM's status changes"),
    "vm.gone": gettext_lazy("A VM is deleted"),
    "node.state": gettext_lazy("A node's state changes"),
    "node.gone": gettext_lazy("A node is removed"),
    "problem.opened": gettext_lazy("A problem begins"),
    "problem.closed": gettext_lazy("A problem ends"),
}
"""What an address is told of."""
TOPICS: dict[str, Label] = {
    "task.*": gettext_lazy("All that tasks tell"),
    "vm.*": gettext_lazy("All that VMs tell"),
    "node.*": gettext_lazy("All that nodes tell"),
    "problem.*": gettext_lazy("All that problems tell"),
}
"""Whole topics: offered where a program chose them."""
STATES: dict[str, Label] = {
    DeliveryState.WAITING: gettext_lazy("Waiting"),
    DeliveryState.DELIVERED: gettext_lazy("Delivered"),
    DeliveryState.FAILED: gettext_lazy("Given up"),
}


class WebhookForm(PlainForm):
    """Where somebody is told of what."""

    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://example.org/hook"}),
    )
    language = forms.ChoiceField(
        label=gettext_lazy("Language of the sentences"), choices=[each for each in LANGUAGES if each[0]]
    )
    events = forms.MultipleChoiceField(required=False)

    def __init__(self, *args: Any, kept: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["events"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [*EVENTS.items(), *((name, label) for name, label in TOPICS.items() if name in kept)]

    @property
    def boxes(self) -> list[dict[str, Any]]:
        """The events to choose from."""
        chosen = self["events"].value() or []
        return [{"name": name, "label": label, "on": name in chosen} for name, label in self.fields["events"].choices]  # type: ignore[attr-defined]


class ActiveForm(WebhookForm):
    """One that there is; it may rest."""

    active = forms.BooleanField(label=gettext_lazy("Active"), required=False)


def _search(found: QuerySet[Webhook], text: str) -> QuerySet[Webhook]:
    return found.filter(url__icontains=text)


LISTING = Listing(
    name="webhooks",
    title=gettext_lazy("Webhooks"),
    rows=list_webhooks,
    row="_webhook_row.html",
    order="url",
    columns=(
        Column("url", gettext_lazy("Address"), "url", lambda hook: hook.url),
        Column("events", gettext_lazy("Events"), text=lambda hook: " ".join(hook.events)),
        Column("state", gettext_lazy("State"), "active", lambda hook: "active" if hook.active else "off"),
        Column("created", gettext_lazy("Created"), "created_at", lambda hook: hook.created_at.isoformat()),
    ),
    search=_search,
    empty=gettext_lazy("A webhook has the panel tell an address of yours what happens. There is none yet."),
)


@login_required
def webhook_list(request: HttpRequest) -> HttpResponseBase:
    """The viewer's webhooks."""
    return show(request, LISTING, "webhook_list.html", own=not request.session.get("impersonated_by"))


@login_required
def webhook_new(request: HttpRequest) -> HttpResponse:
    """The dialog of a new one; its answer alone ever has the secret."""
    form = WebhookForm(
        _data(request), initial={"language": viewer_of(request).language or "en", "events": ["*"]}, kept=[]
    )

    def do(values: dict[str, Any]) -> Done:
        _made, secret = services.create_webhook(viewer_of(request), values)
        lead = _("Copy the secret now: what the panel sends is signed by it, and it is shown this once.")
        told = {"title": _("Secret of the webhook"), "lead": lead, "secret": secret}
        answer = render(request, "dialog_secret.html", told)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return dialog(request, form, do, template="dialog_webhook.html", title=_("New webhook"), button=_("Create"))


@login_required
def webhook_page(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """One webhook with its newest deliveries."""
    webhook = found_or_404(get_webhook, viewer_of(request), webhook_id)
    deliveries = webhook.deliveries.all()[:MOST_DELIVERIES]
    return page(
        request,
        "webhook.html",
        regions={"webhook": "_webhook.html"},
        webhook=webhook,
        events=[EVENTS.get(each) or TOPICS.get(each, each) for each in webhook.events],
        language=dict(LANGUAGES).get(webhook.language, webhook.language),
        deliveries=[{"row": each, "state": STATES.get(each.state, each.state)} for each in deliveries],
        own=not request.session.get("impersonated_by"),
    )


@login_required
def webhook_change(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """The dialog that changes one."""
    viewer = viewer_of(request)
    webhook = found_or_404(get_webhook, viewer, webhook_id)
    initial = {name: getattr(webhook, name) for name in ("url", "language", "events", "active")}
    form = ActiveForm(_data(request), initial=initial, kept=webhook.events)

    def do(values: dict[str, Any]) -> Done:
        services.change_webhook(viewer, webhook, values)
        return _("The webhook is changed.")

    return dialog(request, form, do, template="dialog_webhook.html", title=_("Change the webhook"), button=_("Save"))


@login_required
def webhook_delete(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """The dialog that deletes one."""
    viewer = viewer_of(request)
    webhook = found_or_404(get_webhook, viewer, webhook_id)

    def do() -> Done:
        services.delete_webhook(viewer, webhook)
        return lead_to(reverse("webhooks"))

    waiting = webhook.deliveries.filter(state=DeliveryState.WAITING).count()
    kept = webhook.deliveries.count()
    lost = [
        _("the address %(url)s with its secret") % {"url": webhook.url},
        ngettext("%(count)s delivery that is known", "%(count)s deliveries that are known", kept) % {"count": kept},
    ]
    if waiting:
        text = ngettext(
            "%(count)s event that is not delivered yet", "%(count)s events that are not delivered yet", waiting
        )
        lost.append(text % {"count": waiting})
    return question(request, do, title=_("Delete the webhook"), button=_("Delete"), lost=lost)


@login_required
@require_POST
def webhook_retry(request: HttpRequest, webhook_id: int, delivery_id: int) -> HttpResponse:
    """Have a delivery sent once more."""

    def find(viewer: Any, object_id: int) -> Any:
        return get_delivery(viewer, webhook_id, object_id)

    delivery = found_or_404(find, viewer_of(request), delivery_id)

    def do() -> Done:
        services.deliver_again(delivery)
        return _("It is sent once more.")

    return deed(request, do)


def _data(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None
