"""Fence files: what they keep, and that damage to one only admits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodeagent import fences
from nodeagent.errors import Cancelled, FencedOff, StillWorking
from nodeagent.job import Job
from nodeagent.protocol import Fence


def hold(folder: Path, number: int, task: int = 1) -> None:
    with fences.held(Fence(task=task, number=number), Job(), folder):
        pass


def test_the_highest_number_is_kept_over_agents(tmp_path: Path) -> None:
    hold(tmp_path, 5)
    for number in (5, 6, 100):
        hold(tmp_path, number)
    with pytest.raises(FencedOff) as caught:
        hold(tmp_path, 99)
    assert caught.value.data == {"seen": 100}
    hold(tmp_path, 1, task=2)


def test_a_refused_request_does_not_run(tmp_path: Path) -> None:
    hold(tmp_path, 2)
    with pytest.raises(FencedOff), fences.held(Fence(1, 1), Job(), tmp_path):
        pytest.fail("it ran")


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), fences.held(Fence(1, 1), Job(), tmp_path):
        raise ValueError
    hold(tmp_path, 1)


def test_a_holder_that_does_not_let_go_is_named_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fences, "HANDOVER_SECONDS", 0.2)
    job = Job()
    with fences.held(Fence(1, 1), job, tmp_path), pytest.raises(StillWorking):
        hold(tmp_path, 2)
    assert job.stopped.is_set()


def test_what_was_cancelled_before_its_turn_does_not_begin(tmp_path: Path) -> None:
    """Its thread may be slower than the command that undoes it, which has the same number."""
    late = Job()
    late.stopped.set()
    hold(tmp_path, 3)
    with pytest.raises(Cancelled), fences.held(Fence(1, 3), late, tmp_path):
        pytest.fail("it ran")


def test_a_damaged_file_reads_as_nothing_seen(tmp_path: Path) -> None:
    hold(tmp_path, 7)
    (tmp_path / "1.json").write_text("{")
    hold(tmp_path, 1)


def test_without_a_fence_nothing_is_written(tmp_path: Path) -> None:
    with fences.held(None, Job(), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_old_files_are_removed(tmp_path: Path) -> None:
    hold(tmp_path, 1, task=1)
    hold(tmp_path, 1, task=2)
    os.utime(tmp_path / "1.json", (0, 0))
    fences.purge(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["2.json"]
    fences.purge(tmp_path / "absent")
