"""The vmpanel command against a whole panel with real nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.stack import Stack

Vmpanel = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def vmpanel(stack: Stack, cluster: list[Node], tmp_path: Path) -> Vmpanel:
    """Run the command, signed in by a token."""

    def run(*words: str, input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {
            "VMPANEL_URL": f"https://127.0.0.1:{stack.port}",
            "VMPANEL_TOKEN": stack.token,
            "VMPANEL_CERTIFICATE": str(stack.layout.tls / "panel.crt"),
            "XDG_CONFIG_HOME": str(tmp_path),
        }
        return subprocess.run(
            [str(Path(sys.executable).parent / "vmpanel"), *words],
            capture_output=True,
            text=True,
            check=False,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            env={**os.environ, **known, **environment},
            timeout=200,
        )

    return run


def test_a_vm_is_created_shown_and_deleted(vmpanel: Vmpanel, cluster: list[Node]) -> None:
    created = vmpanel("vm", "create", "cli1", "--image", "tiny", "--flavor", "tiny", "--node", cluster[0].name)
    assert created.returncode == 0, created.stderr
    assert "Create VM cli1: done." in created.stdout
    listed = json.loads(vmpanel("--json", "vm", "list").stdout)
    assert [vm["name"] for vm in listed] == ["cli1"]
    assert json.loads(vmpanel("--json", "vm", "show", "cli1").stdout)["status"] == "running"
    assert "cli1" in vmpanel("vm", "list").stdout

    planned = vmpanel("vm", "configure", "cli1", "--clock", "localtime", "--boot-order", "cdrom", "--plan")
    assert '+  <clock offset="localtime" />' in planned.stdout.splitlines()
    assert json.loads(vmpanel("--json", "vm", "show", "cli1").stdout)["clock"] == "utc"

    stopped = vmpanel("--json", "vm", "stop", "cli1", "--timeout-seconds", "60")
    assert json.loads(stopped.stdout)["task"]["status"] == "done"
    started = json.loads(vmpanel("--json", "vm", "start", "cli1", "--no-wait").stdout)
    followed = vmpanel("task", "follow", str(started["task"]["id"]))
    assert (followed.returncode, "Start VM cli1: done." in followed.stdout) == (0, True)
    assert vmpanel("vm", "delete", "cli1", "--yes").returncode == 0
    assert remains(cluster[0]) == NOTHING


def test_a_plan_is_shown_and_nothing_done(vmpanel: Vmpanel) -> None:
    shown = vmpanel("vm", "create", "planned", "--image", "tiny", "--flavor", "tiny", "--plan")
    assert "reserve_records" in shown.stdout
    assert json.loads(vmpanel("--json", "vm", "list").stdout) == []


def test_a_refusal_is_one_line_and_exit_code_2(vmpanel: Vmpanel) -> None:
    refused = vmpanel("vm", "create", "x", "--image", "nothing", "--flavor", "tiny")
    assert refused.returncode == 2
    assert refused.stderr == "vmpanel: There is no image “nothing”. [image]\n"
    as_json = vmpanel("--json", "vm", "create", "x", "--image", "nothing", "--flavor", "tiny")
    assert (as_json.returncode, json.loads(as_json.stdout)["code"]) == (2, "not_found")


def test_a_panel_that_does_not_answer_is_exit_code_3(vmpanel: Vmpanel) -> None:
    away = vmpanel("vm", "list", VMPANEL_URL="https://127.0.0.1:1")
    assert (away.returncode, "cannot be reached" in away.stderr) == (3, True)


def test_signing_in_is_remembered_for_this_account_alone(vmpanel: Vmpanel, stack: Stack, tmp_path: Path) -> None:
    words = ("login", f"https://127.0.0.1:{stack.port}", "--name", "admin")
    certificate = str(stack.layout.tls / "panel.crt")
    done = vmpanel(*words, "--certificate", certificate, input=f"{stack.password}\n")
    assert done.returncode == 0, done.stderr
    remembered = tmp_path / "vmpanel" / "login.json"
    assert remembered.stat().st_mode & 0o777 == 0o600
    assert stack.password not in remembered.read_text(encoding="utf-8")
    assert vmpanel("--json", "node", "list", VMPANEL_URL="").returncode == 0
