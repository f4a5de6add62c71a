"""What root's shell does on a host is not ours to trust: start files, login shells, sshrc, banners, environments.

One host whose root's surroundings are made anew for each case. Where the panel cannot work its error says why.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nodeagent.protocol import node as machine
from nodeagent.protocol import storage
from panel.cluster import keys, porter, ssh
from panel.cluster.client import NodeAddress
from panel.core.errors import NodeError, NodeRefused, NodeUnreachable
from tests.lab.hosts import Lab
from tests.lab.surroundings import Host
from tests.refs import directory
from tests.stack import wait_until

POOL = "/srv/root-shell"
ODD = """
export PATH=/nowhere LANG=ru_RU.KOI8-R LC_ALL=xx_YY HOME=/nowhere TMPDIR=/nowhere SHELL=/nowhere
export PYTHONPATH=/nowhere PYTHONHOME=/nowhere PYTHONSTARTUP=/nowhere LD_LIBRARY_PATH=/nowhere IFS=/
umask 000
cd /nowhere 2>/dev/null || cd /tmp
"""
ALIASES = """
shopt -s expand_aliases
alias env=false cat=false python3=false virsh=false exec=false /usr/bin/env=false
python3() { false; }
"""
OWN_SHELL = "#!/bin/sh\necho 'The shell of this site greets you'\nexec /bin/sh \"$@\"\n"
ANSWERS = """
printf '{"hello": 5}\\n{"error": {}}\\n{"result": {}}\\n{"error": {"code": "x"}}'
"""


@pytest.fixture(scope="module")
def alone() -> Iterator[Host]:
    """A host that no panel knows."""
    with Lab.create(1) as lab:
        host = Host(lab.nodes[0])
        host.write("/usr/bin/site-shell", OWN_SHELL, "0755")
        host.write("/etc/issue.net", "Authorized use only.\n")
        host.write("/etc/motd", "Message of the day.\n")
        yield host


def only_if(program: str) -> Any:
    """Mark what needs a shell that not every machine has."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.mark.parametrize(
    "surroundings",
    [
        pytest.param({"bashrc": "echo Welcome to this host"}, id="a line"),
        pytest.param({"bashrc": "printf 'no end of line'"}, id="no end of line"),
        pytest.param({"bashrc": ANSWERS}, id="what looks like an answer"),
        pytest.param({"bashrc": "echo a warning >&2; head -c 200000 /dev/zero >&2"}, id="errors"),
        pytest.param({"bashrc": "head -c 500000 /dev/urandom"}, id="much"),
        pytest.param({"bashrc": "(while sleep 0.01; do echo tick; done) &"}, id="something that goes on"),
        pytest.param({"bashrc": "trap 'echo Good bye' EXIT"}, id="a farewell"),
        pytest.param({"bashrc": "sleep 1.5"}, id="slow"),
        pytest.param({"bashrc": "set -eu -o pipefail"}, id="set -e"),
        pytest.param({"bashrc": ALIASES}, id="aliases"),
        pytest.param({"bashrc": ODD}, id="odd environment"),
        pytest.param({"sshrc": "echo sshrc of this site"}, id="sshrc"),
        pytest.param({"sshd": "Banner /etc/issue.net\nPrintMotd yes"}, id="banner and motd"),
        pytest.param({"shell": "/bin/dash"}, id="dash"),
        pytest.param({"shell": "/usr/bin/site-shell"}, id="a shell of its own"),
        pytest.param({"shell": "/usr/bin/zsh"}, id="zsh", marks=only_if("zsh")),
        pytest.param({"shell": "/usr/bin/fish"}, id="fish", marks=only_if("fish")),
        pytest.param({"shell": "/usr/bin/tcsh"}, id="tcsh", marks=only_if("tcsh")),
    ],
)
def test_an_agent_works_whatever_root_s_shell_does_before_it(alone: Host, surroundings: dict[str, str]) -> None:
    alone.use(**surroundings)
    client = alone.session()
    try:
        assert client.call(machine.NodeFacts()).hostname == alone.node.name
        client.call(storage.PoolEnsure(directory(POOL)))
        assert client.update_programs() == []
        # What a start file made of the surroundings is not what our files are made with.
        assert alone.node.run(["find", POOL, "/usr/lib/vmpanel", "-perm", "/022"]).stdout == ""
    finally:
        client.close()
        alone.node.run(["rm", "-rf", POOL])


def test_a_file_arrives_without_sftp_and_behind_a_start_file_that_prints(alone: Host, tmp_path: Path) -> None:
    alone.use(bashrc="echo Welcome", sshd="Subsystem sftp /bin/false")
    (tmp_path / "image").write_bytes(bytes(range(256)) * 20_000)
    client = alone.session()
    try:
        alone.node.run(["touch", "/root/arrived"])
        client.upload(tmp_path / "image", "/root/arrived", deadline=60)
    finally:
        client.close()
    arrived = alone.node.run(["sha256sum", "/root/arrived"]).stdout.split()[0]
    assert arrived == hashlib.sha256((tmp_path / "image").read_bytes()).hexdigest()


