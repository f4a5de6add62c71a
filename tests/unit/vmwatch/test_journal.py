"""What a full report tells again, also after the daemon was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmwatch import journal as journal_module
from vmwatch import wire
from vmwatch.journal import TOLD_SECONDS, Journal

DOMAIN = wire.DomainState("6695eb01-f6a4-8304-79aa-97f2502e193f", "web1", wire.RUNNING, "started:booted")


class Clock:
    """A monotonic clock that a test moves."""

    now = 1000.0

    def monotonic(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The journal's clock."""
    clock = Clock()
    monkeypatch.setattr(journal_module, "time", clock)
    return clock


def told(journal: Journal) -> list[int]:
    """The numbers of what is told again."""
    return [each.sequence for each in journal.recent()]


def passes(clock: Clock, journal: Journal, seconds: float, there: bool = True) -> None:
    """Time passes, with the master or without."""
    clock.now += seconds
    journal.look(there)


def test_the_events_of_the_last_minute_are_told_with_their_age(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path / "recent")
    for sequence in (1, 2):
        journal.remember(7, sequence, DOMAIN)
        passes(clock, journal, 40)
    [only] = journal.recent()
    assert (only.epoch, only.sequence, only.domain.age, only.domain.detail) == (7, 2, 40.0, "started:booted")
    passes(clock, journal, 30)
    assert told(journal) == []


def test_what_the_master_missed_is_told_until_it_was_there_for_a_minute(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path / "recent")
    journal.remember(7, 1, DOMAIN)
    for _ in range(5):
        passes(clock, journal, 3600, there=False)
        passes(clock, journal, 11)
        assert told(journal) == [1]
    passes(clock, journal, 11)
    assert told(journal) == []


def test_the_next_run_tells_what_a_killed_one_may_not_have_said(tmp_path: Path, clock: Clock) -> None:
    killed = Journal(tmp_path / "recent")
    for sequence in (1, 2, 3):
        killed.remember(7, sequence, DOMAIN)
    # Never closed; and the last line is torn.
    with (tmp_path / "recent").open("ab") as file:
        file.write(b'{"epoch":7,"sequ')
    clock.now += 3000
    journal = Journal(tmp_path / "recent")
    passes(clock, journal, 3000, there=False)
    assert [(each.epoch, each.sequence) for each in journal.recent()] == [(7, 1), (7, 2), (7, 3)]
    assert journal.recent()[0].domain.age == 6000


def test_the_next_run_does_not_tell_what_was_told_for_long_enough(tmp_path: Path, clock: Clock) -> None:
    killed = Journal(tmp_path / "recent")
    for sequence in range(1000):
        killed.remember(7, sequence, DOMAIN)
        passes(clock, killed, 1)
    assert len(told(Journal(tmp_path / "recent"))) < 2 * TOLD_SECONDS + journal_module.SPARE_LINES + 2


def test_a_file_of_an_earlier_start_of_the_host_is_not_believed(tmp_path: Path, clock: Clock) -> None:
    Journal(tmp_path / "recent").remember(7, 1, DOMAIN)
    clock.now = 5.0
    assert told(Journal(tmp_path / "recent")) == []


def test_memory_file_and_message_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "KEPT", 30)
    monkeypatch.setattr(journal_module, "FILE_LINES", 60)
    monkeypatch.setattr(journal_module, "TOLD_AGAIN", 10)
    journal = Journal(tmp_path / "recent")
    for sequence in range(500):
        journal.remember(7, sequence, DOMAIN)
    # As one full report cannot hold them all, one after the other goes on.
    pages = [told(journal) for _ in range(3)]
    assert [number for page in pages for number in page] == list(range(470, 500))
    assert told(journal) == pages[0]
    assert journal.full_reports == 3
    assert len((tmp_path / "recent").read_bytes().splitlines()) <= 60


def test_every_full_report_tells_all_that_it_can_hold(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "TOLD_AGAIN", 10)
    journal = Journal(tmp_path / "recent")
    for sequence in range(1, 11):
        journal.remember(7, sequence, DOMAIN)
        assert told(journal) == list(range(1, sequence + 1))
    for sequence in range(11, 15):
        journal.remember(7, sequence, DOMAIN)
    # The rest of a round, and with it the begin of the next one.
    rounds = [told(journal) for _ in range(3)]
    assert [len(each) for each in rounds] == [10, 10, 10]
    assert set(rounds[0]) | set(rounds[1]) == set(range(1, 15))


def test_none_is_passed_over_while_others_are_forgotten(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "TOLD_AGAIN", 10)
    journal = Journal(tmp_path / "recent")
    for sequence in range(40):
        journal.remember(7, sequence, DOMAIN)
        passes(clock, journal, 1)
    first = told(journal)
    # Those that were just told are forgotten, so that all others move up.
    passes(clock, journal, TOLD_SECONDS - 30)
    assert told(journal) == list(range(first[-1] + 1, first[-1] + 11))


def test_a_line_that_is_no_event_is_passed_over(tmp_path: Path, clock: Clock) -> None:
    Journal(tmp_path / "recent").remember(7, 1, DOMAIN)
    good = (tmp_path / "recent").read_text()
    bad = [good.replace("7", '"seven"', 1), good.replace("7", "-7", 1), "[]\n", "nonsense\n", "\xff\n"]
    (tmp_path / "recent").write_text("".join(bad) + good)
    assert told(Journal(tmp_path / "recent")) == [1]


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "recent")
    journal.remember(7, 1, DOMAIN)
    assert told(journal) == [1]
