"""The page of security groups: what interfaces of VMs receive and send."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from panel.accounts.models import User
from panel.core import permissions, wording
from panel.network.models import SecurityGroup
from panel.network.security import lines_of, list_security_groups
from panel.tasks import registry
from panel.vms.operations.security_groups import RULES
from panel.vms.security import with_vms
from panel.web import buttons
from panel.web.listing import Column, Listing, show
from panel.web.operation_form import Lines
from panel.web.plain_form import Done, PlainForm, dialog
from panel.web.rendering import need, viewer_of

VERBS = ("change", "apply", "remove")


class NewGroup(PlainForm):
    """A group and its rules."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=63)
    description = forms.CharField(label=gettext_lazy("Description"), max_length=200, required=False)
    rules = Lines(label=gettext_lazy("Rules"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["rules"].help_text = wording.translated(RULES)
        self.fields["rules"].initial = ["in tcp 22", "in icmp", "out any"]


def _rows(viewer: User) -> QuerySet[SecurityGroup]:
    return with_vms(list_security_groups(viewer))


def _vms(group: SecurityGroup) -> list[Any]:
    return list({each.vm_id: each.vm for each in group.interfaces.all()}.values())


def _prepare(viewer: User, found: list[SecurityGroup]) -> list[dict[str, Any]]:
    operations = [each for each in registry.for_object("security-group", viewer) if each.verb in VERBS]
    operations.sort(key=lambda each: VERBS.index(each.verb))
    return [
        {
            "group": each,
            "vms": _vms(each),
            # Why one is not possible, its dialog says.
            "actions": [buttons.of(operation, each, None, why_not="") for operation in operations],
        }
        for each in found
    ]


LISTING = Listing(
    name="security-groups",
    title=gettext_lazy("Security groups"),
    rows=_rows,
    row="_security_group_row.html",
    topics="security-group vm",
    order="name",
    columns=(
        Column("name", gettext_lazy("Name"), "name", lambda group: group.name),
        Column("rules", gettext_lazy("Rules"), text=lambda group: "; ".join(lines_of(group))),
        Column("vms", gettext_lazy("Virtual machines"), text=lambda group: " ".join(each.name for each in _vms(group))),
        Column("owner", gettext_lazy("Owner"), "owner__name", lambda group: group.owner.name),
        Column("actions", gettext_lazy("Actions")),
    ),
    search=lambda found, text: found.filter(Q(name__icontains=text) | Q(description__icontains=text)),
    prepare=_prepare,
    empty=gettext_lazy("A security group says what VMs receive and send. There is none yet."),
)


@login_required
def security_group_list(request: HttpRequest) -> HttpResponseBase:
    """The groups that the viewer may see."""
    viewer = viewer_of(request)
    need(viewer, "vms.view")
    may_add = permissions.allows(viewer, "vms.devices")
    return show(request, LISTING, "security_group_list.html", may_add=may_add)


@login_required
def security_group_new(request: HttpRequest) -> HttpResponse:
    """The dialog of a new one."""
    viewer = viewer_of(request)
    need(viewer, "vms.devices")

    def do(values: dict[str, Any]) -> Done:
        registry.get("security-group.add").submit(viewer, values)
        return _("The security group %(name)s is there.") % {"name": values["name"]}

    form = NewGroup(request.POST if request.method == "POST" else None)
    return dialog(request, form, do, title=_("New security group"), button=_("Create"))
