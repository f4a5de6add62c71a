"""What vmwatch-node makes of a full report and the events that came meanwhile."""

from __future__ import annotations

import pytest

from vmwatch import wire

node = pytest.importorskip("vmwatch.node", reason="vmwatch-node needs libvirt's bindings")


def domain(number: int, state: str) -> wire.DomainState:
    """A domain in a state."""
    return wire.DomainState(f"00000000-0000-0000-0000-{number:012x}", f"vm{number}", state)


def told(full_report: list[wire.DomainState], *events: wire.DomainState) -> dict[str, str]:
    """Names and states of the full report with the events."""
    return {each.name: each.state for each in node.with_events(full_report, {each.uuid: each for each in events})}


def test_without_events_the_full_report_is_as_it_was_seen() -> None:
    assert told([domain(1, wire.RUNNING), domain(2, wire.SHUT_OFF)]) == {"vm1": wire.RUNNING, "vm2": wire.SHUT_OFF}


def test_the_last_event_of_a_domain_is_what_it_is() -> None:
    assert told([domain(1, wire.PAUSED), domain(2, wire.RUNNING)], domain(1, wire.RUNNING)) == {
        "vm1": wire.RUNNING,
        "vm2": wire.RUNNING,
    }


def test_what_was_undefined_is_not_there_and_what_was_defined_is() -> None:
    assert told([domain(1, wire.SHUT_OFF)], domain(1, wire.MISSING), domain(2, wire.SHUT_OFF)) == {"vm2": wire.SHUT_OFF}
