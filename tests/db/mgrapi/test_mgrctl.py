"""vmpanel mgrctl against the real dispatcher."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from django.core.management import CommandError, call_command
from django.test import Client

from panel.accounts.models import JournalEntry, User
from panel.accounts.tokens import create_token
from panel.cli import asking, main, mgrctl
from panel.cli.client import Panel
from panel.tasks.models import Task
from tests.db.mgrapi.classic import World


def answered(request: httpx.Request) -> httpx.Response:
    """What the panel answers, asked in this process: a server's connection would not see the test's transaction."""
    headers = {"Authorization": request.headers["Authorization"]}
    kind = request.headers["Content-Type"]
    client = Client(headers=headers)
    answer = client.generic(request.method, request.url.path, request.content, content_type=kind, secure=True)
    return httpx.Response(answer.status_code, content=answer.content)


@pytest.fixture
def panel(world: World, monkeypatch: pytest.MonkeyPatch) -> Panel:
    """The panel, as the customer's command line reaches it."""
    _, token = create_token(world.users["anna"], "cli")
    panel = Panel("https://testserver:1500", token)
    to_the_panel = httpx.MockTransport(answered)
    panel.http = httpx.Client(base_url=panel.http.base_url, headers=panel.http.headers, transport=to_the_panel)
    monkeypatch.setattr(asking, "connect", lambda: panel)
    monkeypatch.setattr(mgrctl, "is_panel_here", lambda: False)
    return panel


def run(*words: str, given: str | None = None) -> Result:
    """The command with these words, and with what is piped into it."""
    return CliRunner().invoke(main.cli, ["mgrctl", "-m", "vmmgr", *words], input=given)


def test_a_list_is_a_row_a_line_and_a_form_a_value_a_line(panel: Panel) -> None:
    assert run("vmmini").output == "id=237 name=shop ip=10.77.0.10 vmstatus=running\n"
    assert run("vm.edit", "elid=237").output.startswith("elid=237\nname=shop\nip=10.77.0.10\n")
    assert run("vm.restart", "elid=237").output == "OK\n"


def test_other_forms_are_printed_as_they_are(panel: Panel) -> None:
    assert json.loads(run("-o", "json", "vmmini").output)["doc"]["elem"][0]["id"] == {"$": "237"}
    assert "<doc><elem><id>237</id>" in run("-o", "xml", "vmmini").output


def test_the_developers_form_is_the_xml(panel: Panel) -> None:
    assert run("-o", "devel", "vmmini").output == run("-o", "xml", "vmmini").output


@pytest.mark.parametrize("out", ["text", "xml", "json", "devel"])
@pytest.mark.parametrize("words", [("vm.restart", "elid=1"), ("no.such",)])
def test_what_is_refused_ends_with_2(panel: Panel, out: str, words: tuple[str, ...]) -> None:
    done = run("-o", out, *words)
    assert done.exit_code == 2 and "missed" in done.output


def test_a_password_is_read_from_a_pipe_and_never_taken_as_a_word(panel: Panel) -> None:
    assert run("vm.chpasswd", "elid=237", "sok=ok", "passwd=-", given="a secret word\n").output == "OK\n"
    for word in ("passwd=a secret word", "authinfo=anna:a secret word"):
        done = run("vm.chpasswd", "elid=237", "sok=ok", word)
        assert done.exit_code == 1 and "a secret word" not in done.output
    assert run("vm", "elid").exit_code == 1


def command(asked: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """What manage.py classic_call prints for this input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(asked if isinstance(asked, str) else json.dumps(asked)))
    out = io.StringIO()
    call_command("classic_call", stdout=out)
    return out.getvalue()


@pytest.fixture
def here(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Root on the panel's machine, who never signed in."""
    monkeypatch.setattr(mgrctl, "is_panel_here", lambda: True)
    monkeypatch.setattr(mgrctl, "call_here", lambda asked: command(asked, monkeypatch))
    return world


def test_root_on_the_panels_machine_needs_no_sign_in(here: World) -> None:
    assert run("vmhostnode").output.startswith("id=20 name=fake1 ip=fake1.invalid ")
    assert run("vmhostnode.edit", "elid=20", "maxvmcount=7", "sok=ok").output == "OK\n"
    assert run("-o", "xml", "vm.novnc", "elid=237").output.count("<url>https://localhost:") == 1
    assert run("vm.restart", "elid=237").output == "OK\n"
    assert Task.objects.get().created_by == here.users["admin"]
    kept = JournalEntry.objects.get(action="vm.restart")
    assert (kept.user_name, kept.door, kept.address or "") == ("admin", "classic", "")
    assert run("", "su=anna").output.startswith("user=anna\n")
    assert run("no.such").exit_code == 2


def test_a_call_on_the_machine_needs_an_administrator_and_texts(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("no JSON", [], {"func": 1}):
        with pytest.raises(CommandError):
            command(asked, monkeypatch)
    User.objects.filter(level="super").update(is_active=False)
    with pytest.raises(CommandError, match="create_admin"):
        command({"func": "vm"}, monkeypatch)


def test_who_is_root_where_the_panel_is_and_names_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    conf = tmp_path / "vmpanel.conf"
    monkeypatch.setenv("VMPANEL_CONF", str(conf))
    monkeypatch.delenv("VMPANEL_URL", raising=False)
    monkeypatch.setattr(mgrctl.os, "geteuid", lambda: 0)
    assert not mgrctl.is_panel_here()
    conf.write_text("PanelHere=no\n", encoding="utf-8")
    assert not mgrctl.is_panel_here()
    conf.write_text("", encoding="utf-8")
    assert mgrctl.is_panel_here()
    monkeypatch.setattr(mgrctl.os, "geteuid", lambda: 1000)
    assert not mgrctl.is_panel_here()
    monkeypatch.setattr(mgrctl.os, "geteuid", lambda: 0)
    monkeypatch.setenv("VMPANEL_URL", "https://other:1500")
    assert not mgrctl.is_panel_here()
