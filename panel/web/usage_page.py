"""The page of usage for billing: a month, VM by VM, on the page and as CSV. The numbers are those of REST's /usage.

What was told of a time does not change any more: asking closes it, up to now for the month that goes on.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _

from panel.accounts.models import User
from panel.accounts.selectors import list_users
from panel.cluster.redaction import Redaction
from panel.core.errors import PanelError
from panel.monitoring import usage
from panel.monitoring.statistics.periods import next_month
from panel.usage.intervals import Sums, sums
from panel.web.listing import plain
from panel.web.rendering import need, page, viewer_of

MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])\Z")
PAGE = 100
MOST_OWNERS = 500
HOUR, MIB_A_GIB = 3600, 1024
HEAD = (
    "vm", "name", "uuid", "begin", "end", "hours", "vcpu_hours", "memory_gib_hours", "disk_gib_hours", "address_hours",
    "suspended_hours", "received_bytes", "sent_bytes", "traffic_complete",
)  # fmt: skip
"""The columns of the CSV, which programs read: they are in no language."""


@login_required
def usage_page(request: HttpRequest) -> HttpResponseBase:
    """The usage of a month: of all VMs or of one owner's; a user's own."""
    viewer = viewer_of(request)
    need(viewer, "vms.view")
    month = _month(request.GET.get("month", ""))
    owner = request.GET.get("owner", "") if viewer.sees_all else ""
    context: dict[str, Any] = {"month": f"{month:%Y-%m}", "owner": owner, "owners": _owners(viewer), "rows": []}
    try:
        of = usage.owner_id(viewer, owner or None, None)
        begin, end = usage.closed_period(month, next_month(month))
    except PanelError as error:
        return page(request, "usage.html", refusal=Redaction(viewer).error(error).message, **context)
    found = usage.metered_vms(of, begin, end).order_by("vm_id")
    if request.GET.get("format") == "csv":
        return _csv(f"usage-{month:%Y-%m}.csv", found, begin, end, of)
    shown = Paginator(found, PAGE).get_page(request.GET.get("page"))
    context["rows"] = [_row(each) for each in usage.usage_of([entry.vm_id for entry in shown], begin, end, of)]
    return page(request, "usage.html", begin=begin, end=end, page=shown, **context)


def _month(text: str) -> datetime:
    """The month's begin (UTC), as billing counts it; the present one for what is none."""
    if match := MONTH.match(text):
        return datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC)
    now = timezone.now().astimezone(UTC)
    return datetime(now.year, now.month, 1, tzinfo=UTC)


def _owners(viewer: User) -> list[str]:
    if not viewer.sees_all:
        return []
    return list(list_users(viewer).order_by("name").values_list("name", flat=True)[:MOST_OWNERS])


def _row(found: usage.VmUsage) -> dict[str, Any]:
    """A VM's month in the units that people bill by."""
    active, suspended = (sums(found.stretches, suspended=which) for which in (False, True))
    together = Sums(*(getattr(active, name) + getattr(suspended, name) for name in Sums.__dataclass_fields__))
    return {
        "found": found,
        "hours": together.seconds / HOUR,
        "vcpu_hours": together.vcpu_seconds / HOUR,
        "memory_gib_hours": together.memory_mib_seconds / MIB_A_GIB / HOUR,
        "disk_gib_hours": together.disk_gib_seconds / HOUR,
        "address_hours": together.address_seconds / HOUR,
        "suspended_hours": suspended.seconds / HOUR,
        "complete": {True: _("all"), False: _("not all was read"), None: _("not known yet")}[found.traffic.complete],
    }


def _csv(name: str, found: Any, begin: datetime, end: datetime, of: int | None) -> HttpResponseBase:
    ids = list(found.values_list("vm_id", flat=True))

    def lines() -> Iterator[str]:
        yield WRITER.writerow(HEAD)
        for first in range(0, len(ids), PAGE):
            for each in usage.usage_of(ids[first : first + PAGE], begin, end, of):
                yield WRITER.writerow([plain(cell) for cell in _cells(_row(each))])

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _cells(row: dict[str, Any]) -> list[Any]:
    found: usage.VmUsage = row["found"]
    numbers = [f"{row[name]:.6f}" for name in HEAD[5:11]]
    traffic = found.traffic
    known = {True: "yes", False: "no", None: ""}[traffic.complete]
    where = [found.vm_id, found.name, found.uuid, found.begin.isoformat(), found.end.isoformat()]
    return [*where, *numbers, traffic.rx_bytes, traffic.tx_bytes, known]


class _Echo:
    def write(self, line: str) -> str:
        return line


WRITER: Any = csv.writer(_Echo())
