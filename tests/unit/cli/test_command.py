"""The vmpanel command without a panel; with one: tests/lab/test_cli.py."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import click
import httpx
import pytest

from panel.cli import output, verbs
from panel.cli.client import Panel, Refused, connect, login_file, save_login
from panel.cli.verbs import operation_command
from panel.core.texts import escaped

CREATE = {
    "name": "vm.create",
    "verb": "create",
    "creates": True,
    "description": "Create a VM.",
    "params": {
        "required": ["name", "image"],
        "properties": {
            "name": {"type": "string"},
            "image": {"type": "string", "description": "The image."},
            "memory_mib": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "ssh_keys": {"type": "array", "items": {"type": "string"}},
            "addresses": {"anyOf": [{"type": "object"}, {"type": "null"}]},
            "password": {"anyOf": [{"type": "string", "format": "password"}, {"type": "null"}]},
        },
    },
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, with no panel known."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("VMPANEL_URL", raising=False)
    return tmp_path


def test_the_remembered_token_is_for_its_owner_alone(home: Path) -> None:
    path = save_login("https://panel:1500", "secret", None)
    assert path == login_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["token"] == "secret"
    assert connect().http.headers["Authorization"] == "Bearer secret"


def test_whoever_has_not_signed_in_is_told_how(home: Path) -> None:
    with pytest.raises(click.ClickException, match="vmpanel login"):
        connect()


def test_nothing_is_sent_without_tls() -> None:
    with pytest.raises(click.ClickException, match="not an https"):
        Panel("http://panel:1500", "secret")


def test_an_absent_certificate_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="cannot be read"):
        Panel("https://panel:1500", "", str(tmp_path / "none.crt"))


def test_the_options_of_a_verb_are_the_parameters_of_its_operation() -> None:
    command = operation_command("vm", CREATE)
    options = {parameter.name: parameter for parameter in command.params}
    assert isinstance(options["name"], click.Argument)
    assert options["image"].required and not options["memory_mib"].required
    assert isinstance(options["memory_mib"].type, click.types.IntParamType)
    assert options["ssh_keys"].multiple and options["addresses"].multiple
    assert {"wait", "queue", "plan"} <= set(options)
    with click.Context(command) as context:
        assert "asked for, or read from a pipe" in command.get_help(context).replace("\n", " ").replace("  ", " ")


def test_values_by_names_are_told_apart_at_the_first_equals_sign() -> None:
    properties = CREATE["params"]["properties"]  # type: ignore[index]
    assert verbs._many("addresses", ("a=1", "b=c=d"), properties) == {"a": "1", "b": "c=d"}
    assert verbs._many("ssh_keys", ("a=1", "b"), properties) == ["a=1", "b"]
    with pytest.raises(click.BadParameter, match="“b” is not NAME=VALUE"):
        verbs._many("addresses", ("a=1", "b"), properties)


def test_an_answer_that_is_no_panels_is_told_without_a_traceback() -> None:
    request = httpx.Request("GET", "https://panel:1500/api/v1/vms")
    with pytest.raises(Refused, match="answers 502, and not as a panel"):
        Panel._answer(httpx.Response(502, text="<html>Bad gateway</html>", request=request))


def test_a_refusal_names_the_field() -> None:
    body = {"code": "invalid_value", "detail": "Use a-z.", "field": "name"}
    request = httpx.Request("POST", "https://panel:1500/api/v1/vms")
    with pytest.raises(Refused, match=r"Use a-z. \[name\]"):
        Panel._answer(httpx.Response(400, json=body, request=request))


def test_brackets_in_what_the_panel_says_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.show([{"text": "no room [/var] and [red]"}], ("text",), as_json=False)
    assert "no room [/var] and [red]" in capsys.readouterr().out


def test_a_plan_is_a_table_with_what_it_waits_for_and_the_differences_behind_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = {"name": "want", "title": "Note it", "changes": "[a]", "difference": "", "can_be_undone": True}
    plan = {
        "operation": "vm.configure",
        "locks": [
            {"kind": "vm", "id": 7, "exclusive": True, "task": 12},
            {"kind": "node", "id": 1, "exclusive": False, "task": None},
        ],
        "steps": [
            {**step, "seconds_before": None},
            {**step, "name": "define", "difference": "-old\n+new\n", "seconds_before": 0.512},
        ],
    }
    output.show_plan(plan, False)
    first, heads, *rows = capsys.readouterr().out.splitlines()
    assert first == "Task 12 is at work on vm 7."
    assert heads.split("  ")[-1].strip() == "TOOK BEFORE"
    assert [row.split()[-1] for row in rows] == ["–", "s", "-old", "+new"]
    assert "[a]" in rows[0] and "0.5 s" in rows[1]
    output.show_plan(plan, True)
    assert json.loads(capsys.readouterr().out) == plan


EVIL = "a\x1b]0;you\x07\x9b2J\u202eb\r\nroot"


def test_what_others_wrote_moves_no_cursor_of_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.show([{"name": EVIL}], ("name",), as_json=False)
    output.show({"name": EVIL, EVIL: 1, "list": [EVIL]}, (), as_json=False)
    output.show([{"name": EVIL}], ("name",), as_json=True)
    plan = {"title": EVIL, "changes": EVIL, "difference": f"-{EVIL}\n", "seconds_before": None, "name": "define"}
    output.show_plan({"locks": [], "steps": [plan]}, False)
    printed = capsys.readouterr().out
    assert not set(printed) & set("\x1b\x07\x9b\u202e\r") and r"a\x1b]0;you\x07" in printed


def test_a_task_and_a_refusal_are_escaped_and_may_have_lines() -> None:
    assert escaped(EVIL) == r"a\x1b]0;you\x07\x9b2J\u202eb\r\nroot"
    assert escaped("one\ntwo\tthree\x1b", lines=True) == "one\ntwo\tthree\\x1b"
    assert escaped("Größe 👩\u200d💻 \u0928\u200d") == "Größe 👩\u200d💻 \u0928\u200d"
