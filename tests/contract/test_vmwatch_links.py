"""vmwatch-node's eye on interfaces: real links in a namespace of its own, and the daemon that tells of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.vmwatch_daemons import SYSTEM_PYTHON, TOP, Daemons, wait_until
from vmwatch import wire

WATCH = """
import json, sys, threading
from vmwatch.links import LinkWatcher
def say(found): print(json.dumps([vars(each) for each in found]), flush=True)
watcher = LinkWatcher(say)
watcher.start()
say(watcher.now())
threading.Event().wait()
"""


class Host:
    """A network namespace with a watcher in it."""

    def __init__(self) -> None:
        argv = ["unshare", "--net", "--", SYSTEM_PYTHON, "-c", WATCH]
        self.process = subprocess.Popen(argv, cwd=TOP, stdout=subprocess.PIPE, text=True)

    def told(self) -> dict[str, Any]:
        """The next word of it, by interface."""
        assert self.process.stdout is not None
        return {each["name"]: each for each in json.loads(self.process.stdout.readline())}

    def until(self, **wanted: Any) -> dict[str, Any]:
        """What it tells of an interface once that has all of this; `name` says which."""
        while True:
            found = self.told().get(wanted["name"], {})
            if wanted.items() <= found.items():
                return found

    def ip(self, *words: str) -> None:
        """Change something."""
        subprocess.run(["nsenter", "-t", str(self.process.pid), "-n", "ip", *words], check=True, capture_output=True)


@pytest.fixture
def host() -> Iterator[Host]:
    """A host without interfaces."""
    made = Host()
    yield made
    made.process.kill()
    made.process.wait()


@pytest.mark.timeout(30)
def test_links_and_addresses_are_told_when_they_change(host: Host) -> None:
    assert host.told() == {}
    host.ip("link", "add", "eth0", "mtu", "1400", "type", "veth", "peer", "name", "far0")
    # A cable with one end that is not in.
    host.ip("link", "set", "eth0", "up")
    found = host.until(name="eth0", up=True, carrier=False)
    assert (found["kind"], found["mtu"], found["speed_mbps"]) == ("veth", 1400, None)
    host.ip("link", "set", "far0", "up")
    found = host.until(name="eth0", carrier=True)
    assert found["speed_mbps"] == 10000 and found["rx_bytes"] is not None
    changes = found["carrier_changes"]
    host.ip("link", "add", "br0", "type", "bridge")
    host.ip("link", "set", "eth0", "master", "br0")
    host.until(name="eth0", master="br0")
    host.ip("addr", "add", "192.0.2.1/24", "dev", "br0")
    host.until(name="br0", kind="bridge", addresses=["192.0.2.1/24"])
    host.ip("link", "set", "far0", "down")
    assert host.until(name="eth0", carrier=False)["carrier_changes"] > changes
    # A guest's interface is the panel's own, and told of by nobody.
    host.ip("tuntap", "add", "tap0", "mode", "tap")
    host.ip("addr", "add", "2001:db8::1/64", "dev", "br0")
    told = host.until(name="br0", addresses=["192.0.2.1/24", "2001:db8::1/64"])
    assert told["up"] is False
    host.ip("link", "del", "eth0")
    while "eth0" in (left := host.told()):
        pass
    assert set(left) == {"br0"}


def test_the_daemon_tells_of_all_in_full_reports_and_at_once_of_a_change(daemons: Daemons) -> None:
    daemons.master()
    daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    name = f"vwl{os.getpid()}"
    assert name not in {each["name"] for each in daemons.panel.messages[0]["links"]}

    def told(kind: str) -> bool:
        found = [each for each in daemons.panel.messages if each["kind"] == kind]
        return any(name in {link["name"] for link in each.get("links", ())} for each in found)

    try:
        subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}f"], check=True)
        wait_until(lambda: told(wire.ALIVE), "the new interface")
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)
