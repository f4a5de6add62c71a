"""Bringing name servers to what shall be there: in a thread of the worker that sweeps, with a lease on each server.

What somebody made by hand is never overwritten: a set of records with contents that the panel did not write stays as it
is, and a problem tells of it. A server that does not answer is tried again, later and later; what it shall have waits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from django.db.models import Q, QuerySet
from django.utils import timezone

from panel.core import live
from panel.core.wording import Text, for_row
from panel.dns import findings, names, wanted
from panel.dns.client import PowerDns, Refused, ServerAway, SetKey
from panel.dns.models import DnsServer, Record, RecordState

log = logging.getLogger(__name__)
LEASE = timedelta(seconds=90)
COMPARED_EVERY = timedelta(minutes=30)
SETS_AT_ONCE = 100
ROUNDS = 50
"""Of so many sets, in one go."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2, 300
LONGEST_RECORD_PAUSE_SECONDS = 3600
ONE_BY_ONE = 5
"""Names that are asked for each by itself; of more the whole zone is read."""
NO_ZONE = "It has no zone for the name, and the panel may make none."


@dataclass(frozen=True)
class Set:
    """The panel's rows of one name and type."""

    key: SetKey
    rows: Sequence[Record]

    @property
    def wanted(self) -> set[str]:
        """What shall be there."""
        return {each.content for each in self.rows if each.wanted}

    @property
    def ours(self) -> set[str]:
        """What the panel may have written."""
        return {each.content for each in self.rows if each.written}


def bring_all() -> None:
    """Make the records of what changed, and have every server that can be spoken to follow."""
    while wanted.take_due() == wanted.AT_ONCE:
        pass
    for server_id in due_servers().values_list("pk", flat=True):
        bring(server_id)


def due_servers() -> QuerySet[DnsServer]:
    """Servers that there is something to do at, and that may be tried now."""
    now = timezone.now()
    waiting = _due_records().values("server")
    something = Q(pk__in=waiting) | Q(look_again=True) | Q(removing=True) | Q(compare_at__lte=now)
    free = Q(held_until=None) | Q(held_until__lte=now)
    return DnsServer.objects.filter(something, free, Q(next_try_at=None) | Q(next_try_at__lte=now)).order_by("pk")


def _due_records() -> QuerySet[Record]:
    again = Q(state=RecordState.REFUSED, next_try_at__lte=timezone.now())
    return Record.objects.filter(Q(state=RecordState.WAITING) | again)


def bring(server_id: int) -> None:
    """The server has what it shall have, as far as it answers; nothing happens while another worker is at it."""
    if not _lease(server_id):
        return
    try:
        server = DnsServer.objects.get(pk=server_id)
        if server.look_again:
            DnsServer.objects.filter(pk=server_id).update(look_again=False)
            wanted.refresh_all()
        with PowerDns(server.url, server.key) as dns:
            _follow(server, dns)
        _answered(server)
    except ServerAway as error:
        _away(server_id, error.text)
    finally:
        DnsServer.objects.filter(pk=server_id).update(held_until=None)


def _lease(server_id: int) -> bool:
    """Whether this worker has the server now."""
    now = timezone.now()
    free = DnsServer.objects.filter(Q(held_until=None) | Q(held_until__lte=now), pk=server_id)
    return bool(free.update(held_until=now + LEASE))


def _keep(server: DnsServer) -> None:
    DnsServer.objects.filter(pk=server.pk).update(held_until=timezone.now() + LEASE)


def _follow(server: DnsServer, dns: PowerDns) -> None:
    zones = dns.zones()
    comparing = server.compare_at <= timezone.now()
    if comparing:
        wanted.refresh_all()
        differing = _compare(server, dns, zones)
    for _round in range(ROUNDS):
        sets = _due_sets(server)
        if not sets:
            break
        _keep(server)
        for zone, some in _by_zone(server, dns, zones, sets):
            _write(server, dns, zone, some)
    if comparing:
        findings.tell_of_differing(server, differing)
        DnsServer.objects.filter(pk=server.pk).update(compare_at=timezone.now() + COMPARED_EVERY)


