"""Logs on nodes stay bounded, and no line is lost by it, whoever writes at the time."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent import logs
from vmwatch import logs as daemons

LINES = 300


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Nobody else has a handler at the root logger, as where a program begins."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers.clear()
    try:
        yield
    finally:
        for each in logger.handlers:
            each.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)


def written(path: Path) -> list[str]:
    """What is in all files, oldest first."""
    files = sorted(path.parent.glob("*.log*"), key=lambda each: -int(each.suffix[1:] if each.suffix != ".log" else 0))
    return [line for each in files for line in each.read_text().splitlines()]


def test_the_agents_log_is_begun_anew_and_several_agents_lose_nothing_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 2000)
    monkeypatch.setattr(logs, "KEPT", 50)
    path = tmp_path / "log" / "nodeagent.log"
    children = []
    for number in range(3):
        if (child := os.fork()) == 0:
            # An agent of another conversation.
            with alone():
                logs.log_to(path, "%(message)s")
                for line in range(LINES):
                    logging.info("agent %d line %03d", number, line)
                os._exit(0)
        children.append(child)
    assert [os.waitpid(each, 0)[1] for each in children] == [0] * 3
    lines = written(path)
    for number in range(3):
        assert sorted(each for each in lines if f"agent {number} " in each) == [
            f"agent {number} line {line:03d}" for line in range(LINES)
        ]
    assert all(re.fullmatch(r"agent \d line \d+", each) for each in lines)
    assert max(each.stat().st_size for each in path.parent.iterdir()) < 2100


def test_the_agents_earlier_logs_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 200)
    path = tmp_path / "nodeagent.log"
    with alone():
        logs.log_to(path, "%(message)s")
        for line in range(LINES):
            logging.info("line %03d", line)
        earlier = [f"nodeagent.log.{number}" for number in range(1, logs.KEPT + 1)]
        assert sorted(each.name for each in tmp_path.iterdir()) == ["nodeagent.log", *earlier]
        assert written(path)[-1] == f"line {LINES - 1:03d}"
        # One that somebody moved away is made again.
        path.rename(tmp_path / "moved")
        logging.info("more")
    assert path.read_text() == "more\n"


def test_the_daemons_logs_are_begun_anew_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "MOST_BYTES", 300)
    path = tmp_path / "vmwatch-node.log"
    with alone():
        daemons.log_to(path)
        for line in range(LINES):
            logging.info("line %03d", line)
    assert len(list(tmp_path.iterdir())) == daemons.KEPT + 1
    assert written(path)[-1].endswith(f"line {LINES - 1:03d}")
