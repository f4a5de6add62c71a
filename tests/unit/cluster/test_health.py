"""What facts tell about a node's health: its clock, its disk, its system."""

from __future__ import annotations

from typing import Any

import pytest

from panel.cluster import health, parts
from panel.cluster.parts import Complaint
from panel.notices.models import Severity
from vmwatch import wire

GIB = 1024**3
DEBIAN = {"os_id": "debian", "os_version": "12", "os_name": "Debian GNU/Linux 12"}


class TestClock:
    """The node looked at its clock somewhere between question and answer."""

    @pytest.mark.parametrize(
        ("asked_at", "answered_at", "node_time", "difference"),
        [
            (100.0, 100.0, 100.0, 0.0),
            (100.0, 100.0, 107.0, 7.0),
            (100.0, 100.0, 93.0, -7.0),
            # Wherever in the call it looked, its clock may be right.
            (100.0, 130.0, 100.0, 0.0),
            (100.0, 130.0, 130.0, 0.0),
            # Beyond the call it is wrong for certain, by so much at least.
            (100.0, 104.0, 110.0, 6.0),
            (100.0, 104.0, 94.0, -6.0),
        ],
    )
    def test_a_slow_answer_is_not_held_against_the_node_s_clock(
        self, asked_at: float, answered_at: float, node_time: float, difference: float
    ) -> None:
        assert health.clock_difference(asked_at, answered_at, node_time) == difference

    @pytest.mark.parametrize(
        ("difference", "severity"),
        [(0.0, ""), (4.9, ""), (-4.9, ""), (5.0, "warning"), (-59.9, "warning"), (60.0, "error"), (-3600.0, "error")],
    )
    def test_five_seconds_are_a_warning_and_sixty_an_error(self, difference: float, severity: str) -> None:
        assert [each.severity for each in health.clock_complaints(difference)] == ([severity] if severity else [])

    def test_the_sentence_says_how_far_and_which_way(self) -> None:
        assert "75 s ahead of the panel's" in health.clock_complaints(75.2)[0].text
        assert "75 s behind the panel's" in health.clock_complaints(-75.2)[0].text

    def test_it_is_an_error_before_messages_of_vmwatch_are_refused(self) -> None:
        assert health.CLOCK_ERROR_SECONDS < wire.CLOCK_WINDOW_SECONDS


@pytest.mark.parametrize(
    ("size", "free", "low"),
    [
        (20 * GIB, 3 * GIB, False),
        (20 * GIB, 1 * GIB, True),
        (2000 * GIB, 100 * GIB, False),
        (2000 * GIB, 4 * GIB, True),
        (20 * GIB, 0, True),
    ],
)
def test_a_root_file_system_is_low_by_share_and_by_size(size: int, free: int, low: bool) -> None:
    facts = {
        "file_systems": [
            {"path": "/srv", "device": "/dev/sdb", "size_bytes": 100 * GIB, "free_bytes": 0},
            {"path": "/", "device": "/dev/sda", "size_bytes": size, "free_bytes": free},
        ]
    }
    assert bool(health.disk_complaints(facts)) is low


@pytest.mark.parametrize("facts", [{}, {"file_systems": []}])
def test_what_is_not_known_is_not_complained_of(facts: dict[str, Any]) -> None:
    assert health.disk_complaints(facts) == []
    assert health.system_complaints(facts, DEBIAN, "first") == []
    assert health.system_complaints(DEBIAN, facts, "first") == []


def test_another_system_or_major_version_than_the_first_node_s_is_a_hint() -> None:
    alma = {"os_id": "almalinux", "os_version": "9.4", "os_name": "AlmaLinux 9.4"}
    [complaint] = health.system_complaints(alma, DEBIAN, "first")
    assert complaint.severity == Severity.INFO
    assert "AlmaLinux 9.4" in complaint.text and "“first” runs Debian GNU/Linux 12" in complaint.text
    assert health.system_complaints({**DEBIAN, "os_version": "11"}, DEBIAN, "first")
    assert health.system_complaints({**alma, "os_version": "9.5"}, alma, "first") == []
    assert health.system_complaints(DEBIAN, DEBIAN, "first") == []


def test_a_problem_is_as_bad_as_its_worst_complaint() -> None:
    said = [Complaint("a", Severity.INFO), Complaint("b", Severity.ERROR), parts.complaint("c")]
    assert parts.worst(said) == Severity.ERROR
    assert parts.worst(said[:1]) == Severity.INFO
