"""The pages of storages: what each node has of them, what may be chosen of them, and the form for one more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from panel.accounts.models import User
from panel.cluster.models import DISK_OVERSELLING, Node
from panel.cluster.redaction import Redaction
from panel.cluster.selectors import default_cluster, list_nodes
from panel.core import permissions
from panel.core.errors import PanelError
from panel.core.wording import translated
from panel.storage.kinds import KINDS, Kind
from panel.storage.kinds.directory import DirectoryKind
from panel.storage.models import NodePool, Pool
from panel.storage.node_part import LOW_ROOM_BYTES
from panel.storage.selectors import Assigned, assigned_in, get_pool, list_pools, list_storage_problems
from panel.storage.services import add_pool, change_pool
from panel.web import operation_form
from panel.web.rendering import found_or_404, need, page, rows, say, viewer_of

MOST_NODES = 200
"""That are shown of a storage."""
MOST_NAMES = 3
"""Of the nodes that see the same files as another."""


@dataclass(frozen=True)
class Row:
    """A storage on a node; without `space` the node does not have it yet. `high_bytes`: more in use is too much."""

    node: Node
    space: NodePool | None
    assigned: Assigned
    same_as: str
    untrue: bool

    @property
    def used_bytes(self) -> int:
        """How much of it is in use, by whatever."""
        return self.space.capacity_bytes - self.space.free_bytes if self.space else 0

    @property
    def used_percent(self) -> int:
        """The same in hundredths of it."""
        return (
            round(100 * self.used_bytes / self.space.capacity_bytes) if self.space and self.space.capacity_bytes else 0
        )

    @property
    def high_bytes(self) -> int:
        """From which use on the node check complains."""
        return max(0, self.space.capacity_bytes - LOW_ROOM_BYTES) if self.space else 0


@dataclass(frozen=True)
class Storage:
    """A storage with its nodes; what was declared of it is `untrue` when their files say otherwise."""

    pool: Pool
    rows: Sequence[Row]
    form: Policies | None = None

    @property
    def untrue(self) -> bool:
        """Whether any node's files say otherwise."""
        return any(row.untrue for row in self.rows)


class Policies(forms.Form):
    """What may be chosen of a storage at any time, as REST has it."""

    shared = forms.BooleanField(
        label=_("Shared: all nodes see the same files"),
        required=False,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input", "role": "switch"}),
    )
    disk_overselling_percent = forms.IntegerField(
        label=_("Promised to disks, of its size"),
        required=False,
        widget=forms.NumberInput(attrs={"class": "form-control form-control-sm"}),
        validators=DISK_OVERSELLING,
    )

    def __init__(self, pool: Pool, data: QueryDict | None = None) -> None:
        initial = {"shared": pool.shared, "disk_overselling_percent": pool.disk_overselling_percent}
        super().__init__(data, initial=initial, auto_id=f"storage-{pool.pk}-%s")
        of_cluster = pool.cluster.disk_overselling_percent
        percent = self.fields["disk_overselling_percent"]
        percent.unit = "%"  # type: ignore[attr-defined]
        percent.widget.attrs |= {"placeholder": of_cluster}
        percent.help_text = gettext("Empty: %(percent)s %%, as the cluster has it.") % {"percent": of_cluster}
        if pool.of_kind.shared is not None:
            del self.fields["shared"]


@login_required
def storage_list(request: HttpRequest) -> HttpResponse:
    """The storages, node by node."""
    viewer = viewer_of(request)
    need(viewer, "cluster.view")
    shown = rows(request, list_pools(viewer))
    may_change = permissions.allows(viewer, "cluster.manage")
    return page(
        request,
        "storage_list.html",
        regions={"storages": "_storages.html"},
        storages=_with_nodes(viewer, list(shown), may_change=may_change),
        page=shown,
        problems=list_storage_problems(viewer)[:MOST_NODES],
        may_change=may_change,
    )


def _with_nodes(viewer: User, pools: Sequence[Pool], *, may_change: bool) -> list[Storage]:
    nodes = list(list_nodes(viewer).prefetch_related(None).order_by("name", "pk")[:MOST_NODES])
    assigned = assigned_in(pools)
    return [Storage(pool, _on_nodes(pool, nodes, assigned), Policies(pool) if may_change else None) for pool in pools]


