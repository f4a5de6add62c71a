"""What the master holds while the panel is away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vmwatch import spool as spool_module
from vmwatch import wire
from vmwatch.spool import Spool

DOMAIN = wire.DomainState("6695eb01-f6a4-8304-79aa-97f2502e193f", "web1", wire.RUNNING)


def message(sequence: int, kind: str = wire.EVENT, node_id: int = 1, recent: tuple[int, ...] = ()) -> wire.Message:
    """A message of a node, perhaps telling events again."""
    past = [wire.PastEvent(1, number, DOMAIN) for number in recent]
    return wire.Message(node_id, 1, sequence, 1_790_000_000.25, kind, [DOMAIN], past)


def add(spool: Spool, *messages: wire.Message) -> None:
    """Hold them."""
    for each in messages:
        spool.add(each, wire.to_body(each))


def held(spool: Spool) -> list[tuple[int, int]]:
    """Node and number of all that is held, oldest first."""
    found = [wire.from_body(each.body) for each in spool.first(1000, 1 << 30)]
    return [(each.node_id, each.sequence) for each in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a spool."""
    return tmp_path / "waiting"


def test_while_the_panel_is_there_nothing_is_written(path: Path) -> None:
    spool = Spool(path)
    add(spool, message(1), message(2, wire.ALIVE), message(3, wire.FULL_REPORT), message(4, wire.FULL_REPORT))
    assert held(spool) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert not path.exists()


def test_another_process_goes_on_where_this_one_ended(path: Path) -> None:
    spool = Spool(path)
    add(spool, message(1))
    spool.panel_away()
    add(spool, message(2), message(3, node_id=2))
    assert held(Spool(path)) == [(1, 1), (1, 2), (2, 3)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_goes_with_the_last_message(path: Path) -> None:
    spool = Spool(path)
    spool.panel_away()
    add(spool, message(1), message(2))
    spool.done(1)
    assert path.exists()
    spool.done(1)
    assert not path.exists()
    add(spool, message(3))
    assert not path.exists()


def test_a_body_in_lines_and_a_torn_last_line_are_read(path: Path) -> None:
    spool = Spool(path)
    spool.panel_away()
    body = wire.to_body(message(1)).replace(b",", b",\r\n ")
    spool.add(wire.from_body(body), body)
    with path.open("ab") as file:
        file.write(b'{"at":1,"bo')
    assert held(Spool(path)) == [(1, 1)]


def test_what_waited_before_a_restart_has_waited_all_the_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(path)
    spool.panel_away()
    add(spool, message(1))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 600)
    [after] = Spool(path).first(1, 1)
    assert 599 < after.waited < 602


def test_of_full_reports_that_wait_the_newest_says_all(path: Path) -> None:
    spool = Spool(path)
    spool.panel_away()
    older, newer = message(3, wire.FULL_REPORT, recent=(1, 2)), message(6, wire.FULL_REPORT, recent=(2, 5))
    add(spool, older, message(9, wire.FULL_REPORT, node_id=2), message(4), message(7, wire.ALIVE), newer)
    assert held(spool) == [(2, 9), (1, 4), (1, 6)]
    full_report = wire.from_body(spool.first(10, 1 << 30)[-1].body)
    assert [past.sequence for past in full_report.recent] == [1, 2, 5]
    # What the older one told happened longer ago, seen from the newer one.
    assert full_report.recent[0].domain.age > 0 == full_report.recent[-1].domain.age


def test_what_has_come_by_itself_is_not_kept_with_full_reports_as_well(path: Path) -> None:
    spool = Spool(path, lambda _node, _epoch, sequence: sequence == 1)
    spool.panel_away()
    add(spool, message(3, wire.FULL_REPORT, recent=(1, 2)), message(4, wire.FULL_REPORT))
    [full_report] = spool.first(10, 1 << 30)
    assert [past.sequence for past in wire.from_body(full_report.body).recent] == [2]


def test_full_reports_of_an_earlier_run_become_one_as_well(path: Path) -> None:
    spool = Spool(path)
    add(
        spool,
        message(3, wire.FULL_REPORT, recent=(1,)),
        message(4, wire.FULL_REPORT, recent=(2,)),
        message(5, wire.ALIVE),
    )
    spool.panel_away()
    again = Spool(path)
    assert held(again) == [(1, 4)]
    assert [past.sequence for past in wire.from_body(again.first(1, 1)[0].body).recent] == [1, 2]
    add(again, message(6))
    assert held(Spool(path)) == [(1, 4), (1, 6)]


def test_a_flood_into_a_full_spool_is_soon_over(path: Path) -> None:
    spool = Spool(path)
    spool.panel_away()
    begun = time.process_time()
    body = wire.to_body(message(1))
    for _ in range(spool_module.WAITING + 10_000):
        spool.add(message(1), body)
    assert (len(spool), spool.dropped) == (spool_module.WAITING, 10_000)
    assert time.process_time() - begun < 5


def test_room_is_bounded_and_statistics_are_spared_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "WAITING", 3)
    spool = Spool(path)
    spool.panel_away()
    add(spool, message(1), message(2, wire.STATISTICS), message(3), message(4))
    assert (held(spool), spool.dropped) == ([(1, 1), (1, 3), (1, 4)], 1)
    add(spool, message(5))
    assert (held(spool), spool.dropped) == ([(1, 3), (1, 4), (1, 5)], 2)


def test_a_node_that_floods_the_room_loses_its_own_messages(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "WAITING", 5)
    spool = Spool(path)
    spool.panel_away()
    add(spool, message(1, node_id=2), *(message(number) for number in range(1, 20)))
    assert held(spool)[0] == (2, 1) and len(spool) == 5


def test_bytes_are_bounded_in_memory_and_on_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "LARGEST_BYTES", 5000)
    spool = Spool(path)
    spool.panel_away()
    for sequence in range(500):
        add(spool, message(sequence))
    assert 0 < len(spool) < 40
    assert held(spool)[-1] == (1, 499)
    assert path.stat().st_size < 12_000


def test_a_batch_ends_with_the_message_that_makes_it_large(path: Path) -> None:
    spool = Spool(path)
    add(spool, *(message(number) for number in range(5)))
    size = len(wire.to_body(message(0)))
    assert len(spool.first(3, 1 << 30)) == 3
    assert len(spool.first(5, size + 1)) == 2


def test_a_folder_that_cannot_be_written_leaves_what_waits_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "waiting")
    spool.panel_away()
    add(spool, message(1))
    assert held(spool) == [(1, 1)]
    spool.done(1)
