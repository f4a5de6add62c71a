"""The rows of the list of VMs, made here: by a template fifty of them cost more than all queries of the list together.

Whatever is no SafeString is escaped: filled() is Django's format_html without its way around lazy texts, which took
most of its time.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext

from panel.cluster.redaction import Redaction
from panel.core import kinds, wording
from panel.monitoring.statistics.selectors import warnings
from panel.tasks.models import Task
from panel.tasks.selectors import open_tasks_of
from panel.vms.models import Vm
from panel.vms.usage import had
from panel.web.listing import Asked, Column
from panel.web.templatetags.page import icon, moment, status
from panel.web.templatetags.units import MIB_A_GIB, mib

NOTHING = SafeString("")


@dataclass(frozen=True)
class Known:
    """What the rows of a page share, known once for all of them."""

    redaction: Redaction
    images: Mapping[str, str]
    tasks: Mapping[int, Task]
    words: Mapping[str, str]
    sizes: dict[int, str] = field(default_factory=dict)

    def size(self, mebibytes: int) -> str:
        """On one line, however narrow the column; most VMs have one of few."""
        if mebibytes not in self.sizes:
            self.sizes[mebibytes] = mib(mebibytes).replace(" ", "\N{NO-BREAK SPACE}")
        return self.sizes[mebibytes]


def escaped(value: Any) -> SafeString:
    """The text of a value within a page."""
    return value if isinstance(value, SafeString) else SafeString(html.escape(str(value)))


def filled(template: str, *values: Any) -> SafeString:
    """The template with the values' texts."""
    return SafeString(template.format(*map(escaped, values)))


def drawn(asked: Asked, vms: list[Vm], chooses: bool) -> SafeString:
    """The rows; with a box each, where the list can be chosen from."""
    known = Known(
        redaction=Redaction(asked.viewer),
        images=dict(asked.choices_of("image")) if "image" in asked.shown else {},
        tasks=open_tasks_of("vm", [vm.pk for vm in vms]) if "task" in asked.shown else {},
        words={
            "choose": gettext("Choose %(name)s"),
            "installing": gettext("installing"),
            "suspended": gettext("suspended"),
            "elsewhere": gettext("on two nodes"),
        },
    )
    columns = [(opened(each), CELLS[each.name]) for each in asked.columns]
    return _joined(_row(vm, columns, known, chooses) for vm in vms)


def opened(column: Column) -> SafeString:
    """The beginning of a column's cells."""
    return filled('<td class="{}">', column.card) if column.card else SafeString("<td>")


Cell = Callable[[Vm, Known], SafeString | str]


def _row(vm: Vm, columns: list[tuple[SafeString, Cell]], known: Known, chooses: bool) -> SafeString:
    parts = [filled('<tr id="vm-{0}" data-object="vm:{0}">', vm.pk)]
    if chooses:
        label = known.words["choose"] % {"name": vm.name}
        box = '<td><input class="form-check-input" type="checkbox" data-choose="{}" aria-label="{}"></td>'
        parts.append(filled(box, vm.pk, label))
    for beginning, cell in columns:
        parts += (beginning, escaped(cell(vm, known)), END_OF_CELL)
    return _joined((*parts, END_OF_ROW))


END_OF_CELL, END_OF_ROW = SafeString("</td>"), SafeString("</tr>\n")


def _joined(parts: Iterable[SafeString]) -> SafeString:
    return SafeString("".join(parts))


def _name(vm: Vm, known: Known) -> SafeString:
    return filled('<a href="{}">{}</a>', kinds.page_of("vm", vm.pk), vm.name)


def _status(vm: Vm, known: Known) -> SafeString:
    return _joined((status(vm.status, vm.order), *_badges(vm, known)))


def _badges(vm: Vm, known: Known) -> Iterable[SafeString]:
    if vm.installing:
        yield filled(' <span class="badge text-bg-info">{}</span>', known.words["installing"])
    if vm.suspended:
        badge = ' <span class="badge text-bg-warning" title="{}">{}</span>'
        yield filled(badge, vm.suspension_reason, known.words["suspended"])
    if vm.seen_elsewhere:
        yield filled(' <span class="badge text-bg-danger">{}</span>', known.words["elsewhere"])
    for warning in warnings(vm):
        badge = ' <span class="badge text-bg-warning" title="{0}">{1}<span class="visually-hidden">{0}</span></span>'
        yield filled(badge, wording.translated(warning), icon("exclamation-triangle"))


def _addresses(vm: Vm, known: Known) -> SafeString:
    return _joined(filled("<code>{}</code> ", ip) for each in vm.told_interfaces for ip in each.ips)


def _disks(vm: Vm, known: Known) -> str:
    return ", ".join(known.size(each.volume.size_gib * MIB_A_GIB) for each in vm.told_disks)


def _node(vm: Vm, known: Known) -> SafeString:
    return filled('<a href="{}">{}</a>', kinds.page_of("node", vm.node_id), vm.node.name)


def _task(vm: Vm, known: Known) -> SafeString:
    task = known.tasks.get(vm.pk)
    if task is None:
        return NOTHING
    return filled(
        '<a href="{}" data-task="{}"><progress max="1" value="{}" aria-label="{}"></progress></a>',
        kinds.page_of("task", task.pk),
        task.pk,
        f"{task.progress:.3f}",
        known.redaction.shown(task.worded_title),
    )


CELLS: dict[str, Cell] = {
    "name": _name,
    "status": _status,
    "addresses": _addresses,
    "image": lambda vm, known: known.images.get(vm.image.name, vm.image.name) if vm.image else "–",
    "vcpus": lambda vm, known: str(had(vm, "vcpus")),
    "memory": lambda vm, known: known.size(had(vm, "memory_mib")),
    "disks": _disks,
    "node": _node,
    "owner": lambda vm, known: vm.owner.name,
    "created": lambda vm, known: moment(vm.created_at),
    "task": _task,
}
"""What stands in each column."""
