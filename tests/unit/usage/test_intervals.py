"""Stretches cover a period exactly, whatever the entries are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from panel.usage.intervals import owned_by, seconds_by_size, size_of, stretches, sums, there

DAY = datetime(2026, 2, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """An entry as the ledger has it."""

    at: datetime
    vcpus: int
    owner_id: int = 1
    memory_mib: int = 512
    disk_gib: int = 10
    addresses: int = 1
    suspended: bool = False
    exists: bool = True


def at(seconds: int) -> datetime:
    """So many seconds after the begin of the day."""
    return DAY + timedelta(seconds=seconds)


ledgers = st.lists(
    st.builds(
        lambda seconds, vcpus, owner, suspended, exists: Entry(
            at(seconds), vcpus, owner, suspended=suspended, exists=exists
        ),
        st.integers(0, 60),
        st.integers(1, 3),
        st.integers(1, 2),
        st.booleans(),
        st.booleans(),
    ),
    max_size=8,
).map(lambda entries: sorted(entries, key=lambda entry: entry.at))
moments = st.integers(0, 70)


@given(ledgers, moments, moments)
def test_they_are_the_period_without_gap_or_overlap_and_no_two_neighbours_are_alike(
    entries: list[Entry], one: int, other: int
) -> None:
    begin, end = at(min(one, other)), at(max(one, other))
    found = stretches(entries, begin, end)
    assert sum(part.seconds for part in found) == abs(one - other)
    edges = [begin, *(part.end for part in found)] if found else [begin, end]
    assert [part.begin for part in found] == edges[:-1] or begin == end
    assert edges[-1] == end
    assert all(left.size != right.size for left, right in pairwise(found))


@given(ledgers, moments, moments)
def test_each_second_has_the_size_of_the_last_entry_until_then(entries: list[Entry], one: int, other: int) -> None:
    begin, end = min(one, other), max(one, other)
    found = stretches(entries, at(begin), at(end))
    for second in range(begin, end):
        earlier = [entry for entry in entries if entry.at <= at(second)]
        [part] = [part for part in found if part.begin <= at(second) < part.end]
        assert part.size == (size_of(earlier[-1]) if earlier else None)


@given(ledgers, moments, moments, moments)
def test_parts_of_a_period_add_up_to_it(entries: list[Entry], one: int, two: int, three: int) -> None:
    begin, middle, end = sorted((one, two, three))
    whole = seconds_by_size(stretches(entries, at(begin), at(end)))
    parts = [stretches(entries, at(begin), at(middle)), stretches(entries, at(middle), at(end))]
    assert whole == seconds_by_size([part for each in parts for part in each])


@given(ledgers, moments, moments)
def test_owners_share_the_time_in_which_it_was_there(entries: list[Entry], one: int, other: int) -> None:
    found = stretches(entries, at(min(one, other)), at(max(one, other)))
    owned = [seconds_by_size(owned_by(found, owner)) for owner in (1, 2)]
    assert owned[0] | owned[1] == seconds_by_size(found)
    assert sum((end - begin).total_seconds() for begin, end in there(found)) == sum(seconds_by_size(found).values())


def test_sums_are_sizes_times_seconds_and_suspended_time_is_apart() -> None:
    found = stretches(
        [Entry(at(10), 2), Entry(at(20), 4), Entry(at(50), 4, suspended=True), Entry(at(60), 4, exists=False)],
        at(0),
        at(100),
    )
    active, suspended = (sums(found, suspended=which) for which in (False, True))
    assert (active.seconds, active.vcpu_seconds, active.memory_mib_seconds) == (40, 10 * 2 + 30 * 4, 40 * 512)
    assert (suspended.seconds, suspended.vcpu_seconds, suspended.disk_gib_seconds) == (10, 40, 100)
