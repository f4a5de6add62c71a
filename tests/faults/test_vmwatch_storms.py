"""Storms: domains change at random while everything dies and messages are lost, doubled, late and out of order.

After each the panel equals libvirt on every VM within one resync interval, and no change is lost or doubled.
VMPANEL_STORMS says how many (3; 200 at night), VMPANEL_STORM_SEED repeats one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.faults.clock import set_clock
from tests.faults.relay import Relay, divert, lead_back
from tests.faults.storm import (
    ACTIONS,
    FAR,
    FAULTS,
    RESYNC_SECONDS,
    Site,
    Storm,
    seconds_until_right,
    speakers,
    statuses,
)
from tests.lab.hosts import Node
from tests.stack import Stack, done, free_port, wait_until
from vmwatch import config

STORMS = int(os.environ.get("VMPANEL_STORMS", "3"))
SEEDS = [int(os.environ["VMPANEL_STORM_SEED"])] if "VMPANEL_STORM_SEED" in os.environ else list(range(1, STORMS + 1))
MAKE_ROWS = """
import json
from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.selectors import default_cluster
from panel.storage.services import ensure_default_pool
from panel.vms.models import Vm
cluster = default_cluster()
for node, name, uuid in json.loads({rows!r}):
    Vm.objects.create(cluster=cluster, node=Node.objects.get(name=node), owner=User.objects.get(name="admin"),
        pool=ensure_default_pool(cluster), name=name, uuid=uuid, memory_mib=32, vcpus=1, installed=True)
"""
REMOVE_ROWS = "from panel.vms.models import Vm; Vm.objects.filter(name__startswith='storm').delete()"


@pytest.fixture(scope="module")
def sites(cluster: list[Node], stack: Stack) -> Iterator[list[Site]]:
    """Two nodes with their domains, known to the panel."""
    found = [Site(node) for node in cluster[:2]]
    rows = [(site.node.name, name, number) for site in found for name, number in site.domains.items()]
    stack.manage("shell", "-c", MAKE_ROWS.format(rows=json.dumps(rows)))
    yield found
    stack.manage("shell", "-c", REMOVE_ROWS)
    for site in found:
        site.close()


@pytest.fixture(scope="module")
def relay(sites: list[Site], stack: Stack, api: httpx.Client) -> Iterator[Relay]:
    """All messages go through it, and nodes tell full reports every RESYNC_SECONDS, until the last storm is over."""
    listen = master_of(stack)
    port = free_port()
    made = Relay(f"tcp://{listen[0]}:{port}", f"tcp://{listen[0]}:{listen[1]}")
    options = stack.layout.conf.read_text(encoding="utf-8")
    for site in sites:
        divert(site.node, listen, port)
    stack.set_option("VmwatchResyncSeconds", f"{RESYNC_SECONDS:g}")
    stack.restart("panel", "worker")
    # They read a file that has changed, and so connect anew.
    done(api, api.post("vmwatch/configure"))
    yield made
    for site in sites:
        lead_back(site.node)
    made.close()
    stack.layout.conf.write_text(options, encoding="utf-8")
    stack.restart("panel", "worker")
    done(api, api.post("vmwatch/configure"))


def master_of(stack: Stack) -> tuple[str, int]:
    """Where vmwatch-master listens, and nodes are told to speak to."""
    found = urlsplit(config.read_master(stack.layout.conf.parent / "etc/vmwatch-master.conf").listen)
    assert found.hostname and found.port
    return found.hostname, found.port


@pytest.fixture
def calm(sites: list[Site], api: httpx.Client, relay: Relay) -> None:
    """Before a storm the panel equals libvirt."""
    for site in sites:
        wait_until(lambda site=site: site.states().items() <= statuses(api).items(), "all is calm", 60)


@pytest.fixture
def survive(
    calm: None, stack: Stack, api: httpx.Client, relay: Relay, capsys: pytest.CaptureFixture[str]
) -> Callable[[Storm], None]:
    """Let a storm blow, and see that all is right afterwards, in time, and that it went through the relay."""

    def run(storm: Storm) -> None:
        before = relay.passed.copy()
        try:
            storm.blow()
        finally:
            relay.calm()
        over = time.monotonic()
        storm.now = storm.states()
        equal = seconds_until_right(lambda: storm.unequal(api), over, storm.whose)
        right = seconds_until_right(storm.wrong_history, over, storm.whose)
        with capsys.disabled():
            print(f"\n{storm.whose}: equal after {equal:.2f} s, history right after {right:.2f} s; ", end="")
            print(*storm.faults.values(), sep=", ", end=" ")
        passed = relay.passed - before
        ids = {each["name"]: each["id"] for each in api.get("nodes").json()["results"]}
        assert all(passed[ids[site.node.name]] for site in storm.sites), f"{storm.whose}: a node goes another way"
        address, port = master_of(stack)
        assert speakers(port) == {address}, f"{storm.whose}: not only the relay speaks to the master"
        for name in ("panel", "worker", "vmwatch-master"):
            assert stack.processes[name].poll() is None, f"{storm.whose}: {name} did not survive"
        # Workers work, and write the address where the relay is taken for the master to the nodes again.
        done(api, api.post("vmwatch/configure"), 60)

    return run


@pytest.mark.parametrize("fault", FAULTS)
def test_after_each_fault_alone_the_panel_equals_libvirt_within_one_resync(
    fault: str, sites: list[Site], stack: Stack, survive: Callable[[Storm], None]
) -> None:
    storm = Storm(fault, sites, stack)
    storm.faults = {ACTIONS - 1: fault}
    survive(storm)


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("seconds", FAR)
def test_a_clock_that_is_an_hour_off_makes_vms_unknown_and_never_wrong(
    seconds: int, sites: list[Site], stack: Stack, api: httpx.Client
) -> None:
    storm = Storm(f"clock {seconds:+d} s", sites, stack)
    site, other = sites
    set_clock(site.node, seconds)
    since = time.monotonic()
    storm.act_on(site)

    def believed() -> list[str]:
        told = statuses(api)
        return [name for name in site.domains if told.get(name) != "unknown"]

    seconds_until_right(believed, since, storm.whose)
    assert other.states().items() <= statuses(api).items()
    storm.act_on(site)
    assert not believed()
    set_clock(site.node, 0)
    since, storm.now = time.monotonic(), storm.states()
    seconds_until_right(lambda: storm.unequal(api), since, storm.whose)
    seconds_until_right(storm.wrong_history, since, storm.whose)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_storm_the_panel_equals_libvirt_and_nothing_is_lost_or_doubled(
    seed: int, sites: list[Site], stack: Stack, relay: Relay, survive: Callable[[Storm], None]
) -> None:
    storm = Storm(seed, sites, stack)
    relay.storm(seed)
    survive(storm)


def test_messages_were_lost_doubled_and_reordered_in_these_storms(relay: Relay) -> None:
    if not relay.storms:
        pytest.skip("there was no storm")
    assert relay.lost and relay.doubled and relay.overtaken
