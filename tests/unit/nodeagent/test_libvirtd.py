"""Asking a libvirt that may hang."""

from __future__ import annotations

import threading

import pytest

from nodeagent.errors import Cancelled, DeadlinePassed, NoSuchDomain
from nodeagent.job import Job
from nodeagent.libvirtd import answer_within


def _refuse() -> None:
    raise NoSuchDomain("libvirt has no such domain.")


def test_what_is_answered_in_time_comes_back_and_so_does_what_is_raised() -> None:
    assert answer_within(30, lambda: 7, Job()) == 7
    with pytest.raises(NoSuchDomain):
        answer_within(30, _refuse, Job())


def test_what_does_not_answer_is_waited_for_no_longer_than_that() -> None:
    hangs = threading.Event()
    try:
        with pytest.raises(DeadlinePassed, match=r"within 0\.01 s"):
            answer_within(0.01, hangs.wait, Job())
    finally:
        hangs.set()


def test_a_request_that_is_cancelled_waits_no_more() -> None:
    hangs, job = threading.Event(), Job()
    threading.Timer(0.05, job.stopped.set).start()
    try:
        with pytest.raises(Cancelled):
            answer_within(60, hangs.wait, job)
    finally:
        hangs.set()
