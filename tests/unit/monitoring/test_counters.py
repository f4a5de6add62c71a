"""Whatever becomes of a domain and its devices, what is counted is what it did as far as anyone could read it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panel.monitoring.statistics.counters import AT_START, Reading, advance
from panel.monitoring.statistics.intake import months

BOTH = {"vnet0": [10, 1, 20, 2], "vnet1": [1000, 1, 1000, 1]}


def rx(before: Reading, now: Reading) -> int:
    """Received bytes that were added."""
    return advance(before, now)[0]["rx_bytes"]


@pytest.mark.parametrize(
    ("before", "now", "added"),
    [
        ({"vnet0": [10, 1, 1, 1]}, {"vnet0": [15, 1, 1, 1]}, 5),
        # The device was exchanged for another of its name.
        ({"vnet0": [10, 1, 1, 1]}, {"vnet0": [4, 1, 1, 1]}, 4),
        (BOTH, {"vnet0": [11, 1, 20, 2]}, 1),
        ({"vnet0": [10, 1, 20, 2]}, BOTH, 1000),
        (BOTH, None, 0),
        (None, BOTH, 0),
        ({"vnet0": [None, 1, 1, 1]}, {"vnet0": [15, 1, 1, 1]}, 0),
        ({}, BOTH, 1010),
    ],
)
def test_each_device_is_compared_with_itself(
    before: dict[str, list[int | None]] | None, now: dict[str, list[int | None]] | None, added: int
) -> None:
    assert rx(Reading(interfaces=before), Reading(interfaces=now)) == added


def test_what_could_not_be_read_is_compared_with_what_was_read_last() -> None:
    first = Reading(7, 100, 90, {"vda": [5, 5, 5, 5]}, {"vnet0": [5, 5, 5, 5]})
    unread = Reading(None, None, None, {"vda": [None, 6, None, None]}, None)
    added, kept = advance(first, unread)
    assert (added["read_requests"], sum(added.values())) == (1, 1)
    assert kept == Reading(7, 100, 90, {"vda": [5, 6, 5, 5]}, {"vnet0": [5, 5, 5, 5]})


def test_a_reading_survives_the_database() -> None:
    reading = Reading(7, 100, None, {"vda": [5, None, 5, 5]}, None)
    assert Reading(**reading.as_json()) == reading


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[str, str, int]]:
    """What happens to a domain: (what, to which device, how much)."""
    word = st.sampled_from(["traffic", "traffic", "traffic", "plug", "unplug", "restart", "read", "read", "unread"])
    return draw(st.lists(st.tuples(word, st.sampled_from(["a", "b", "c"]), st.integers(0, 5000)), max_size=60))


@settings(max_examples=500, derandomize=True)
@given(lives())
def test_the_sum_is_what_every_device_of_every_run_had_counted_when_it_was_last_read(
    life: list[tuple[str, str, int]],
) -> None:
    devices: dict[str, int] = {"a": 0}
    born = 0
    names = {"a": "a0"}
    last_read: dict[tuple[int, str], int] = {}
    run, told, before = 0, 0, AT_START
    for what, device, more in life:
        if what == "traffic" and device in devices:
            devices[device] += more
        elif what == "plug" and device not in devices:
            # As with libvirt's vnet numbers, a name is not given a second time in a run.
            born += 1
            devices[device], names[device] = 0, f"{device}{born}"
        elif what == "unplug":
            devices.pop(device, None)
        elif what == "restart":
            run, before, devices = run + 1, AT_START, dict.fromkeys(devices, 0)
        elif what in ("read", "unread"):
            unread = device if what == "unread" else ""
            counts = {names[each]: [None if each == unread else value] * 4 for each, value in devices.items()}
            added, before = advance(before, Reading(cpu_ns=0, disks={}, interfaces=counts))  # type: ignore[arg-type]
            told += added["rx_bytes"]
            last_read |= {(run, names[each]): value for each, value in devices.items() if each != unread}
    assert told == sum(last_read.values())


@settings(max_examples=300, derandomize=True)
@given(
    st.datetimes(datetime(2025, 11, 1), datetime(2027, 3, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(0), timedelta(days=100)),
    st.integers(0, 10**15),
)
def test_what_is_shared_among_months_adds_up(since: datetime, length: timedelta, amount: int) -> None:
    shares, left = [], amount
    for month, part in months(since, since + length):
        share = round(left * part)
        shares.append((month, share))
        left -= share
    assert left == 0
    assert all(share >= 0 for _, share in shares)
    assert [month for month, _ in shares] == sorted({month for month, _ in shares})
    assert shares[0][0] == since.date().replace(day=1)


def test_a_collection_at_midnight_of_the_first_is_of_the_month_that_ended() -> None:
    midnight = datetime(2026, 4, 1, tzinfo=UTC)
    assert list(months(midnight - timedelta(minutes=10), midnight)) == [(date(2026, 3, 1), 1.0)]
