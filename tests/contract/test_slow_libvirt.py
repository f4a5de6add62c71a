"""A libvirt that answers, one that is slow to say what its QEMU can, and one that says nothing are three things."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent import libvirt_facts, libvirtd
from nodeagent.commands import machine as commands
from nodeagent.errors import DeadlinePassed
from nodeagent.job import Job
from nodeagent.protocol import node as machine
from panel.cluster import health
from panel.cluster.fake import FakeNode
from tests.contract.local_agent import LocalAgent, until
from tests.contract.own_libvirtd import PROGRAM, OwnLibvirtd, own_libvirtd, uri_of
from tests.slow_libvirt import Door

SECONDS = 0.7

pytestmark = pytest.mark.skipif(not Path(PROGRAM).exists(), reason="needs libvirtd")


@pytest.fixture
def own() -> Iterator[OwnLibvirtd]:
    """A libvirtd of the test's own."""
    with own_libvirtd() as made:
        yield made


@pytest.fixture
def door(own: OwnLibvirtd) -> Iterator[Door]:
    """The way to it on which slow questions are held up."""
    door = Door(own.folder / "slow-sock", own.socket, SECONDS)
    threading.Thread(target=door.serve, daemon=True).start()
    yield door
    door.close()


@pytest.fixture
def agent(own: OwnLibvirtd, door: Door, tmp_path: Path) -> Iterator[LocalAgent]:
    """An agent that goes there, and takes that libvirtd for the node's."""
    agent = LocalAgent(tmp_path / "agent", uri=uri_of(own.folder / "slow-sock"))
    (agent.root / "run").mkdir(parents=True)
    (agent.root / "run/libvirtd.pid").write_text(str(own.process.pid))
    yield agent
    agent.stop()


def test_what_is_slow_is_left_out_until_it_is_told_and_asked_once(agent: LocalAgent, door: Door) -> None:
    early = agent.call(machine.LibvirtEnsure())
    assert (early.libvirt, early.copies_running, early.libvirt_seconds) == (machine.ANSWERS, None, None)
    assert early.libvirt_version
    told = agent.call(machine.LibvirtEnsure(facts_seconds=20.0))
    assert told.copies_running is False
    assert told.libvirt_seconds is not None and told.libvirt_seconds >= SECONDS
    for _ in range(2):
        assert agent.call(machine.NodeFacts()).libvirt_seconds == told.libvirt_seconds
        # The agents of later conversations know it too.
        agent.close()
    assert door.held.count("getCapabilities") == 1


def test_another_libvirtd_is_asked_anew(agent: LocalAgent, door: Door) -> None:
    with own_libvirtd() as other:
        agent.call(machine.NodeFacts())
        door.libvirtd = other.socket
        (agent.root / "run/libvirtd.pid").write_text(str(other.process.pid))
        agent.close()
        assert agent.call(machine.NodeFacts()).copies_running is False
    assert door.held.count("getCapabilities") == 2


def test_the_fake_is_as_slow(agent: LocalAgent) -> None:
    node = FakeNode(libvirt_seconds=30.0)
    early = node.call(machine.LibvirtEnsure())
    assert (early.libvirt, early.copies_running, early.libvirt_seconds) == (machine.ANSWERS, None, None)
    assert early.libvirt_version
    assert node.call(machine.LibvirtEnsure(facts_seconds=60.0)).libvirt_seconds == 30.0
    assert node.call(machine.NodeFacts()).copies_running


@pytest.fixture
def silent(own: OwnLibvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnLibvirtd]:
    """A libvirtd that runs and says nothing, as this process's node has it; it is not waited for long."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/libvirtd.pid").write_text(str(own.process.pid))
    monkeypatch.setattr("nodeagent.paths.ROOT", tmp_path)
    monkeypatch.setattr("nodeagent.paths.LIBVIRT_FACTS", tmp_path / "facts.json")
    monkeypatch.setattr(libvirt_facts, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(libvirtd, "_connection", None)
    monkeypatch.setenv("VMPANEL_LIBVIRT_URI", own.uri)
    own.process.send_signal(signal.SIGSTOP)
    try:
        yield own
    finally:
        own.process.send_signal(signal.SIGCONT)
        monkeypatch.setattr(libvirtd, "_connection", None)


def test_one_that_runs_and_says_nothing_is_not_off(silent: OwnLibvirtd) -> None:
    facts = commands.node_facts(machine.NodeFacts(), Job())
    assert (facts.libvirt, facts.libvirt_version) == (machine.SILENT, None)
    assert facts.libvirt_text == "libvirt did not answer within 0.3 s."
    with pytest.raises(DeadlinePassed, match="runs on the node, but gave no answer"):
        commands.libvirt_ensure(machine.LibvirtEnsure(), Job())
    silent.process.send_signal(signal.SIGCONT)
    until(lambda: libvirt_facts.look(Job()).state == machine.ANSWERS)


def test_one_that_does_not_run_is_off(silent: OwnLibvirtd) -> None:
    silent.process.send_signal(signal.SIGCONT)
    silent.process.terminate()
    silent.process.wait(20)
    look = libvirt_facts.look(Job())
    assert look.state == machine.OFF and "socket" in look.text


def test_a_slow_one_is_a_warning_and_a_silent_one_none_of_its_own() -> None:
    slow = {"libvirt": machine.ANSWERS, "libvirt_seconds": 24.2}
    [complaint] = health.libvirt_complaints(slow)
    assert (complaint.severity, "took 24 s" in complaint.text) == ("warning", True)
    assert "has not said yet" in health.libvirt_complaints({**slow, "libvirt_seconds": None})[0].text
    assert health.libvirt_complaints({**slow, "libvirt_seconds": 0.2}) == []
    # That is what node.check's part “libvirt” tells.
    assert health.libvirt_complaints({"libvirt": machine.SILENT}) == health.libvirt_complaints({}) == []
    assert health.libvirt_complaints({**slow, "kvm": "No."})[0].text == "No."
