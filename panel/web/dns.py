"""The pages of name servers: the list, the form for one more, one of them with its records."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from panel.cluster.redaction import Redaction
from panel.core import permissions
from panel.core.errors import PanelError
from panel.dns.models import DnsServer, Record, RecordState
from panel.dns.selectors import NameTold, get_server, list_servers
from panel.tasks import registry
from panel.tasks.selectors import list_tasks
from panel.vms.models import Vm
from panel.web import buttons
from panel.web.listing import Column, Listing, show
from panel.web.operation_form import OperationForm
from panel.web.rendering import found_or_404, need, page, viewer_of
from panel.web.vm_page import open_task
from panel.web.words import Label

MOST_RECORDS = 200
"""On a server's page, those first that are not as they shall be. REST has all."""
TASKS = 10
STATES: dict[str, Label] = {
    RecordState.WAITING: _("Waiting"),
    RecordState.DONE: _("There"),
    RecordState.BY_HAND: _("Kept by hand"),
    RecordState.REFUSED: _("Refused"),
}
"""What becomes of a record."""
COLOURS = {
    RecordState.WAITING: "paused",
    RecordState.DONE: "done",
    RecordState.BY_HAND: "warning",
    RecordState.REFUSED: "failed",
}
REGIONS = {"head": "_dns_server_head.html", "dns-server": "_dns_server.html"}


def _search(found: QuerySet[DnsServer], text: str) -> QuerySet[DnsServer]:
    return found.filter(Q(name__icontains=text) | Q(url__icontains=text) | Q(domain__icontains=text))


SERVERS = Listing(
    name="dns-servers",
    title=_("Name servers"),
    rows=list_servers,
    row="_dns_server_row.html",
    topics="dns-server",
    order="name",
    columns=(
        Column("name", _("Name"), "name", lambda server: server.name),
        Column("url", _("Address of its API"), "url", lambda server: server.url),
        Column("ranges", _("Names of the addresses"), text=lambda server: " ".join(server.ranges)),
        Column("domain", _("Domain"), "domain", lambda server: server.domain),
        Column("records", _("Records"), "record_count", lambda server: server.record_count),
        Column("state", _("State"), text=lambda server: server.error or "answers"),
    ),
    search=_search,
    empty=_("The panel writes the names of addresses at name servers (PowerDNS). There is none yet."),
)


@login_required
def dns_server_list(request: HttpRequest) -> HttpResponseBase:
    """The name servers."""
    viewer = viewer_of(request)
    need(viewer, "cluster.view")
    return show(request, SERVERS, "dns_server_list.html", may_add=permissions.allows(viewer, "cluster.manage"))


@login_required
def dns_server_new(request: HttpRequest) -> HttpResponse:
    """The form for a name server; it leads to the server's page."""
    viewer = viewer_of(request)
    need(viewer, "cluster.manage")
    data = request.POST if request.method == "POST" else None
    form = OperationForm(registry.get("dns-server.add"), viewer, None, data)
    if data is None:
        return page(request, "dns_server_new.html", form=form)
    if form.is_valid():
        try:
            # An empty template is one that makes no names.
            task = form.operation.submit(viewer, {**form.raw, "template": form.cleaned_data["template"] or ""})
        except PanelError as error:
            form.take(error, Redaction(viewer))
        else:
            response = HttpResponse(status=204)
            response.headers["HX-Redirect"] = reverse("dns-server", args=[task.object_id])
            return response
    return render(request, "_dns_server_new.html", {"form": form}, status=422)


@login_required
def dns_server_page(request: HttpRequest, dns_server_id: int) -> HttpResponse:
    """One name server."""
    viewer = viewer_of(request)
    need(viewer, "cluster.view")
    task = open_task("dns-server", dns_server_id)
    server: DnsServer = found_or_404(get_server, viewer, dns_server_id)
    return page(
        request,
        "dns_server.html",
        regions=REGIONS,
        server=server,
        task=task,
        buttons=buttons.at(viewer, server, task, kind="dns-server", main=("compare", "change")),
        records=lambda: _records(server),
        redaction=Redaction(viewer),
        tasks=lambda: list_tasks(viewer).filter(object_type="dns-server", object_id=server.pk)[:TASKS],
    )


def _records(server: DnsServer) -> list[dict[str, Any]]:
    last = Case(When(state=RecordState.DONE, then=Value(1)), default=Value(0), output_field=IntegerField())
    rows = list(Record.objects.filter(server=server).order_by(last, "name", "type", "pk")[:MOST_RECORDS])
    there = dict(Vm.objects.filter(pk__in={each.vm_id for each in rows}).values_list("pk", "name"))
    return [
        {
            "record": each,
            "name": each.name.removesuffix("."),
            "content": each.content.removesuffix("."),
            "state": STATES[each.state] if each.wanted else _("Being withdrawn"),
            "colour": COLOURS[RecordState(each.state)] if each.wanted else "paused",
            "vm": there.get(each.vm_id),
        }
        for each in rows
    ]


def told(name: NameTold) -> dict[str, Any]:
    """The name of an address as a page shows it: with a word on it where the server does not have it."""
    late = name["state"] != RecordState.DONE
    return {**name, "late": STATES[name["state"]] if late else "", "colour": COLOURS[RecordState(name["state"])]}