PASSWORD = " open sesame "
"""Blanks at its ends count."""
NEVER = {
    "exit 0": ({"bashrc": "exit 0"}, NodeRefused, "start files .* ended with exit code 0 before the panel's command"),
    "set -e": ({"bashrc": "set -e\nfalse"}, NodeRefused, "ended with exit code 1 before the panel's command"),
    "nologin": (
        {"shell": "/usr/sbin/nologin"},
        NodeRefused,
        "root's login shell lets nobody in, having said “This acc",
    ),
    "false": (
        {"shell": "/bin/false"},
        NodeRefused,
        "ended with exit code 1 .* the shell must be one such as /bin/bash",
    ),
    "rbash": ({"shell": "/bin/rbash"}, NodeRefused, "having said “.*restricted"),
    "forced": (
        {"key": 'command="echo Please login as the user admin; exit 142"'},
        NodeRefused,
        "ended with exit code 142 .* having said “Please login as the user admin”",
    ),
    "yes": ({"bashrc": "yes We have no bananas"}, NodeRefused, "print without end, having said “"),
    "sleep": (
        {"bashrc": "echo Waiting for the lock; sleep 99"},
        NodeUnreachable,
        "within 1 s, having said “Waiting for",
    ),
    "menu": ({"bashrc": "read -r answer"}, NodeUnreachable, "started no program within 1 s"),
}


@pytest.mark.parametrize(("surroundings", "kind", "sentence"), NEVER.values(), ids=NEVER)
def test_a_shell_that_starts_nothing_is_named_with_its_own_words(
    alone: Host,
    monkeypatch: pytest.MonkeyPatch,
    surroundings: dict[str, str],
    kind: type[NodeError],
    sentence: str,
) -> None:
    alone.use(**surroundings)
    monkeypatch.setattr(porter, "START_SECONDS", 1.0)
    client = alone.session()
    try:
        with pytest.raises(kind, match=sentence):
            client.call(machine.NodeFacts())
    finally:
        client.close()


UNUSABLE = {name: NEVER[name] for name in ("exit 0", "nologin", "forced")}


@pytest.mark.parametrize(("surroundings", "_kind", "sentence"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_host_whose_shell_starts_nothing_is_not_added_and_says_why(
    alone: Host, api: httpx.Client, surroundings: dict[str, str], _kind: type[NodeError], sentence: str
) -> None:
    alone.use(**surroundings)
    # Not by the key that the forced command belongs to: the password is what an administrator gives.
    way = {"key": alone.node.private_key_path.read_text()} if "key" in surroundings else {"password": PASSWORD}
    alone.node.run(["chpasswd"], input=f"root:{PASSWORD}\n")
    answer = api.post("nodes", json={"name": "odd", "address": alone.node.address, **way})
    task = ended(api, answer)
    assert task["status"] == "failed"
    assert re.search(sentence, task["error"]["message"])
    assert not api.get("nodes", params={"name": "odd"}).json()["results"]


def ended(api: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The task that was asked for, when it is over."""
    assert answer.status_code == 202, answer.text
    path = f"tasks/{answer.json()['task']['id']}"
    wait_until(lambda: api.get(path).json()["status"] in ("done", "failed", "stuck"), "the task ends", 60)
    task: dict[str, Any] = api.get(path).json()
    return task


def test_a_host_may_have_keys_of_any_kinds_and_be_known_by_any_of_them(alone: Host) -> None:
    alone.use()
    key = str(alone.node.private_key_path)
    address = NodeAddress("odd", alone.node.address, alone.node.ssh_port, key_path=key)
    for kinds in (("rsa",), ("ecdsa",), ("rsa", "ecdsa", "ed25519")):
        for fingerprint in alone.have_host_keys(*kinds):
            found = ssh.find_host_key(address, fingerprint)
            assert keys.fingerprint(found) == fingerprint
            with contextlib.closing(ssh.open_connection(dataclasses.replace(address, host_key=found))) as connection:
                assert connection.host_key == found
    with pytest.raises(
        NodeRefused, match=r"\(ssh-ed25519\), .*\(ecdsa.*\(ssh-rsa\); the one that was given is none of them"
    ):
        ssh.find_host_key(address, "SHA256:none")


@only_if("sudo")
def test_a_user_whom_sudo_lets_do_all_is_as_good_as_root(alone: Host) -> None:
    alone.use()
    alone.have_sudoer("ops", PASSWORD, "ALL=(ALL) NOPASSWD: ALL")
    address = NodeAddress("odd", alone.node.address, alone.node.ssh_port, user="ops", password=PASSWORD)
    with contextlib.closing(ssh.open_connection(address)) as connection, connection.porter() as started:
        assert started.look()["user"] == 0
        started.authorize_key("ssh-ed25519 AAAA panel")
        assert "ssh-ed25519 AAAA panel" in alone.node.run(["cat", "/root/.ssh/authorized_keys"]).stdout
        started.deauthorize_key("ssh-ed25519 AAAA panel")
    for rule in ("ALL=(ALL) ALL", "ALL=(ALL) NOPASSWD: /bin/true"):
        alone.have_sudoer("ops", PASSWORD, rule)
        with (
            contextlib.closing(ssh.open_connection(address)) as connection,
            pytest.raises(
                NodeRefused,
                match="ops is not root, and sudo starts nothing for them without a password, having said “sudo: a",
            ),
        ):
            connection.start_porter()


def test_a_user_who_is_not_root_is_refused_where_there_is_no_sudo(alone: Host) -> None:
    alone.use()
    alone.have_user("guest", PASSWORD)
    address = NodeAddress("odd", alone.node.address, alone.node.ssh_port, user="guest", password=PASSWORD)
    with (
        contextlib.closing(ssh.open_connection(address)) as connection,
        pytest.raises(NodeRefused, match="guest is not root, and sudo starts nothing for them"),
    ):
        connection.start_porter()
