"""Fences and lost answers on both; then what only a real conversation has: cancel, deadlines, overrides, its end."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent import server
from nodeagent.protocol import PROTOCOL_VERSION, REQUESTS, Fence, Request, host, storage
from panel.cluster import session
from panel.cluster.client import Progress
from panel.core.errors import (
    Cancelled,
    CommandFailed,
    Fenced,
    LibvirtFailure,
    NodeTimeout,
    NodeUnreachable,
    VersionMismatch,
)
from tests.contract.local_agent import LocalAgent, until
from tests.contract.subjects import FakeSubject, Subject, make_spec, put_image
from tests.refs import directory, ref

SLOW = """
import subprocess
from nodeagent.protocol.host import HostList
from nodeagent.run import run as run_program

def run(request, job):
    job.progress(1, 2, "begun")
    run_program(["sleep", "600"], job)
    return HostList(hosts=[])
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LocalAgent]:
    """A real agent."""
    agent = LocalAgent(tmp_path / "agent")
    yield agent
    agent.stop()


def override(agent: LocalAgent, command: str, text: str) -> None:
    """Put an administrator's command on the node."""
    folder = agent.root / "etc/vmpanel/commands"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{command}.py").write_text(text)


def sleepers(agent: LocalAgent) -> list[int]:
    """The `sleep 600` that this agent's processes started."""
    ours = {process.pid for process in agent.processes}
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and (path / "cmdline").read_bytes() == b"sleep\x00600\x00":
                environment = (path / "environ").read_bytes()
                if f"VMPANEL_NODE_ROOT={agent.root}".encode() in environment and int(path.name) not in ours:
                    found.append(int(path.name))
        except OSError:
            continue
    return found


def begin(
    agent: LocalAgent, fence: Fence | None = None, deadline: float = 60.0
) -> tuple[threading.Thread, list[object]]:
    """Start the slow command beside the test; its outcome comes into the list."""
    override(agent, "host_stop", SLOW)
    outcome: list[object] = []

    def call() -> None:
        try:
            outcome.append(agent.call(host.HostStop(uuid="x"), deadline=deadline, fence=fence))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    until(lambda: sleepers(agent))
    return thread, outcome


def test_an_earlier_holder_of_a_task_is_refused_and_changes_nothing(node: Subject) -> None:
    spec = make_spec(node.pool)
    node.call(host.HostCreate(spec=spec), fence=Fence(task=5, number=2))
    with pytest.raises(Fenced):
        node.call(host.HostDelete(uuid=spec.uuid), fence=Fence(task=5, number=1))
    assert node.call(host.HostInfo(uuid=spec.uuid), fence=Fence(task=5, number=1)).exists
    node.call(host.HostDelete(uuid=spec.uuid), fence=Fence(task=5, number=2))
    node.call(host.HostCreate(spec=spec), fence=Fence(task=6, number=1))
    node.call(host.HostDelete(uuid=spec.uuid), fence=Fence(task=5, number=3))


def test_copying_reports_progress_in_bytes_up_to_the_whole(node: Subject, image: Path) -> None:
    reports: list[Progress] = []
    sha256 = put_image(node, image)
    path = f"{node.pool}/volumes/v.qcow2"
    node.call(
        storage.VolumeCopy(volume=ref(path), store=directory(node.pool), image_sha256=sha256), progress=reports.append
    )
    assert all(0 <= each.done <= each.total for each in reports)


def test_a_fault_of_the_fake_happens_as_often_as_was_asked() -> None:
    subject = FakeSubject()
    subject.node.fail("hosts_read", NodeUnreachable(node="fake", reason="cut"), times=2)
    for _ in range(2):
        with pytest.raises(NodeUnreachable):
            subject.call(host.HostsRead())
    assert subject.call(host.HostsRead()).hosts == []


def test_the_fake_does_the_work_whose_answer_it_loses() -> None:
    subject = FakeSubject()
    spec = make_spec(subject.pool)
    subject.node.lose_answer("host_create")
    with pytest.raises(NodeUnreachable):
        subject.call(host.HostCreate(spec=spec))
    assert subject.call(host.HostInfo(uuid=spec.uuid)).exists


def test_the_agent_says_hello_with_its_commands_and_overrides(agent: LocalAgent) -> None:
    override(agent, "host_stop", SLOW)
    override(agent, "not_a_command", SLOW)
    hello = agent.link().hello
    assert hello["commands"] == sorted(REQUESTS)
    assert hello["overrides"] == ["host_stop"]


