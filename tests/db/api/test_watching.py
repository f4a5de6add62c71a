"""How nodes are watched: over REST, and by the command line that speaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from click.testing import CliRunner, Result
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.accounts.tokens import create_token
from panel.cli import asking, main
from panel.cli.client import Panel
from panel.cluster.models import Node
from panel.monitoring import configure, keys
from panel.monitoring.models import MasterWatch, NodeWatch
from panel.tasks.models import Status, Task
from tests.db.conftest import make_node

Vmpanel = Callable[..., Result]


@pytest.fixture
def vmpanel(admin: User, monkeypatch: pytest.MonkeyPatch) -> Vmpanel:
    """The command, signed in at this panel, which it reaches without a network."""
    _token, text = create_token(admin, "test")
    panel = Panel("https://testserver", text)
    headers = {"Authorization": f"Bearer {text}"}
    transport = httpx.WSGITransport(app=get_wsgi_application())
    panel.http = httpx.Client(base_url="https://testserver/api/v1/", headers=headers, transport=transport)
    monkeypatch.setattr(asking, "connect", lambda: panel)
    return lambda *words: CliRunner().invoke(main.cli, words)


def heard(node: Node, seconds_ago: float, digest: str = "") -> None:
    """The node's vmwatch-node has spoken."""
    at = timezone.now() - timedelta(seconds=seconds_ago)
    NodeWatch.objects.create(node=node, epoch=1, sequence=1, heard_at=at, keys_digest=digest)


def test_each_node_is_told_with_when_it_was_heard(api: APIClient, node: Node) -> None:
    held = keys.ensure()
    heard(node, 1, held.digest)
    heard(make_node("fake2"), 3600, "earlier")
    make_node("fake3")
    nodes = {each["name"]: each for each in api.get("/api/v1/vmwatch/nodes").json()["results"]}
    told = {name: (each["silent"], each["has_keys"], bool(each["heard_at"])) for name, each in nodes.items()}
    assert told == {
        node.name: (False, True, True),
        "fake2": (True, False, True),
        "fake3": (True, False, False),
    }


def test_the_master_is_told_and_no_secret(api: APIClient, node: Node) -> None:
    empty = {"listens": "", "heard_at": None, "encrypted": False, "rotating": False}
    assert api.get("/api/v1/vmwatch").json() == empty
    where, held = configure.configure_master()
    keys.rotate()
    MasterWatch.objects.create(id=1, heard_at=timezone.now())
    told = api.get("/api/v1/vmwatch")
    assert told.json()["listens"] == where and told.json()["rotating"] and told.json()["heard_at"]
    assert held.secret not in told.content.decode()


@pytest.mark.parametrize("path", ["vmwatch", "vmwatch/nodes"])
def test_customers_are_not_told(api_as_user: APIClient, path: str) -> None:
    answer = api_as_user.get(f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")


def test_many_nodes_cost_the_same_queries_as_few(api: APIClient, node: Node) -> None:
    counts = []
    for number in range(2):
        for other in range(12 * number):
            heard(make_node(f"many{other}"), 1)
        with CaptureQueriesContext(connection) as queries:
            assert api.get("/api/v1/vmwatch/nodes").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_command_line_shows_the_master_and_which_node_is_silent(vmpanel: Vmpanel, node: Node) -> None:
    heard(node, 1)
    fine = vmpanel("--json", "vmwatch", "nodes")
    assert (fine.exit_code, [each["name"] for each in json.loads(fine.output)]) == (0, [node.name])
    make_node("fake2")
    bad = vmpanel("vmwatch", "nodes")
    assert bad.exit_code == 1 and "fake2" in bad.output
    assert json.loads(vmpanel("--json", "vmwatch", "show").output)["rotating"] is False


def test_the_command_line_configures_and_rotates(vmpanel: Vmpanel, node: Node, run_tasks: Callable[[], None]) -> None:
    assert "configure" in vmpanel("vmwatch", "--help").output
    planned = vmpanel("vmwatch", "configure", "--plan")
    assert planned.exit_code == 0 and "forget_previous" in planned.output and not Task.objects.exists()
    before = keys.ensure().secret
    done = vmpanel("vmwatch", "configure", "--rotate", "true", "--no-wait")
    assert done.exit_code == 0, done.output
    run_tasks()
    task = Task.objects.get(operation="vmwatch.configure")
    assert task.status == Status.DONE
    held = keys.current()
    assert held is not None and held.secret != before and not held.previous


def test_copies_of_a_vm_are_settled_by_a_derived_verb(vmpanel: Vmpanel) -> None:
    shown = vmpanel("vm", "settle", "--help").output
    assert "--node" in shown and "--stop-others" in shown
