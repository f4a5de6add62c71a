"""Hosts that cannot be nodes as they are: each is refused with a sentence before anything is written on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.hosts import Lab, Node
from tests.stack import task_of, wait_for_task

SSHD = "/etc/ssh/sshd_config"
MARK = "/var/lib/vmpanel/node.json"
OTHERS_MARK = {"panel": "0123456789abcdef", "node": 7, "name": "alien7", "panel_name": "https://other.example.org"}
PLACES = ("/usr/lib/vmpanel", "/var/lib/vmpanel", "/etc/vmpanel", "/run/vmpanel", "/root/.ssh")
# Logs stay, for whoever wants to know why.
SMALL = "mount -t tmpfs -o size=1m tmpfs /var/lib/vmpanel"
HOSTS = {
    "/usr read-only": (
        "mount --bind /usr /usr && mount -o remount,bind,ro /usr",
        "read_only",
        "/usr/lib is mounted read-only, and /usr/lib/vmpanel must be written: mount it writable.",
    ),
    "keys elsewhere": (
        "echo AuthorizedKeysFile /etc/ssh/keys/%u >> /etc/ssh/sshd_config",
        "keys_elsewhere",
        "Its sshd reads authorized keys from /etc/ssh/keys/%u alone: add .ssh/authorized_keys to AuthorizedKeysFile.",
    ),
    "no keys": ("echo PubkeyAuthentication no >> /etc/ssh/sshd_config", "no_keys", "set PubkeyAuthentication to yes"),
    "RSA keys alone": (
        "echo PubkeyAcceptedAlgorithms rsa-sha2-512 >> /etc/ssh/sshd_config",
        "key_kind",
        "Its sshd takes no ssh-ed25519 keys",
    ),
    "few sessions": (
        "sed -i s/^MaxSessions.*/MaxSessions\\ 3/ /etc/ssh/sshd_config",
        "few_sessions",
        "set MaxSessions to 4 or more",
    ),
    "no space": (
        f"mkdir /var/lib/vmpanel && {SMALL}",
        "no_space",
        "The file system of /var/lib/vmpanel has 1 MiB free",
    ),
    "a firewall before the panel": (
        "nft add table inet wall && nft add chain inet wall out '{ type filter hook output priority 0; }' && "
        "nft add rule inet wall out oifname eth0 tcp flags '&' '(syn|ack)' == syn drop",
        "panel_unreachable",
        "let it through the firewalls between them.",
    ),
    "a file in the way": ("touch /etc/vmpanel", "no_folder", "/etc/vmpanel is no folder"),
}
RESTORE = """
umount -l /usr 2>/dev/null
umount -l /var/lib/vmpanel 2>/dev/null
rmdir /var/lib/vmpanel 2>/dev/null
[ -f /etc/vmpanel ] && rm /etc/vmpanel
nft delete table inet wall 2>/dev/null
cp /run/sshd_config.kept /etc/ssh/sshd_config
kill -HUP $(cat /run/sshd.pid)
true
"""


def sh(node: Node, script: str) -> None:
    """Run a constant of this file in the node."""
    node.run(["sh", "-c", script])


def traces(node: Node) -> dict[str, Any]:
    """All that the panel could have left on the host."""
    files = node.run(["find", *PLACES], check=False).stdout.splitlines()
    return {
        "files": sorted(files),
        "keys": node.run(["cat", "/root/.ssh/authorized_keys"]).stdout,
        "links": [line.split(":")[1] for line in node.run(["ip", "-o", "link"]).stdout.splitlines()],
        "programs": {name: node.pids(name) for name in ("libvirtd", "virtlogd")},
        "python": len(node.pids("python3")),
    }


def add(api: httpx.Client, node: Node, **fields: Any) -> dict[str, Any]:
    """Ask for the host; answers the task at its end, of which no secret and no node is left."""
    raw = {"name": "unsuited", "address": node.address, "password": node.root_password, "virtualization": "qemu"}
    task = wait_for_task(api, task_of(api.post("nodes", json={**raw, **fields})), 60)
    assert "broke" not in json.dumps(task["error"] or "")
    return task


@pytest.fixture(scope="module")
def host(lab: Lab, cluster: list[Node]) -> Node:
    """One host for all of them, and no node of the panel, which has others."""
    node = lab.add_node()
    sh(node, f"cp {SSHD} /run/sshd_config.kept")
    return node


@pytest.fixture
def spoiled(request: pytest.FixtureRequest, host: Node) -> Iterator[Node]:
    """The host as the test wants it; as it was afterwards."""
    try:
        sh(host, request.param)
        sh(host, "kill -HUP $(cat /run/sshd.pid)")
        yield host
    finally:
        sh(host, RESTORE)
        host.wait_for(["ssh-keyscan", "-T", "1", "127.0.0.1"])


@pytest.mark.parametrize(
    ("spoiled", "code", "sentence"), [pytest.param(*row, id=name) for name, row in HOSTS.items()], indirect=["spoiled"]
)
def test_it_is_refused_before_anything_is_written(spoiled: Node, code: str, sentence: str, api: httpx.Client) -> None:
    spoiled.wait_for(["ssh-keyscan", "-T", "1", "127.0.0.1"])
    before = traces(spoiled)
    task = add(api, spoiled)

    assert (task["status"], task["error"]["code"]) == ("failed", "host_unsuitable"), task["error"]
    assert [reason["code"] for reason in task["error"]["reasons"]] == [code]
    assert sentence in task["error"]["message"]
    assert task["error"]["message"].endswith("Nothing was written on it.")
    assert traces(spoiled) == before
    assert api.get("nodes", params={"name": "unsuited"}).json()["results"] == []


def test_all_that_is_in_the_way_is_said_at_once(host: Node, api: httpx.Client) -> None:
    try:
        sh(host, f"touch /etc/vmpanel; echo PubkeyAuthentication no >> {SSHD}; kill -HUP $(cat /run/sshd.pid)")
        host.wait_for(["ssh-keyscan", "-T", "1", "127.0.0.1"])
        task = add(api, host)
    finally:
        sh(host, RESTORE)
        host.wait_for(["ssh-keyscan", "-T", "1", "127.0.0.1"])
    assert {reason["code"] for reason in task["error"]["reasons"]} == {"no_keys", "no_folder"}


def test_a_node_of_another_panel_is_refused_by_name_and_stays_as_it_was(host: Node, api: httpx.Client) -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOther vmpanel"
    sh(host, "mkdir -p /var/lib/vmpanel/pool/images /usr/lib/vmpanel; touch /usr/lib/vmpanel/nodeagent.pyz")
    host.run(["tee", MARK], input=json.dumps(OTHERS_MARK))
    host.run(["tee", "-a", "/root/.ssh/authorized_keys"], input=f"{line}\n")
    before = traces(host)
    try:
        task = add(api, host)
        assert (task["status"], task["error"]["code"]) == ("failed", "host_unsuitable"), task["error"]
        assert "a node of another panel, “https://other.example.org” (node “alien7” there)" in task["error"]["message"]
        assert traces(host) == before
    finally:
        sh(host, "rm -rf /var/lib/vmpanel /usr/lib/vmpanel; sed -i /Other/d /root/.ssh/authorized_keys")


def test_two_hosts_with_one_uuid_are_told_apart_and_the_second_is_left_as_it_was(
    host: Node, cluster: list[Node], api: httpx.Client
) -> None:
    conf = "/etc/libvirt/libvirtd.conf"
    first = cluster[0]
    before = traces(host)
    sh(host, f"cp {conf} /run/libvirtd.kept")
    host.run(["sed", "-i", f's/^host_uuid.*/host_uuid = "{first.host_uuid}"/', conf])
    try:
        task = add(api, host)
    finally:
        sh(host, f"cp /run/libvirtd.kept {conf}")
    assert (task["status"], task["error"]["code"]) == ("failed", "already_exists"), task["error"]
    assert (
        f"is that of the node “{first.name}” too. Boards without a UUID of their own share one"
        in (task["error"]["message"])
    )
    assert traces(host) == before


def test_a_uuid_that_only_libvirt_knows_is_found_later_and_all_that_was_put_is_taken_away(
    host: Node, cluster: list[Node], api: httpx.Client
) -> None:
    """As where the board has none, and libvirt makes one up: here by another configuration than the usual one."""
    before = traces(host)
    conf = "/etc/libvirt/libvirtd.conf"
    sh(host, f"cp {conf} /run/libvirtd.kept; mv /usr/sbin/libvirtd /usr/sbin/libvirtd.kept")
    script = '#!/bin/sh\nexec /usr/sbin/libvirtd.kept -f /etc/libvirt/other.conf "$@"\n'
    host.run(["tee", "/etc/libvirt/other.conf"], input=f'host_uuid = "{cluster[0].host_uuid}"\nauth_unix_rw = "none"\n')
    host.run(["tee", "/usr/sbin/libvirtd"], input=script)
    sh(host, "chmod 755 /usr/sbin/libvirtd")
    try:
        task = add(api, host)
        assert (task["status"], task["error"]["code"]) == ("failed", "already_exists"), task["error"]
        host.wait_for(["sh", "-c", "! pgrep -x libvirtd.kept"])
        assert traces(host) == before
    finally:
        sh(host, "mv /usr/sbin/libvirtd.kept /usr/sbin/libvirtd")
