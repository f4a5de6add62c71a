"""script/server's first node: what is waited for is said, and the end says what to do."""

from __future__ import annotations

from typing import Any, cast

import pytest

from panel.standalone import machine, show
from panel.standalone.client import Api, ApiError
from panel.standalone.private import Unfit
from panel.standalone.setup import Layout

TASK = {"id": 7, "title": "Check node one", "status": "done", "steps": [], "error": None}


class Panel:
    """Answers as the panel's API would; libvirt answers from the so-many-th check on."""

    def __init__(self, checks: int, state: str = "off") -> None:
        self.checks = checks
        self.state = state

    def node(self) -> dict[str, Any]:
        """The node as it is."""
        facts = {"libvirt": self.state, "libvirt_text": "no socket."} if self.checks else {"libvirt": "answers"}
        return {"id": 1, "name": "one", "facts": facts}

    def get(self, path: str) -> Any:
        """The task, which has ended, or the node."""
        return TASK if path.startswith("/tasks/") else self.node()

    def list(self, path: str) -> list[dict[str, Any]]:
        """There are no VMs."""
        return []

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """A check; a VM is refused."""
        if path == "/vms":
            raise ApiError(409, "No node can take this VM: one: 1 MiB of memory free, 64 MiB needed.")
        self.checks -= 1
        return {"task": {"id": 7}}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sleeps."""
    monkeypatch.setattr(machine, "CHECK_AGAIN_SECONDS", 0.0)


def test_a_libvirt_that_does_not_answer_yet_is_waited_for_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    panel = Panel(checks=3)
    node = machine.wait_for_libvirt(cast(Api, panel), panel.node())
    assert node["facts"]["libvirt"] == "answers"
    assert capsys.readouterr().out.count("Waiting up to 180 s until libvirt answers: no socket.") == 1


@pytest.mark.parametrize(("state", "do"), [("off", "Start it, or see why not"), ("silent", "See /var/log/libvirt")])
def test_one_that_never_does_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch, state: str, do: str) -> None:
    monkeypatch.setattr(machine, "LIBVIRT_SECONDS", 0.0)
    panel = Panel(checks=10**9, state=state)
    with pytest.raises(Unfit, match=r"no socket\.") as caught:
        machine.wait_for_libvirt(cast(Api, panel), panel.node())
    assert do in str(caught.value) and "run script/server again" in str(caught.value)


def test_a_first_vm_that_no_node_takes_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "make_key", lambda *_: "ssh-ed25519 AAAA")
    layout = cast(Layout, type("Layout", (), {"ssh": machine.TOP})())
    with pytest.raises(Unfit) as caught:
        machine.ensure_first_vm(cast(Api, Panel(0)), layout, "tiny")
    assert str(caught.value).startswith("No node can take this VM: one: 1 MiB of memory free")
    assert machine.AGAIN in str(caught.value) and "--no-first-vm" in str(caught.value)


def test_a_step_that_takes_long_says_once_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show, "LONG_SECONDS", -1.0)
    step = {"position": 3, "title": "Start libvirt", "status": "running", "progress_text": "waiting for libvirt"}
    steps = show.Steps()
    for _ in range(4):
        steps.show({"steps": [step]})
    assert capsys.readouterr().out == "  … Start libvirt: waiting for libvirt\n"
