"""Running programs: what comes back, and that nothing stays behind."""

from __future__ import annotations

import threading
import time

import pytest

from nodeagent.errors import Cancelled, CommandFailed, DeadlinePassed, NoSpace
from nodeagent.job import Job
from nodeagent.run import run
from tests.contract.local_agent import until


def test_output_and_exit_code_come_back() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], Job(), check=False)
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_failure_carries_the_program_its_code_and_its_last_words() -> None:
    with pytest.raises(CommandFailed, match="sh ended with 3: last") as caught:
        run(["sh", "-c", "echo first >&2; echo last >&2; exit 3"], Job())
    assert caught.value.data == {"argv0": "sh", "exit_code": 3, "stderr": "first\nlast"}


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(CommandFailed, match="no-such-program") as caught:
        run(["no-such-program"], Job())
    assert caught.value.data["exit_code"] == 127


def test_a_full_disk_is_told_apart() -> None:
    with pytest.raises(NoSpace):
        run(["sh", "-c", "echo 'dd: x: No space left on device' >&2; exit 1"], Job())


def test_a_program_may_take_its_time_with_its_input() -> None:
    assert run(["sh", "-c", "sleep 0.3; cat"], Job(), stdin="all of it\n").stdout == "all of it\n"


def test_input_is_given_whole_and_messages_are_in_the_c_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    text = "straße\n" * 50_000
    assert run(["cat"], Job(), stdin=text).stdout == text
    assert run(["sh", "-c", "echo $LC_ALL $MORE"], Job(), env={"MORE": "x"}).stdout == "C x\n"


@pytest.mark.parametrize("text", ["short\n", "long\n" * 50_000], ids=["short", "long"])
def test_a_program_that_is_slow_to_read_gets_its_input_too(text: str) -> None:
    assert run(["sh", "-c", "sleep 0.3; cat; sleep 0.3"], Job(), stdin=text).stdout == text


def test_arguments_reach_the_program_as_they_are() -> None:
    assert run(["printf", "%s", "$(reboot); `ls` 'x' \"y\"\n"], Job()).stdout == "$(reboot); `ls` 'x' \"y\"\n"


def test_a_program_and_its_children_end_with_the_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(DeadlinePassed):
        run(["sh", "-c", "sleep 600 & sleep 600"], Job(deadline=0.3))
    # The pipe that both sleeps hold would keep run() waiting if one of them lived.
    assert time.monotonic() - began < 5


def test_a_program_ends_with_its_job() -> None:
    job = Job()
    outcome: list[Exception] = []

    def work() -> None:
        try:
            run(["sleep", "600"], job)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    job.stopped.set()
    thread.join(5)
    assert isinstance(outcome[0], Cancelled)


def test_nothing_is_started_for_a_job_that_is_over() -> None:
    job = Job()
    job.stopped.set()
    with pytest.raises(Cancelled):
        run(["true"], job)
    with pytest.raises(DeadlinePassed):
        run(["true"], Job(deadline=0))


def test_progress_is_not_told_more_often_than_anyone_reads_it() -> None:
    told: list[float] = []
    job = Job(report=lambda done, _total, _text: told.append(done))
    for step in range(10_000):
        job.progress(step, 10_000)
    assert 1 <= len(told) < 20


def test_waiting_ends_at_once_when_the_job_is_cancelled() -> None:
    job = Job()
    threading.Timer(0.05, job.stopped.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        job.wait(60)
    assert time.monotonic() - began < 5
    until(lambda: job.stopped.is_set())
