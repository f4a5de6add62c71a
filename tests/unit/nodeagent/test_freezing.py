"""Notes of frozen guests: one hand at a time, and what was removed is no lock."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from nodeagent import freezing


def test_a_note_that_was_removed_while_one_waited_for_it_is_made_anew(tmp_path: Path) -> None:
    assert removed_while_one_waits(tmp_path / "guest", "w") == "it is there"


def test_a_note_that_is_to_be_there_and_was_removed_meanwhile_is_missed(tmp_path: Path) -> None:
    assert removed_while_one_waits(tmp_path / "guest", "r+") == "missed"


def removed_while_one_waits(note: Path, mode: str) -> str:
    """What becomes of somebody who waits for the note in that mode when its holder removes it."""
    seen: list[str] = []

    def wait_for_it() -> None:
        try:
            with freezing.locked(note, mode):
                seen.append("it is there" if note.exists() else "it is gone")
        except FileNotFoundError:
            seen.append("missed")

    with note.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        _until_two_have_it_open(note)
        note.unlink()
    waiting.join(10)
    assert len(seen) == 1
    return seen[0]


@pytest.mark.parametrize("mode", ["w", "r+"])
def test_a_note_is_let_go_of_after_an_error(tmp_path: Path, mode: str) -> None:
    note = tmp_path / "guest"
    note.touch()
    with pytest.raises(ValueError), freezing.locked(note, mode):
        raise ValueError
    with freezing.locked(note, mode):
        assert note.exists()


def _until_two_have_it_open(note: Path) -> None:
    """Two descriptors of this process are the note's: the holder's and the waiting one's."""
    while sum(_leads_to(each) == str(note) for each in Path("/proc/self/fd").iterdir()) < 2:
        pass


def _leads_to(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""
