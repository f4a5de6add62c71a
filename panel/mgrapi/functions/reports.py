"""`reportvm`: the traffic of a VM, which clients bill."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.utils import timezone

from panel.accounts.models import User
from panel.core.errors import InvalidValue, MissingValue
from panel.core.wording import one_of
from panel.mgrapi.call import NUMBER, Call
from panel.mgrapi.documents import Rows
from panel.mgrapi.functions.lists import chosen
from panel.monitoring.statistics.selectors import daily_traffic
from panel.vms.models import Vm
from panel.vms.selectors import get_vm, list_vms

GIB = 1024**3
PERIODS = ("today", "yesterday", "currentmonth", "lastmonth", "currentyear")


def period_of(name: str, today: date) -> tuple[date, date]:
    """The first day of a period, and the first after it; raises InvalidValue."""
    month = today.replace(day=1)
    tomorrow = today + timedelta(days=1)
    periods = {
        "today": (today, tomorrow),
        "yesterday": (today - timedelta(days=1), today),
        "currentmonth": (month, tomorrow),
        "lastmonth": ((month - timedelta(days=1)).replace(day=1), month),
        "currentyear": (today.replace(month=1, day=1), tomorrow),
    }
    if name not in periods:
        raise InvalidValue(one_of("period", PERIODS), field="period")
    return periods[name]


def reportvm(viewer: User, call: Call) -> Rows:
    """What the VM `server` (number or name) sent and received on each day (UTC) of the period, in GiB."""
    if call.text("type") not in ("", "day"):
        raise InvalidValue("“type” must be “day”.", field="type")
    vm = _vm(viewer, call)
    first, end = period_of(call.text("period") or "currentmonth", timezone.now().date())
    since, until = (datetime(each.year, each.month, each.day, tzinfo=UTC) for each in (first, end))
    return chosen(
        call,
        [
            {"id": f"{day:%Y-%m-%d}", "day": f"{day:%Y-%m-%d}", "tx": _gib(sent), "rx": _gib(received)}
            for day, received, sent in daily_traffic(viewer, vm.pk, since, until)
        ],
    )


def _vm(viewer: User, call: Call) -> Vm:
    asked = call.text("server", "elid")
    if not asked:
        raise MissingValue(field="server")
    if NUMBER.match(asked):
        return get_vm(viewer, int(asked))
    named = list_vms(viewer).filter(name=asked).first()
    return get_vm(viewer, named.pk if named else 0)


def _gib(count: int) -> str:
    return f"{count / GIB:.6f}"


FUNCTIONS = {"reportvm": reportvm}
