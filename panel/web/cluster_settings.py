"""The page of the cluster's policies: the values that REST has at /cluster."""

from __future__ import annotations

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from panel.cluster.models import Cluster, Unsecured
from panel.cluster.selectors import default_cluster
from panel.cluster.services import set_policies
from panel.web.rendering import need, page, say, viewer_of

PERCENT = ("memory_overselling_percent", "cpu_overselling_percent", "disk_overselling_percent")
SWITCHES = ("guests_reach_nodes", "check_vm_status")


class ClusterSettings(forms.ModelForm):  # type: ignore[type-arg]
    """The policies."""

    class Meta:
        model = Cluster
        fields = (*PERCENT, *SWITCHES, "unsecured")
        labels = {
            "memory_overselling_percent": gettext_lazy("Memory promised to VMs, of a node's"),
            "cpu_overselling_percent": gettext_lazy("CPUs promised to VMs, of a node's"),
            "disk_overselling_percent": gettext_lazy("Promised to disks, of a storage's size"),
            "guests_reach_nodes": gettext_lazy(
                "Guests reach the nodes' own services, and the addresses of nodes and panel"
            ),
            "unsecured": gettext_lazy("What passes at interfaces of VMs that have no security group"),
            "check_vm_status": gettext_lazy(
                "Warn of running VMs that receive no packet or write nothing to their disks between two statistics"
            ),
        }
        help_texts = {
            "memory_overselling_percent": gettext_lazy("100: no more than there is."),
            "cpu_overselling_percent": gettext_lazy("Empty: any number."),
            "disk_overselling_percent": gettext_lazy(
                "Up to 100, each disk's whole size must be free when it is made. A storage may have its own."
            ),
            "guests_reach_nodes": gettext_lazy("Each node takes it over at its next check."),
            "unsecured": gettext_lazy("Each node takes it over at its next check."),
            "check_vm_status": "",
        }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["cpu_overselling_percent"].required = False
        for name in PERCENT:
            self.fields[name].widget.attrs["class"] = "form-control"
            self.fields[name].unit = "%"  # type: ignore[attr-defined]
        self.fields["unsecured"].choices = [(value, _(label)) for value, label in Unsecured.choices]  # type: ignore[attr-defined]
        self.fields["unsecured"].required = False
        self.fields["unsecured"].widget.attrs["class"] = "form-select"
        for name in SWITCHES:
            self.fields[name].widget.attrs |= {"class": "form-check-input", "role": "switch"}


@login_required
def cluster_settings(request: HttpRequest) -> HttpResponse:
    """The form, and what it sends."""
    need(viewer_of(request), "cluster.manage")
    cluster = default_cluster()
    if request.method != "POST":
        return page(request, "cluster_settings.html", form=ClusterSettings(instance=cluster))
    form = ClusterSettings(request.POST, instance=cluster)
    if not form.is_valid():
        return render(request, "_cluster_settings.html", {"form": form}, status=422)
    # Nodes are checked for some of them: only what is changed is.
    chosen = {name: form.cleaned_data[name] for name in form.changed_data}
    set_policies(cluster, {name: value for name, value in chosen.items() if value != ""})
    return say(HttpResponse(status=204), _("Saved."))
