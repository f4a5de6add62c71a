"""An administrator's own program in the place of host_stop: what it gets, what it may answer, when it is not used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.protocol import host
from panel.core.errors import CommandFailed, NodeError, NodeTimeout
from tests.contract.local_agent import LocalAgent, until
from tests.contract.subjects import code_of, make_spec

STOP = """#!/usr/bin/python3
import json, sys
asked = json.load(sys.stdin)
with open("{folder}/asked.json", "w") as file:
    json.dump(asked, file)
uuid = asked["params"]["uuid"]
print(json.dumps({{"uuid": uuid, "exists": True, "name": "by our own program", "state": "shut off"}}))
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LocalAgent]:
    """A real agent."""
    agent = LocalAgent(tmp_path / "agent")
    yield agent
    agent.stop()


def put(agent: LocalAgent, text: str, *, mode: int = 0o755) -> Path:
    """Replace host_stop by a program."""
    folder = agent.root / "etc/vmpanel/commands"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    path = folder / "host_stop"
    path.write_text(text)
    path.chmod(mode)
    return path


def prints(answer: object) -> str:
    """A program that prints this and nothing else."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return f"#!/bin/sh\ncat > /dev/null\ncat <<'END'\n{text}\nEND\n"


def refusal(agent: LocalAgent) -> str:
    """The code with which host_stop is refused now."""
    with pytest.raises(NodeError) as caught:
        agent.call(host.HostStop(uuid="x"), deadline=10)
    return code_of(caught.value)


def test_a_program_takes_the_place_of_host_stop_and_of_nothing_else(agent: LocalAgent, tmp_path: Path) -> None:
    spec = make_spec("/var/lib/pool")
    put(agent, STOP.format(folder=tmp_path))
    agent.call(host.HostCreate(spec=spec))

    state = agent.call(host.HostStop(uuid=spec.uuid), deadline=30)
    assert (state.name, state.state) == ("by our own program", "shut off")
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert (asked["command"], asked["params"]) == ("host_stop", {"uuid": spec.uuid})
    assert 0 < asked["deadline"] <= 30 and asked["request_id"]
    assert agent.call(host.HostInfo(uuid=spec.uuid)).name == spec.name
    assert agent.link().hello["overrides"] == ["host_stop"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"error": {"code": "in_use", "message": "Not now.", "data": {}}}, "in_use"),
        ({"error": {"code": "of our own", "message": "No."}}, "command_failed"),
        ({"error": "no"}, "command_failed"),
        ({"uuid": "x"}, "command_failed"),
        ({"uuid": "x", "exists": "yes"}, "command_failed"),
        ({"uuid": "x", "exists": True, "surprise": 1}, "command_failed"),
        ("no JSON", "command_failed"),
        ("", "command_failed"),
    ],
)
def test_errors_are_translated_and_an_answer_of_another_shape_is_one(
    agent: LocalAgent, answer: object, code: str
) -> None:
    put(agent, prints(answer))
    assert refusal(agent) == code
    assert agent.call(host.HostsRead()).hosts is not None


def test_a_program_that_fails_says_why(agent: LocalAgent) -> None:
    put(agent, "#!/bin/sh\necho 'the array is rebuilding' >&2\nexit 3\n")
    with pytest.raises(CommandFailed, match="the array is rebuilding"):
        agent.call(host.HostStop(uuid="x"))


def test_a_program_is_killed_at_the_deadline(agent: LocalAgent, tmp_path: Path) -> None:
    put(agent, f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    with pytest.raises(NodeTimeout):
        agent.call(host.HostStop(uuid="x"), deadline=3)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o644])
def test_a_program_that_others_may_change_or_nobody_may_run_is_not_used_and_ours_neither(
    agent: LocalAgent, mode: int
) -> None:
    spec = make_spec("/var/lib/pool")
    agent.call(host.HostCreate(spec=spec))
    agent.call(host.HostStart(uuid=spec.uuid))
    put(agent, prints({"uuid": spec.uuid, "exists": False}), mode=mode)
    assert refusal(agent) == "unknown_command"
    assert agent.call(host.HostInfo(uuid=spec.uuid)).state == "running"


def test_a_program_in_a_folder_that_others_may_change_is_not_used(agent: LocalAgent) -> None:
    put(agent, prints({"uuid": "x", "exists": False})).parent.chmod(0o777)
    assert refusal(agent) == "unknown_command"
