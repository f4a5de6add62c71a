"""A host that its administrator uses otherwise too: what is his stays his, and what makes us or guests deaf is said.

One host is added again and again; each time something else of it is in the way, and nothing of ours is left on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.hosts import Lab, Node
from tests.stack import Stack, done, task_of, wait_for_task, wait_until

BRIDGE = "vmbr-nat0"
STATUS = "/var/lib/dpkg/status"
HIS_TOOL = (
    "Package: his-tool\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\nMaintainer: x <x@y>\n"
    "Conflicts: genisoimage\nDescription: x\n\n"
)
OFFERED = (
    "Package: genisoimage\nVersion: 9:9\nArchitecture: amd64\nMaintainer: x <x@y>\nFilename: ./genisoimage.deb\n"
    f"Size: 1\nSHA256: {'0' * 64}\nDescription: x\n\n"
)
WITHOUT_GENISOIMAGE = """
import pathlib, sys
path = pathlib.Path(sys.argv[1])
records = path.read_text().split("\\n\\n")
path.write_text("\\n\\n".join(each for each in records if not each.startswith("Package: genisoimage\\n")))
"""


class Host:
    """The host, and its way into the panel."""

    def __init__(self, node: Node, api: httpx.Client) -> None:
        self.node, self.api = node, api

    def ask(self) -> httpx.Response:
        """Have it added."""
        raw = {"name": self.node.name, "address": self.node.address, "password": self.node.root_password}
        return self.api.post("nodes", json={**raw, "virtualization": "qemu"})

    def refused(self) -> str:
        """Why it cannot be added; nothing of ours is left on it."""
        task = wait_for_task(self.api, task_of(self.ask()))
        assert task["status"] == "failed", (task["status"], task["steps"])
        self.is_clean()
        return str(task["error"]["message"])

    def is_clean(self) -> None:
        """Nothing of ours is on it, and the panel does not know it."""
        for gone in ("/usr/lib/vmpanel", "/etc/vmpanel", "/var/lib/vmpanel"):
            assert self.node.run(["ls", gone], check=False).returncode, self.node.run(["find", gone]).stdout
        assert "vmpanel" not in self.node.run(["nft", "list", "tables"]).stdout
        assert self.api.get("nodes", params={"name": self.node.name}).json()["results"] == []

    def has(self, *argv: str) -> str:
        """What a command prints there."""
        return self.node.run(argv).stdout

    def write(self, path: str, text: str) -> None:
        """A file there has this text."""
        self.node.run(["tee", path], input=text)


@pytest.fixture(scope="module")
def host(lab: Lab, cluster: list[Node], api: httpx.Client) -> Iterator[Host]:
    """The host, which is no node yet."""
    node = lab.add_node()
    yield Host(node, api)
    lab.remove_node(node)


@pytest.fixture
def without_genisoimage(host: Host) -> Iterator[None]:
    """The host lacks a package that a node needs, as far as dpkg knows."""
    host.has("cp", STATUS, f"{STATUS}.before")
    host.has("python3", "-c", WITHOUT_GENISOIMAGE, STATUS)
    yield
    host.has("mv", f"{STATUS}.before", STATUS)


def test_a_bridge_and_a_network_of_the_host_s_own_are_refused_by_name_and_stay(host: Host, api: httpx.Client) -> None:
    (network,) = api.get("networks").json()["results"]
    address = f"{network['gateway']}/24"
    host.has("ip", "link", "add", BRIDGE, "type", "bridge")
    host.has("ip", "address", "add", address, "dev", "eth0")
    try:
        said = host.refused()
        assert f"The host has an interface “{BRIDGE}” of its own" in said
        assert (
            f"“{network['name']}” ({network['subnet']}) overlaps what is the host's own: the address {address}" in said
        )
        assert "of eth0" in said
        assert BRIDGE in host.has("ip", "-o", "link") and "inet " not in host.has(
            "ip", "address", "show", "dev", BRIDGE
        )
    finally:
        host.has("ip", "link", "delete", BRIDGE)
        host.has("ip", "address", "delete", address, "dev", "eth0")


def test_a_package_of_the_administrator_s_is_not_removed(host: Host, without_genisoimage: None) -> None:
    host.has("sh", "-c", f"printf '\\n' >> {STATUS}")
    host.write(STATUS, host.has("cat", STATUS).rstrip("\n") + "\n\n" + HIS_TOOL)
    host.has("mkdir", "-p", "/srv/repo")
    host.write("/srv/repo/Packages", OFFERED)
    host.has("sh", "-c", "rm -rf /etc/apt/sources.list.d/*")
    host.write("/etc/apt/sources.list", "deb [trusted=yes] file:/srv/repo ./\n")
    said = host.refused()
    assert "would remove the package “his-tool”, which conflicts with “genisoimage”" in said
    assert "Nothing was installed" in said
    assert "install ok installed" in host.has("dpkg", "-s", "his-tool")


def test_cancelling_is_heeded_while_packages_are_installed(host: Host, without_genisoimage: None) -> None:
    host.has("mkdir", "-p", "/usr/local/sbin")
    host.write("/usr/local/sbin/apt-get", "#!/bin/sh\nexec sleep 4321\n")
    host.has("chmod", "755", "/usr/local/sbin/apt-get")
    try:
        number = task_of(host.ask())
        wait_until(lambda: host.node.run(["pgrep", "-f", "sleep 4321"], check=False).stdout, "apt-get is at work", 60)
        began = time.monotonic()
        assert host.api.post(f"tasks/{number}/cancel", json={}).status_code < 300
        task = wait_for_task(host.api, number)
        assert (task["status"], time.monotonic() - began < 30) == ("cancelled", True)
        assert not host.node.run(["pgrep", "-f", "sleep 4321"], check=False).stdout
        host.is_clean()
    finally:
        host.has("rm", "/usr/local/sbin/apt-get")


def test_what_makes_guests_or_the_panel_deaf_is_told_and_the_host_is_as_it_was_afterwards(
    host: Host, api: httpx.Client, stack: Stack
) -> None:
    host.has("sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
    host.has(
        "nft", "add table ip his; add chain ip his forwarded { type filter hook forward priority 0; policy drop; }"
    )
    rules = host.has("nft", "list", "ruleset")
    answer = host.ask()
    task = done(api, answer)
    path = f"nodes/{answer.json()['node']}"
    try:
        log = " ".join(line["text"] for line in api.get(f"tasks/{task['id']}/log").json())
        assert "do not get out" in log and "(ip his forwarded)" in log
        (complaint,) = done(api, api.post(f"{path}/check", json={}))["result"]["complaints"]
        assert "do not get out" in complaint
        assert host.has("sysctl", "-n", "net.ipv4.ip_forward") == "1\n"
        _vmwatch_is_cut_off(host, path, stack)
        _libvirtd_says_why(host, path, 'user = "nobody-such"', "nobody-such")
        _libvirtd_says_why(host, path, 'security_driver = "selinux"', "selinux")
    finally:
        done(api, api.delete(path))
    assert host.has("nft", "list", "ruleset") == rules
    assert host.has("sysctl", "-n", "net.ipv4.ip_forward") == "0\n"
    host.is_clean()


def _vmwatch_is_cut_off(host: Host, path: str, stack: Stack) -> None:
    """Where nothing may be sent to vmwatch-master the check says where to, until it may again."""
    lines = stack.layout.conf.read_text().splitlines()
    port = next(line.partition("=")[2] for line in lines if line.startswith("VmwatchListenPort="))
    host.has("nft", "add table inet cut; add chain inet cut outgoing { type filter hook output priority 0; }")
    host.has("nft", f"add rule inet cut outgoing tcp dport {port} drop")
    try:
        told = done(host.api, host.api.post(f"{path}/check", json={}))["result"]["complaints"]
        (said,) = [each for each in told if "vmwatch" in each]
        assert f":{port} (no answer within 3 s)" in said and "a firewall on the node" in said
    finally:
        host.has("nft", "delete table inet cut")
    told = done(host.api, host.api.post(f"{path}/check", json={}))["result"]["complaints"]
    assert not [each for each in told if "vmwatch" in each]


def _libvirtd_says_why(host: Host, path: str, setting: str, word: str) -> None:
    """With this in qemu.conf libvirtd does not start, and the check says why in its words within seconds."""
    before = host.has("cat", "/etc/libvirt/qemu.conf")
    host.node.kill(int(host.has("cat", "/run/vmpanel/vmpanel-libvirtd.keeper").split()[0]))
    host.node.kill_libvirtd()
    wait_until(lambda: not host.node.pids("libvirtd"), "libvirtd is dead", 10)
    # libvirt takes the first of two settings.
    host.write("/etc/libvirt/qemu.conf", f"{setting}\n{before}")
    try:
        # The second time its keeper is just starting it once more.
        for _ in range(2):
            complaints: list[Any] = done(host.api, host.api.post(f"{path}/check", json={}))["result"]["complaints"]
            said = [each for each in complaints if "libvirtd does not start" in each]
            assert said and word in said[0], complaints
    finally:
        host.write("/etc/libvirt/qemu.conf", before)

    def is_well() -> bool:
        told = done(host.api, host.api.post(f"{path}/check", json={}))["result"]["complaints"]
        return not [each for each in told if "libvirtd" in each]

    # On a busy machine a libvirtd that was just started answers later than a check waits for it.
    wait_until(is_well, "libvirtd is well again", 180)
