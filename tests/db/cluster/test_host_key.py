"""The key of a host, read from a real sshd before anybody trusts it, and of a node that shows another one later."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import keys
from panel.cluster.models import Node, NodeState
from panel.notices.models import Problem
from panel.tasks.models import Status, Task
from tests.contract.private_sshd import PASSWORD, SSHD, Sshd, running
from tests.db.conftest import make_node, run_task

pytestmark = pytest.mark.skipif(not (os.path.exists(SSHD) and os.geteuid() == 0), reason="needs an sshd, and root")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with running(tmp_path) as found:
        yield found


def asked(api: APIClient, path: str, **body: object) -> Task:
    answer = api.post(f"/api/v1/{path}", body, format="json")
    assert answer.status_code == 202, answer.json()
    return run_task(Task.objects.get(pk=answer.json()["task"]["id"]))


def test_a_host_is_asked_for_its_keys_and_one_that_shows_another_is_refused(api: APIClient, sshd: Sshd) -> None:
    where = {"address": "127.0.0.1", "ssh_port": sshd.port}
    read = asked(api, "cluster/read-host-key", **where)
    printed = subprocess.run(
        ["ssh-keygen", "-lf", f"{sshd.folder}/host_key.pub"], check=True, capture_output=True, text=True
    ).stdout
    found = keys.fingerprint(sshd.host_key)
    assert found == printed.split()[1]
    assert read.result == {**where, "keys": [{"kind": "ssh-ed25519", "fingerprint": found}]}
    given = {**where, "name": "rack1", "password": PASSWORD, "host_key": "SHA256:another"}
    refused = asked(api, "nodes", **given)
    assert (refused.status, refused.error["code"], refused.error["field"]) == (
        Status.FAILED,
        "node_refused",
        "host_key",
    )
    assert found in refused.error["message"] and not Node.objects.exists()


def test_a_host_without_an_ssh_server_is_said_to_be_so_at_once(api: APIClient) -> None:
    read = asked(api, "cluster/read-host-key", address="127.0.0.1", ssh_port=1)
    assert (read.status, read.error["code"]) == (Status.FAILED, "operation_failed")
    assert "127.0.0.1" in read.error["message"] and "refused" in read.error["message"]


def test_a_node_that_shows_another_key_is_a_problem_with_both(api: APIClient, sshd: Sshd, admin: User) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYrhbLnMk5dXKPYD+tTzfMV5WEfyi+FZi4pY6BV3DKN"
    node = make_node("rack1", host_key=other, ssh_port=sshd.port)
    Node.objects.filter(pk=node.pk).update(address="127.0.0.1", is_fake=False)
    checked = asked(api, f"nodes/{node.pk}/check")
    node.refresh_from_db()
    assert (checked.status, node.state, node.host_key) == (Status.DONE, NodeState.UNREACHABLE, other)
    problem = Problem.objects.get(key=f"node:{node.pk}:unreachable")
    said = problem.worded.shown(nodes=True)
    assert keys.fingerprint(other) in said and keys.fingerprint(sshd.host_key) in said and "reconnect" in said
