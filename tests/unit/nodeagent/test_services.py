"""The keeper of services on a node without systemd."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent import paths, services
from nodeagent.errors import CommandFailed
from nodeagent.job import Job
from tests.contract.local_agent import until

OBEYS = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: exit(0))\nwhile True: time.sleep(1)\n"
ARGV = [sys.executable, "-c", OBEYS]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything under the test's own folder; the service is stopped afterwards."""
    root = Path(services.__file__).parent.parent
    monkeypatch.setenv("VMPANEL_NODE_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    monkeypatch.setattr(paths, "RUN", tmp_path / "run/vmpanel")
    monkeypatch.setattr(paths, "LOG", tmp_path / "var/log/vmpanel")
    monkeypatch.setattr(services, "SYSTEMD", tmp_path / "no-systemd")
    yield
    services.stop("test", Job())


def test_a_started_service_runs_until_it_is_stopped() -> None:
    services.start("test", ARGV, Job())
    pid = services.running("test", Job())
    assert pid is not None
    services.start("test", ARGV, Job())
    assert services.running("test", Job()) == pid
    services.stop("test", Job())
    assert services.running("test", Job()) is None
    services.stop("test", Job())


def test_a_service_that_is_killed_comes_back() -> None:
    services.start("test", ARGV, Job())
    pid = services.running("test", Job())
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: services.running("test", Job()) not in (None, pid))


def test_a_service_that_is_just_being_started_again_runs() -> None:
    services.start("test", ARGV, Job())
    pid = services.running("test", Job())
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: services.running("test", Job()) != pid)
    assert services.running_again("test", Job()) not in (None, pid)


def test_a_service_that_nobody_starts_again_does_not_run() -> None:
    assert services.running_again("test", Job()) is None
    services.start("test", ARGV, Job())
    for kind in ("keeper", "pid"):
        process = services._recorded("test", kind)
        assert process is not None
        os.kill(process, signal.SIGKILL)
        until(lambda kind=kind: services._recorded("test", kind) is None)
    begun = time.monotonic()
    assert services.running_again("test", Job()) is None
    assert time.monotonic() - begun < services.COMING_SECONDS


def test_a_service_that_ends_at_once_each_time_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "COMING_SECONDS", 0.1)
    services.start("test", ARGV, Job())
    pid = services.running("test", Job())
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: services.running("test", Job()) is None)
    assert services.running_again("test", Job()) is None


def test_a_service_whose_keeper_was_killed_does_not_run_twice() -> None:
    services.start("test", ARGV, Job())
    pid = services.running("test", Job())
    keeper = services._recorded("test", "keeper")
    assert pid is not None and keeper is not None
    os.kill(keeper, signal.SIGKILL)
    until(lambda: services._recorded("test", "keeper") is None)
    services.start("test", ARGV, Job())
    until(lambda: services.running("test", Job()) not in (None, pid))
    assert not Path(f"/proc/{pid}").exists() or services.started(pid) is None


def test_a_restarted_service_is_another_process() -> None:
    services.start("test", ARGV, Job())
    pid = services.running("test", Job())
    services.restart("test", ARGV, Job())
    assert services.running("test", Job()) not in (None, pid)


def test_a_process_id_that_another_program_has_by_now_is_not_ours(tmp_path: Path) -> None:
    paths.RUN.mkdir(parents=True)
    (paths.RUN / "test.pid").write_text(f"{os.getpid()} 12345")
    (paths.RUN / "test.keeper").write_text(str(os.getpid()))
    assert services.running("test", Job()) is None
    services.stop("test", Job())


def test_what_runs_at_boot_is_a_unit_that_libvirtd_waits_for_and_that_goes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(services, "SYSTEMD", tmp_path)
    monkeypatch.setattr(services, "UNITS", tmp_path)
    monkeypatch.setattr(services, "run", lambda argv, job, **_: asked.append(argv))
    for _ in range(2):
        services.run_at_boot("vmpanel-network", ["/usr/bin/python3", "/x.pyz"], "libvirtd.service", Job())
    unit = (tmp_path / "vmpanel-network.service").read_text()
    assert "Before=libvirtd.service\n" in unit and "Type=oneshot\nExecStart=/usr/bin/python3 /x.pyz\n" in unit
    enable = ["systemctl", "enable", "vmpanel-network.service"]
    assert asked == [["systemctl", "daemon-reload"], enable, enable]
    services.stop("vmpanel-network", Job())
    assert not (tmp_path / "vmpanel-network.service").exists()
    monkeypatch.setattr(services, "SYSTEMD", tmp_path / "no-systemd")


def test_without_systemd_nothing_is_to_run_at_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "UNITS", tmp_path)
    services.run_at_boot("vmpanel-network", ["/usr/bin/python3"], "libvirtd.service", Job())
    assert list(tmp_path.glob("*.service")) == []


@pytest.mark.parametrize(("says", "pid"), [("4711", 4711), ("0", None)])
def test_what_systemd_says_of_a_service_counts(systemctl: Path, says: str, pid: int | None) -> None:
    systemctl.write_text(f"#!/bin/sh\necho {says}\n")
    assert services.running("test", Job()) == pid


def test_a_systemd_that_does_not_answer_does_not_say_that_a_service_is_off(systemctl: Path) -> None:
    systemctl.write_text("#!/bin/sh\necho 'Failed to connect to bus: Connection timed out' >&2\nexit 1\n")
    for ask in (services.running, services.running_again):
        with pytest.raises(CommandFailed, match="timed out"):
            ask("test", Job())


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host with systemd, whose systemctl the test writes."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        patch.setattr(services, "SYSTEMD", tmp_path)
        yield program