def test_an_override_takes_the_place_of_a_command_and_may_call_it(agent: LocalAgent) -> None:
    text = """
import dataclasses
from nodeagent.commands import builtin

def run(request, job):
    state = builtin("host_info")(request, job)
    return dataclasses.replace(state, name="replaced")
"""
    override(agent, "host_info", text)
    spec = make_spec("/var/lib/pool")
    agent.call(host.HostCreate(spec=spec))
    state = agent.call(host.HostInfo(uuid=spec.uuid))
    assert (state.name, state.state) == ("replaced", "shut off")


@pytest.mark.parametrize("text", ["def run(request, job) syntax", "x = 1", "def run(request, job): return 1 / 0"])
def test_an_override_that_breaks_is_an_error_of_its_command_alone(agent: LocalAgent, text: str) -> None:
    override(agent, "host_info", text)
    with pytest.raises(CommandFailed):
        agent.call(host.HostInfo(uuid="x"))
    assert agent.call(host.HostsRead()).hosts is not None


def test_many_threads_call_at_a_time(agent: LocalAgent) -> None:
    specs = [make_spec("/var/lib/pool", interfaces=[]) for _ in range(20)]
    threads = [threading.Thread(target=agent.call, args=(host.HostCreate(spec=spec),)) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {spec.uuid for spec in specs} <= {each.uuid for each in agent.call(host.HostsRead()).hosts}


def test_a_command_ends_with_its_deadline_and_its_programs_with_it(agent: LocalAgent) -> None:
    thread, outcome = begin(agent, deadline=0.7)
    thread.join(10)
    assert isinstance(outcome[0], NodeTimeout)
    assert not sleepers(agent)


def test_a_caller_that_gives_up_ends_the_command(agent: LocalAgent) -> None:
    override(agent, "host_stop", SLOW)

    def give_up(_progress: Progress) -> None:
        raise Cancelled(by="admin")

    with pytest.raises(Cancelled):
        agent.call(host.HostStop(uuid="x"), progress=give_up)
    until(lambda: not sleepers(agent))
    assert agent.call(host.HostsRead()).hosts is not None


def test_the_end_of_the_conversation_ends_what_runs(agent: LocalAgent) -> None:
    thread, outcome = begin(agent)
    agent.close()
    thread.join(10)
    assert isinstance(outcome[0], NodeUnreachable)
    until(lambda: not sleepers(agent))
    agent.processes[0].wait(10)


def test_a_killed_agent_takes_its_programs_with_it_and_the_next_call_starts_another(agent: LocalAgent) -> None:
    thread, outcome = begin(agent)
    agent.kill()
    thread.join(10)
    assert isinstance(outcome[0], NodeUnreachable)
    until(lambda: not sleepers(agent))
    assert agent.call(host.HostsRead()).hosts is not None
    assert len(agent.processes) == 2


def test_a_later_holder_ends_the_agent_that_still_works_for_an_earlier_one(agent: LocalAgent) -> None:
    thread, outcome = begin(agent, fence=Fence(task=7, number=1))
    later = LocalAgent(agent.folder)
    try:
        spec = make_spec("/var/lib/pool")
        later.call(host.HostCreate(spec=spec), fence=Fence(task=7, number=2))
        thread.join(10)
        assert isinstance(outcome[0], NodeUnreachable)
        assert not sleepers(agent)
        with pytest.raises(Fenced):
            agent.call(host.HostDelete(uuid=spec.uuid), fence=Fence(task=7, number=1))
    finally:
        later.stop()


def test_a_later_holder_in_the_same_agent_ends_the_command_of_the_earlier_one_alone(agent: LocalAgent) -> None:
    thread, outcome = begin(agent, fence=Fence(task=8, number=1))
    agent.call(host.HostCreate(spec=make_spec("/var/lib/pool")), fence=Fence(task=8, number=2))
    thread.join(10)
    assert isinstance(outcome[0], NodeUnreachable)
    assert len(agent.processes) == 1


LIBVIRT_GOES_ON = """
import time
from pathlib import Path
from nodeagent.protocol.host import HostState

FOLDER = Path({folder!r})

def run(request, job):
    (FOLDER / "begun").touch()
    # As a call to libvirt, which heeds nothing.
    while not (FOLDER / "gate").exists():
        time.sleep(0.02)
    (FOLDER / "made").touch()
    return HostState(uuid="x", exists=True)
"""
REMOVES = """
from pathlib import Path
from nodeagent.protocol import Nothing

def run(request, job):
    (Path({folder!r}) / "made").unlink(missing_ok=True)
    return Nothing()
"""
AGENT_GIVES_UP_SECONDS = 3.0
"""An agent gave what runs 2 s at its end."""


@pytest.mark.parametrize("end", ["cut off", "dead"])
def test_what_libvirt_still_makes_for_a_lost_worker_is_waited_for_before_it_is_removed(
    agent: LocalAgent, tmp_path: Path, end: str
) -> None:
    """Whatever makes a thing, and whatever takes it back: the fence stands before all commands."""
    override(agent, "host_create", LIBVIRT_GOES_ON.format(folder=str(tmp_path)))
    override(agent, "host_delete", REMOVES.format(folder=str(tmp_path)))
    later = LocalAgent(agent.folder)
    spec, gate = make_spec("/var/lib/pool"), tmp_path / "gate"
    create = threading.Thread(target=swallow, args=(agent, host.HostCreate(spec=spec), Fence(task=11, number=1)))
    remove = threading.Thread(
        target=later.call, args=(host.HostDelete(uuid=spec.uuid),), kwargs={"fence": Fence(task=11, number=2)}
    )
    try:
        create.start()
        until(lambda: (tmp_path / "begun").exists())
        if end == "dead":
            agent.close()
        remove.start()
        # The first agent goes on in a process that outlives it: libvirtd.
        with contextlib.suppress(subprocess.TimeoutExpired):
            agent.processes[0].wait(AGENT_GIVES_UP_SECONDS)
            remove.join()
            (tmp_path / "made").touch()
        gate.touch()
        remove.join(10)
        create.join(10)
        agent.processes[0].wait(10)
        assert not (tmp_path / "made").exists()
    finally:
        gate.touch()
        later.stop()


def swallow(agent: LocalAgent, request: Request[Any], fence: Fence) -> None:
    """Ask for what is never answered."""
    with contextlib.suppress(NodeUnreachable):
        agent.call(request, fence=fence)


def test_an_agent_that_works_for_another_task_is_left_alone(agent: LocalAgent) -> None:
    agent.call(host.HostCreate(spec=make_spec("/var/lib/pool")), fence=Fence(task=9, number=1))
    thread, outcome = begin(agent, fence=Fence(task=10, number=1))
    later = LocalAgent(agent.folder)
    try:
        later.call(host.HostCreate(spec=make_spec("/var/lib/pool")), fence=Fence(task=9, number=2))
        assert thread.is_alive() and not outcome
    finally:
        agent.close()
        thread.join(10)
        later.stop()


def test_a_libvirt_that_does_not_answer_may_be_tried_again(agent: LocalAgent) -> None:
    (agent.folder / "libvirt.xml").unlink()
    with pytest.raises(LibvirtFailure) as caught:
        agent.call(host.HostsRead())
    assert caught.value.retriable
    (agent.folder / "libvirt.xml").write_text("<node/>")
    assert agent.call(host.HostsRead()).hosts is not None


def test_another_protocol_version_is_refused_politely(agent: LocalAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PROTOCOL_VERSION", 99)
    with pytest.raises(VersionMismatch) as caught:
        agent.link()
    assert (caught.value.data["panel"], caught.value.data["agent"]) == (99, PROTOCOL_VERSION)


def test_an_agent_that_is_not_there_is_named_as_the_reason(agent: LocalAgent) -> None:
    agent.zipapp.unlink()
    with pytest.raises(NodeUnreachable, match="can't open file"):
        agent.link()


def test_pings_go_on_while_the_agent_reports_progress_all_the_time(
    agent: LocalAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PING_SECONDS", 0.2)
    spec = make_spec("/var/lib/pool")
    agent.call(host.HostCreate(spec=spec))
    agent.call(host.HostStart(uuid=spec.uuid))
    pings: list[dict[str, object]] = []
    link = agent.link()
    send = link._send
    monkeypatch.setattr(link, "_send", lambda message: (pings.append(message), send(message))[1])
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    wait = host.GuestWait(uuid=spec.uuid, address="127.0.0.1", port=port, timeout_seconds=2)
    with pytest.raises(NodeTimeout):
        agent.call(wait, progress=lambda _progress: None)
    assert sum("ping" in message for message in pings) >= 3


class RawAgent:
    """A conversation without the session, for lines that the session never sends."""

    def __init__(self, agent: LocalAgent) -> None:
        self.own, theirs = socket.socketpair()
        agent.start(theirs)
        theirs.close()
        self.own.settimeout(10)
        self.file = self.own.makefile("r", encoding="utf-8")

    def say(self, line: str) -> None:
        self.own.sendall(f"{line}\n".encode())

    def hear(self) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.file.readline())
        return answer


@pytest.fixture
def raw(agent: LocalAgent) -> Iterator[RawAgent]:
    """A greeted agent."""
    raw = RawAgent(agent)
    raw.say(f'{{"hello": {{"protocol": {PROTOCOL_VERSION}, "panel": "0.1.0"}}}}')
    assert "hello" in raw.hear()
    yield raw
    raw.file.close()
    raw.own.close()


@pytest.mark.parametrize("line", ["not json", "[]", "{}", '{"id": "x"}', '"text"', "null"])
def test_a_line_that_is_no_request_is_answered_and_the_conversation_goes_on(raw: RawAgent, line: str) -> None:
    raw.say(line)
    assert raw.hear()["error"]["code"] == "invalid_params"  # type: ignore[index]
    raw.say('{"ping": 7}')
    assert raw.hear() == {"pong": 7}


@pytest.mark.parametrize(
    ("request_body", "code"),
    [
        ({"command": "rm"}, "unknown_command"),
        ({"command": "host_info"}, "invalid_params"),
        ({"command": "host_info", "params": {"uuid": 5}}, "invalid_params"),
        ({"command": "host_info", "params": {"uuid": "x", "also": 1}}, "invalid_params"),
        ({"command": "host_info", "params": []}, "invalid_params"),
        ({"command": "host_stop", "params": {"uuid": "x"}, "fence": {"task": "5; x", "number": 1}}, "invalid_params"),
        ({"command": "host_info", "params": {"uuid": "x"}, "deadline": "soon"}, "invalid_params"),
    ],
)
def test_a_request_of_another_shape_is_refused(raw: RawAgent, request_body: dict[str, object], code: str) -> None:
    raw.say(json.dumps({"id": 1, **request_body}))
    answer = raw.hear()
    assert (answer["id"], answer["error"]["code"]) == (1, code)  # type: ignore[index]


def test_an_agent_that_hears_nothing_ends_by_itself(agent: LocalAgent) -> None:
    quiet = agent.root / "quiet.py"
    quiet.parent.mkdir(parents=True)
    quiet.write_text(
        f"import sys; sys.path.insert(0, {str(agent.zipapp)!r})\n"
        "from nodeagent import server\nserver.SILENCE_SECONDS = 0.5\nsys.exit(server.main())\n"
    )
    agent.zipapp, zipapp = quiet, agent.zipapp
    raw = RawAgent(agent)
    raw.say(f'{{"hello": {{"protocol": {PROTOCOL_VERSION}}}}}')
    assert "hello" in raw.hear()
    assert agent.processes[0].wait(10) == 3
    raw.file.close()
    raw.own.close()
    agent.zipapp = zipapp


def test_the_log_names_the_request_its_command_and_its_end(agent: LocalAgent) -> None:
    agent.call(host.HostsRead())
    log = agent.root / "var/log/vmpanel/nodeagent.log"
    # It is written when the answer is on its way.
    until(lambda: "hosts_read: done in" in log.read_text())


def test_silence_ends_the_agent_later_than_the_panel_gives_up() -> None:
    # Else a node whose agent has ended would look alive for a while.
    assert session.PING_SECONDS < session.SILENCE_SECONDS < server.SILENCE_SECONDS


def test_a_call_ends_within_a_moment_of_its_cancelling_and_so_does_what_it_started(agent: LocalAgent) -> None:
    override(agent, "host_stop", SLOW)
    asked = threading.Event()

    def heed() -> None:
        if asked.is_set():
            raise Cancelled(by="admin")

    outcome: list[object] = []

    def call() -> None:
        try:
            agent.call(host.HostStop(uuid="x"), deadline=600.0, heed=heed)
        except Cancelled as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    until(lambda: sleepers(agent))
    asked.set()
    thread.join(5)
    assert len(outcome) == 1
    until(lambda: not sleepers(agent), 5)
