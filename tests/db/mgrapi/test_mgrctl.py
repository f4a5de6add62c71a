"""vmpanel mgrctl against the real dispatcher."""

from __future__ import annotations

import json

import httpx
import pytest
from click.testing import CliRunner, Result
from django.test import Client

from panel.accounts.tokens import create_token
from panel.cli import asking, main
from panel.cli.client import Panel
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


@pytest.mark.parametrize("out", ["text", "xml", "json"])
def test_what_is_refused_ends_with_2(panel: Panel, out: str) -> None:
    done = run("-o", out, "vm.restart", "elid=1")
    assert done.exit_code == 2 and "missed" in done.output


def test_a_password_is_read_from_a_pipe_and_never_taken_as_a_word(panel: Panel) -> None:
    assert run("vm.chpasswd", "elid=237", "sok=ok", "passwd=-", given="a secret word\n").output == "OK\n"
    for word in ("passwd=a secret word", "authinfo=anna:a secret word"):
        done = run("vm.chpasswd", "elid=237", "sok=ok", word)
        assert done.exit_code == 1 and "a secret word" not in done.output
    assert run("vm", "elid").exit_code == 1
