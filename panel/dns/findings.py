"""What is wrong at name servers, as problems: one that does not answer, records kept by hand, refused, or changed."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import QuerySet

from panel.core.wording import Text
from panel.dns.models import DnsServer, Record, RecordState
from panel.notices.models import Severity
from panel.notices.services import close_problem, close_problems_of, open_problem

MOST_NAMED = 5
AWAY = "The name server “{name}” cannot be worked with, and is tried again. {error}"
BY_HAND = (
    "{count} names at the name server “{name}” have records that somebody made by hand, and that the panel leaves as "
    "they are: {names}. Remove them there, and the panel writes its own."
)
REFUSED = "The name server “{name}” does not take {count} records: {names}. {error}"
DIFFERED = (
    "{count} names at the name server “{name}” were not as the panel had written them: {names}. What was the panel's "
    "own was written again."
)


def tell_away(server: DnsServer, why: Text) -> None:
    """That the server does not answer."""
    _open(server, "away", Text(AWAY, {"name": server.name, "error": why}), Severity.WARNING)


def tell(server: DnsServer) -> None:
    """What of the server's records is as they shall not be; it answers."""
    close_problem(_key(server.pk, "away"))
    by_hand = server.records.filter(state=RecordState.BY_HAND, wanted=True)
    _told(server, "by-hand", BY_HAND, by_hand)
    _told(server, "refused", REFUSED, server.records.filter(state=RecordState.REFUSED))


def tell_of_differing(server: DnsServer, differing: Sequence[str]) -> None:
    """Which names were not as the panel had left them at this look; none ends what the last one found."""
    if not differing:
        close_problem(_key(server.pk, "differed"))
        return
    data = {"name": server.name, "count": len(differing), "names": _list(differing)}
    _open(server, "differed", Text(DIFFERED, data), Severity.INFO)


def end(server_id: int) -> None:
    """Nothing is told of the server any more."""
    close_problems_of("dns-server", server_id)


def _told(server: DnsServer, what: str, template: str, rows: QuerySet[Record]) -> None:
    found = list(rows.order_by("name")[: MOST_NAMED + 1])
    if not found:
        close_problem(_key(server.pk, what))
        return
    count = rows.count()
    first: Record = found[0]
    data = {"name": server.name, "count": count, "names": _list([each.name for each in found], count)}
    _open(server, what, Text(template, {**data, "error": first.worded_error}), Severity.WARNING)


def _list(found: Sequence[str], count: int = 0) -> str:
    more = max(count, len(found)) - MOST_NAMED
    named = ", ".join(each.removesuffix(".") for each in found[:MOST_NAMED])
    return named + (f", … (+{more})" if more > 0 else "")


def _open(server: DnsServer, what: str, text: Text, severity: Severity) -> None:
    key = _key(server.pk, what)
    open_problem(key, text, severity=severity, object_type="dns-server", object_id=server.pk)


def _key(server_id: int, what: str) -> str:
    return f"dns-server:{server_id}:{what}"