def _due_sets(server: DnsServer) -> list[Set]:
    """The next sets with something due in them, each with all its rows."""
    due = _due_records().filter(server=server).order_by("name", "type").values_list("name", "type").distinct()
    keys = list(due[:SETS_AT_ONCE])
    rows = Record.objects.filter(server=server, name__in={name for name, _type in keys}).order_by("name", "type", "pk")
    found = groupby(rows, key=lambda row: (row.name, row.type))
    return [Set(key, list(some)) for key, some in found if key in keys]


def _by_zone(
    server: DnsServer, dns: PowerDns, zones: dict[str, str], sets: Iterable[Set]
) -> Iterable[tuple[str, Sequence[Set]]]:
    """The sets by the path of their zone, which is made where it is missing and may be; others are refused."""
    found: dict[str, list[Set]] = {}
    for each in sets:
        name = names.zone_of(each.key[0], zones)
        if name is None and not each.wanted:
            # The zone is gone, and so is what was in it.
            _done(each, set())
            continue
        if name is None:
            try:
                name = _make_zone(server, dns, zones, each.rows[0].zone)
            except Refused as error:
                _refuse(each, error.text)
                continue
        found.setdefault(zones[name], []).append(each)
    return found.items()


def _make_zone(server: DnsServer, dns: PowerDns, zones: dict[str, str], name: str) -> str:
    if not server.make_zones:
        raise Refused(Text(NO_ZONE))
    zones[name] = dns.make_zone(name, server.zone_nameservers)
    log.info("name server %s: the zone %s was made", server.name, name)
    return name


def _write(server: DnsServer, dns: PowerDns, zone: str, sets: Sequence[Set]) -> None:
    """The sets of one zone are as they shall be, but for what is kept by hand."""
    there = _there(dns, zone, sets)
    after = {each.key: contents for each in sets if (contents := _after(each, there)) is not None}
    for each in sets:
        if each.key in after:
            added = (after[each.key] or set()) - there.get(each.key, set())
            Record.objects.filter(pk__in=[row.pk for row in each.rows if row.content in added]).update(written=True)
    refused = _replace(dns, zone, after, server.ttl)
    for each in sets:
        if each.key in refused:
            _refuse(each, refused[each.key])
        else:
            _done(each, there.get(each.key, set()) - each.ours - each.wanted, blocked=_is_alias(each.key, there))


def _there(dns: PowerDns, zone: str, sets: Sequence[Set]) -> dict[SetKey, set[str]]:
    asked: Sequence[str | None] = [None] if len(sets) > ONE_BY_ONE else sorted({each.key[0] for each in sets})
    found: dict[SetKey, set[str]] = {}
    for name in asked:
        found |= {key: set(contents) for key, contents in dns.record_sets(zone, name).items()}
    return found


def _after(each: Set, there: Mapping[SetKey, set[str]]) -> set[str] | None:
    """What the set shall be changed to; None where it stays as it is."""
    now = there.get(each.key, set())
    by_hand = now - each.ours - each.wanted
    if _is_alias(each.key, there) or (by_hand and not now & each.ours):
        return None
    # What is the same by hand and was not written stays when ours goes.
    after = each.wanted | (now - each.ours)
    return None if after == now else after


def _is_alias(key: SetKey, there: Mapping[SetKey, set[str]]) -> bool:
    return bool(there.get((key[0], "CNAME")))


def _replace(dns: PowerDns, zone: str, after: Mapping[SetKey, set[str]], ttl: int) -> dict[SetKey, Text]:
    """Write all at once; where that is refused each by itself, and answer which are refused."""
    if not after:
        return {}
    sets = {key: sorted(contents) for key, contents in after.items()}
    try:
        dns.replace(zone, sets, ttl)
    except Refused as error:
        if len(sets) == 1:
            return dict.fromkeys(sets, error.text)
        found: dict[SetKey, Text] = {}
        for key in after:
            found |= _replace(dns, zone, {key: after[key]}, ttl)
        return found
    return {}