@login_required
@require_POST
def storage_settings(request: HttpRequest, storage_id: int) -> HttpResponse:
    """Change what may be chosen of a storage; answers its card."""
    viewer = viewer_of(request)
    need(viewer, "cluster.manage")
    pool = found_or_404(get_pool, viewer, storage_id)
    form = Policies(pool, request.POST)
    done = form.is_valid()
    if done:
        change_pool(pool, {name: form.cleaned_data[name] for name in form.changed_data})
        pool = get_pool(viewer, storage_id)
    (storage,) = _with_nodes(viewer, [pool], may_change=True)
    shown = storage if done else replace(storage, form=form)
    answer = render(request, "_storage.html", {"storage": shown}, status=200 if done else 422)
    return say(answer, gettext("Saved."), close=False) if done else answer


class NewStorage(forms.Form):
    """The form for a storage of a kind: what all have, and the kind's options."""

    name = forms.CharField(label=_("Name"), max_length=64)
    kind = forms.ChoiceField(label=_("Kind"))
    volume_format = forms.ChoiceField(label=_("Format of volumes"))
    shared = forms.BooleanField(label=_("Shared: all nodes see the same files"), required=False)

    def __init__(self, kind: Kind, data: QueryDict | None, initial: dict[str, Any]) -> None:
        super().__init__(data, initial=initial)
        self.options = list(kind.options.model_fields)
        kinds = [(each.name, translated(each.label)) for each in KINDS.values()]
        self.fields["kind"] = forms.ChoiceField(label=_("Kind"), choices=kinds, initial=kind.name)
        self.fields["volume_format"] = forms.ChoiceField(
            label=_("Format of volumes"), choices=[(each, each) for each in kind.formats]
        )
        if kind.shared is not None:
            del self.fields["shared"]
        for name, info in kind.options.model_fields.items():
            self.fields[name] = operation_form.field_of(name, info, None)
        for field in self.fields.values():
            operation_form.style(field)

    @property
    def asked(self) -> dict[str, Any]:
        """What was filled in, as services.add_pool() takes it."""
        filled = {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}
        options = {name: filled.pop(name) for name in self.options if name in filled}
        return {**filled, "options": options}


@login_required
def storage_new(request: HttpRequest) -> HttpResponse:
    """The form for a new storage; `?kind=` says of which kind."""
    viewer = viewer_of(request)
    need(viewer, "cluster.manage")
    data = request.POST if request.method == "POST" else None
    kind = KINDS.get((data or request.GET).get("kind", ""), KINDS[DirectoryKind.name])
    form = NewStorage(kind, data, request.GET.dict())
    if data is None:
        return page(request, "storage_new.html", regions={"storage-new": "_storage_new.html"}, form=form)
    if form.is_valid():
        try:
            add_pool(default_cluster(), form.asked)
        except PanelError as error:
            told = Redaction(viewer).error(error)
            form.add_error(told.field if told.field in form.fields else None, told.message)
        else:
            response = HttpResponse(status=204)
            response.headers["HX-Redirect"] = reverse("storages")
            return response
    return render(request, "_storage_new.html", {"form": form}, status=422)


def _on_nodes(pool: Pool, nodes: Sequence[Node], assigned: Mapping[tuple[int, int], Assigned]) -> list[Row]:
    """The storage on each of its cluster's nodes."""
    here = [node for node in nodes if node.cluster_id == pool.cluster_id]
    known = {each.node_id: each for each in pool.on_nodes.all()}
    return [_row(pool, node, here, known, assigned.get((node.pk, pool.pk), Assigned())) for node in here]


def _row(pool: Pool, node: Node, nodes: Sequence[Node], known: Mapping[int, NodePool], assigned: Assigned) -> Row:
    space = known.get(node.pk)
    mark = space.mark if space else ""
    marks = {other.name: known[other.pk].mark for other in nodes if other != node and other.pk in known}
    same = [name for name, others in marks.items() if mark and others == mark]
    different = any(mark and others and others != mark for others in marks.values())
    return Row(node, space, assigned, _names(same, len(nodes) - 1), untrue=different if pool.shared else bool(same))


def _names(names: Sequence[str], others: int) -> str:
    if len(names) == others > 1:
        return gettext("all others")
    named, left = ", ".join(names[:MOST_NAMES]), len(names) - MOST_NAMES
    return gettext("%(names)s and %(count)s more") % {"names": named, "count": left} if left > 0 else named
