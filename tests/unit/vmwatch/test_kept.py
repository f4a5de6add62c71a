"""How vmwatch-node keeps events in memory."""

from __future__ import annotations

from dataclasses import replace

from vmwatch import kept, wire
from vmwatch.kept import Event, Kept

DOMAIN = wire.DomainState("6695eb01-f6a4-8304-79aa-97f2502e193f", "web1", wire.RUNNING, "started:booted")


def event(number: int) -> Event:
    """One of many."""
    return Event(2**63 - 1, number, number + 0.25, number + 0.5, replace(DOMAIN))


def test_events_stay_as_they_were_and_in_their_order() -> None:
    held = Kept()
    for number in range(3):
        held.append(event(number))
    assert list(held) == [event(0), event(1), event(2)]
    held.drop_first()
    assert (len(held), held[0], list(held)) == (2, event(1), [event(1), event(2)])


def test_what_is_dropped_takes_no_memory_for_long() -> None:
    held = Kept()
    for number in range(10 * kept.SPARE):
        held.append(event(number))
        if number >= 5:
            held.drop_first()
            assert [each.sequence for each in held] == list(range(number - 4, number + 1))
    assert len(held._domains) <= kept.SPARE + 5
    while len(held):
        held.drop_first()
    assert not (held._domains or held._whole or held._seconds)


def test_events_that_say_the_same_share_one_copy() -> None:
    held = Kept()
    for number in range(2):
        held.append(event(number))
    assert held[0].domain is held[1].domain


def test_the_copies_that_are_shared_are_bounded() -> None:
    for number in range(2 * kept.SHARED):
        assert kept.one_copy(replace(DOMAIN, name=f"web{number}")).name == f"web{number}"
        assert len(kept._shared) <= kept.SHARED