def _done(each: Set, by_hand: set[str], blocked: bool = False) -> None:
    """The rows say that the server has it; those that it shall not have any more are gone."""
    state = RecordState.BY_HAND if (by_hand or blocked) else RecordState.DONE
    ids = [row.pk for row in each.rows]
    fields = {"state": state, "attempts": 0, "next_try_at": None, "error": "", "error_said": None}
    # As they were read: what changed meanwhile waits for the next round.
    kept = [row.pk for row in each.rows if row.wanted]
    Record.objects.filter(pk__in=kept, wanted=True).update(**fields)
    Record.objects.filter(pk__in=set(ids) - set(kept), wanted=False).delete()


def _refuse(each: Set, why: Text) -> None:
    english, said = for_row(why)
    for row in each.rows:
        pause = min(FIRST_PAUSE_SECONDS * 2**row.attempts, LONGEST_RECORD_PAUSE_SECONDS)
        Record.objects.filter(pk=row.pk, wanted=row.wanted).update(
            state=RecordState.REFUSED,
            attempts=min(row.attempts + 1, 20),
            next_try_at=timezone.now() + timedelta(seconds=pause),
            error=english[:300],
            error_said=said,
        )


def _compare(server: DnsServer, dns: PowerDns, zones: Mapping[str, str]) -> list[str]:
    """Have what differs brought to what it shall be; answers the names that were not as the panel left them."""
    rows = Record.objects.filter(server=server).exclude(state=RecordState.WAITING).order_by("name", "type", "pk")
    sets = [Set(key, list(some)) for key, some in groupby(rows, key=lambda row: (row.name, row.type))]
    of_zones: dict[str, list[Set]] = {}
    for each in sets:
        of_zones.setdefault(zones.get(names.zone_of(each.key[0], zones) or "", ""), []).append(each)
    differing: list[str] = []
    for path, some in of_zones.items():
        _keep(server)
        there = {key: set(contents) for key, contents in dns.record_sets(path).items()} if path else {}
        for each in some:
            if there.get(each.key, set()) != each.wanted:
                _wait(each)
                if all(row.state == RecordState.DONE for row in each.rows):
                    differing.append(each.key[0].removesuffix("."))
            elif any(row.state == RecordState.BY_HAND for row in each.rows):
                _wait(each)
    return differing


def _wait(each: Set) -> None:
    ids = [row.pk for row in each.rows]
    Record.objects.filter(pk__in=ids).exclude(state=RecordState.REFUSED).update(state=RecordState.WAITING)


def _answered(server: DnsServer) -> None:
    """It worked: nothing is wrong with the server; one that is being removed is forgotten once it has nothing."""
    now = timezone.now()
    DnsServer.objects.filter(pk=server.pk).update(
        failures=0, next_try_at=None, answered_at=now, error="", error_said=None
    )
    if DnsServer.objects.filter(pk=server.pk, removing=True).exists() and not server.records.exists():
        forget(server.pk)
        return
    findings.tell(server)
    live.publish("dns-server", {"id": server.pk})


def forget(server_id: int) -> None:
    """The panel does not know the server."""
    findings.end(server_id)
    DnsServer.objects.filter(pk=server_id).delete()
    live.publish("dns-server", {"id": server_id, "gone": True})


def _away(server_id: int, why: Text) -> None:
    server = DnsServer.objects.filter(pk=server_id).first()
    if server is None:
        return
    log.warning("name server %s: %s", server.name, why.english)
    server.error, server.error_said = for_row(why)
    pause = min(FIRST_PAUSE_SECONDS * 2**server.failures, LONGEST_PAUSE_SECONDS)
    DnsServer.objects.filter(pk=server_id).update(
        failures=min(server.failures + 1, 20),
        next_try_at=timezone.now() + timedelta(seconds=pause),
        error=server.error[:300],
        error_said=server.error_said,
    )
    findings.tell_away(server, why)
    live.publish("dns-server", {"id": server_id})
