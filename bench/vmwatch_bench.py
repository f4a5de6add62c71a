"""What vmwatch's promises cost: latency, a storm of changes, collecting statistics, and listing meanwhile."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import MySQLdb
import zmq
from playwright.sync_api import sync_playwright

from bench.floor import panel_with_node
from panel.standalone.options import TOP
from tests.browser import chromium
from tests.lab.hosts import Node
from tests.stack import Stack, wait_until
from vmwatch import config, wire

RUNS = 100
VMS, NODES, A_MESSAGE = 10_000, 20, 500
MEASURE_SECONDS = 20.0
IDLE_SECONDS = 1.0
"""After a change an open page draws itself anew; the next one is made when nothing is under way any more."""
COLLECT_DOMAINS = 60
"""Real ones, with a disk and an interface each: as many as two cores carry."""
MAKE_VMS = """
import json, uuid
from django.utils import timezone
from panel.accounts.models import User
from panel.cluster.models import Node, NodeState
from panel.cluster.selectors import default_cluster
from panel.storage.services import ensure_default_pool
from panel.vms.models import Vm
cluster, owner = default_cluster(), User.objects.get(name="admin")
pool = ensure_default_pool(cluster)
nodes = [Node.objects.create(cluster=cluster, name=f"bench{{n}}", address=f"192.0.2.{{n}}", state=NodeState.REMOVING)
         for n in range({nodes})]
seen = {{"installed": True, "status": "running", "observed_at": timezone.now()}}
vms = [Vm(cluster=cluster, node=nodes[n % {nodes}], owner=owner, pool=pool, name=f"bench-{{n}}", memory_mib=128,
          vcpus=1, **seen) for n in range({vms})]
Vm.objects.bulk_create(vms, batch_size=1000)
print("MADE" + json.dumps([[node.pk, [str(u) for u in node.vms.values_list("uuid", flat=True)]] for node in nodes]))
"""
COUNT = 'from panel.vms.models import Vm; print("COUNT", Vm.objects.filter(status="shut off").count())'
TAKEN = """
from panel.monitoring.models import VmCounters
print("TAKEN", VmCounters.objects.filter(vm__name__startswith="bench-", reading__cpu_ns={value}).count())
"""
FLOOR = """
import time
from django.utils import timezone
from panel.vms.models import StatusChange, Vm
pks = list(Vm.objects.filter(name__startswith="bench-").values_list("pk", flat=True))
begun = time.perf_counter()
for start in range(0, len(pks), 1000):
    part = pks[start:start + 1000]
    Vm.objects.filter(pk__in=part).update(observed_at=timezone.now())
    StatusChange.objects.bulk_create([StatusChange(vm_id=pk, status="running", at=timezone.now(), cause="outside",
                                                   repeated=True) for pk in part])
print("SECONDS", time.perf_counter() - begun)
"""


def percentiles(values: list[float]) -> str:
    """Median, 95th and 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return "  ".join(f"p{n} {cuts[n - 1] * 1000:7.1f} ms" for n in (50, 95, 99))


def p(values: list[float], n: int) -> float:
    """The n-th percentile, in seconds."""
    return statistics.quantiles(values, n=100, method="inclusive")[n - 1]


def met(is_met: bool) -> str:
    """The verdict."""
    return "met" if is_met else "MISSED"


class Fleet:
    """10,000 VMs on 20 nodes, of which only rows and messages exist."""

    def __init__(self, stack: Stack) -> None:
        printed = stack.manage("shell", "-c", MAKE_VMS.format(nodes=NODES, vms=VMS)).partition("MADE")[2]
        self.nodes: list[tuple[int, list[str]]] = json.loads(printed.splitlines()[0])
        path = stack.layout.conf.parent / "etc/vmwatch-master.conf"
        conf = config.read_master(path)
        # They are no nodes for the panel, which names none of them to the master.
        values = config.read(path)
        config.write(path, {**values, "nodes": " ".join([values["nodes"], *(str(pk) for pk, _ in self.nodes)])})
        os.kill(int((stack.layout.var / "run/vmwatch-master.pid").read_text(encoding="ascii")), signal.SIGHUP)
        self.secret, self.listen = conf.secret, conf.listen
        self.epoch = time.time_ns()
        self.sequence = {pk: 0 for pk, _ in self.nodes}

    def message(self, node: int, kind: str, **content: object) -> list[bytes]:
        """The next message of a node."""
        self.sequence[node] += 1
        made = wire.Message(node, self.epoch, self.sequence[node], time.time(), kind, **content)  # type: ignore[arg-type]
        return wire.encode(made, wire.own_secret(self.secret, made.node_id))

    def changes(self) -> Iterator[list[bytes]]:
        """Every VM is shut off, in turns of the nodes."""
        for place in range(VMS // NODES):
            for node, uuids in self.nodes:
                domain = wire.DomainState(uuids[place], f"vm{place}", wire.SHUT_OFF, "stopped:destroyed")
                yield self.message(node, wire.EVENT, domains=[domain])

    def collection(self, value: int) -> Iterator[list[bytes]]:
        """The statistics of every VM, with every counter at `value`."""
        disk, net = wire.DiskStatistics("vda", *[value] * 4), wire.InterfaceStatistics("vnet0", *[value] * 4)
        for node, uuids in self.nodes:
            for start in range(0, len(uuids), A_MESSAGE):
                found = [
                    wire.DomainStatistics(each, 1, value, 131072, 90000, [disk], [net])
                    for each in uuids[start : start + A_MESSAGE]
                ]
                yield self.message(node, wire.STATISTICS, statistics=found)


def latency(stack: Stack, node: Node) -> None:
    """From a domain's end by libvirt to the database, and to an open page."""
    name, number = "bench-latency", str(uuid.uuid4())
    argv = ["/usr/bin/python3", str(TOP / "tests/faults/hand.py"), "/run/bench-truth"]
    hand = subprocess.Popen(node.argv(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(command: str) -> None:
        assert hand.stdin is not None and hand.stdout is not None
        hand.stdin.write(f"{command}\n")
        hand.stdin.flush()
        assert hand.stdout.readline().strip() == "done"

    tell(f"define {name} {number}")
    make = (
        "from panel.accounts.models import User; from panel.cluster.models import Node; "
        "from panel.vms.models import Vm; from panel.storage.models import Pool; node = Node.objects.first(); "
        "vm = Vm.objects.create(cluster=node.cluster, node=node, owner=User.objects.get(name='admin'), "
        f"pool=Pool.objects.first(), name='{name}', uuid='{number}', memory_mib=32, vcpus=1, installed=True); "
        "print('VM', vm.pk)"
    )
    vm = int(stack.manage("shell", "-c", make).partition("VM ")[2].split()[0])
    rows = MySQLdb.connect(unix_socket=str(stack.services.database), user="root", db=stack.database, autocommit=True)

    def status() -> str:
        with rows.cursor() as cursor:
            cursor.execute("SELECT status FROM vms_vm WHERE id = %s", (vm,))
            return str(cursor.fetchone()[0])

    database: list[float] = []
    pages: list[float] = []
    called: list[float] = []
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright.chromium)
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"https://127.0.0.1:{stack.port}/login")
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(stack.password)
        page.get_by_role("button", name="Sign in").click()
        page.goto(f"https://127.0.0.1:{stack.port}/vms/{vm}")
        page.locator("#live[data-connected]").wait_for()
        for run in range(2 * RUNS):
            tell(f"start {name}")
            wait_until(lambda: status() == "paused", "paused", 20)
            time.sleep(IDLE_SECONDS)
            to_page = run % 2 == 1
            if to_page:
                page.evaluate(
                    """() => { window.changed = new Promise((tell) => { const look = () => {
                      const status = document.querySelector("h1 .status");
                      if (status && status.dataset.status === "shut off") tell(Date.now()); else setTimeout(look, 1); };
                      look(); }); }"""
                )
            begun, wall = time.perf_counter(), time.time()
            tell(f"destroy {name}")
            called.append(time.perf_counter() - begun)
            if to_page:
                pages.append(page.evaluate("window.changed") / 1000 - wall)
            else:
                wait_until(lambda: status() == "shut off", "shut off", 20, every=0.001)
                database.append(time.perf_counter() - begun)
        browser.close()
    assert hand.stdin is not None
    tell(f"undefine {name}")
    hand.stdin.close()
    hand.wait(10)
    rows.close()
    print(f"latency of {RUNS} ends of a domain, from before the call to libvirt")
    print(f"  floor: the call      {percentiles(called)}")
    print(f"  in the database      {percentiles(database)}")
    print(f"  on an open page      {percentiles(pages)}   aim p99 250 ms: {met(p(pages, 99) < 0.25)}")


def storm(stack: Stack, fleet: Fleet) -> None:
    """10,000 changes through socket, master and panel, until the database has them."""
    floor = float(stack.manage("shell", "-c", FLOOR).partition("SECONDS ")[2].split()[0])
    messages = list(fleet.changes())
    with stack.api() as api, zmq.Context.instance().socket(zmq.PUSH) as push:
        push.setsockopt(zmq.SNDHWM, 0)
        push.connect(fleet.listen)
        begun = time.perf_counter()
        for frames in messages:
            push.send_multipart(frames)
        last = fleet.nodes[-1][0]
        name = f"bench-{VMS - 1}"
        while api.get("vms", params={"name": name}).json()["results"][0]["status"] != "shut off":
            assert time.perf_counter() - begun < 120, "the storm did not end"
            time.sleep(0.02)
        took = time.perf_counter() - begun
    counted = int(stack.manage("shell", "-c", COUNT).partition("COUNT ")[2].split()[0])
    assert counted == VMS, f"only {counted} of {VMS} are in the database"
    print(f"storm of {VMS} changes of {VMS} VMs on {NODES} nodes (the last of node {last})")
    print(f"  floor: bulk SQL of as many rows {floor:6.2f} s")
    print(f"  until all are in the database   {took:6.2f} s   ratio {took / floor:.1f}; aim 5 s: {met(took < 5)}")
    print(f"  in the database then            {counted} of {VMS}")


def collect(node: Node) -> None:
    """One statistics pass over real domains: the bulk call against a loop of calls."""
    argv = ["/usr/bin/python3", str(TOP / "bench/collect_pass.py"), str(COLLECT_DOMAINS)]
    print(node.run(argv, timeout=300).stdout.rstrip())


def listing(stack: Stack, fleet: Fleet) -> None:
    """GET /vms with and without a full collection of statistics under way."""

    def listings(api: httpx.Client, seconds: float) -> list[float]:
        times, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            begun = time.perf_counter()
            answer = api.get("vms", params={"limit": 50})
            times.append(time.perf_counter() - begun)
            assert answer.status_code == 200 and len(answer.json()["results"]) == 50, answer.text
        return times

    def while_collecting(api: httpx.Client, value: int, seconds: float) -> list[float]:
        """Listings for as long as one collection of all VMs is sent, and until it is taken in."""

        def send() -> None:
            with zmq.Context.instance().socket(zmq.PUSH) as push:
                push.connect(fleet.listen)
                for frames in fleet.collection(value):
                    push.send_multipart(frames)
                    time.sleep(seconds * A_MESSAGE / VMS)

        sender = threading.Thread(target=send)
        sender.start()
        times = listings(api, max(seconds, MEASURE_SECONDS))
        sender.join()
        wait_until(lambda: taken(value), "the collection is taken in", 60)
        return times

    def taken(value: int) -> bool:
        printed = stack.manage("shell", "-c", TAKEN.format(value=value))
        return int(printed.partition("TAKEN ")[2].split()[0]) == VMS

    with stack.api() as api:
        listings(api, 3)
        while_collecting(api, 1, 0.0)
        alone = listings(api, MEASURE_SECONDS)
        print(f"listing 50 of {VMS} VMs; each collection is {VMS} VMs in {VMS // A_MESSAGE} messages, all taken in")
        print(f"  floor: alone                      {percentiles(alone)} ({len(alone)} times)")
        for number, (seconds, what) in enumerate(((60.0, "as nodes send it"), (10.0, ""), (0.0, "at once")), start=2):
            busy = while_collecting(api, number * 1000, seconds)
            ratio = p(busy, 95) / p(alone, 95)
            verdict = f"ratio {ratio:.2f}; aim 1.2: {met(ratio < 1.2)}"
            print(f"  a collection in {seconds:4.0f} s {what:16} {percentiles(busy)} ({len(busy)} times)   {verdict}")


def main() -> int:
    """Measure what was asked for, or everything."""
    chosen = set(sys.argv[1:]) or {"latency", "storm", "collect", "listing"}
    if chosen:
        with panel_with_node("vmwatch") as (stack, _api, node):
            if "collect" in chosen:
                collect(node)
            if "latency" in chosen:
                latency(stack, node)
            if chosen & {"storm", "listing"}:
                fleet = Fleet(stack)
                measures: dict[str, Callable[[Stack, Fleet], None]] = {"listing": listing, "storm": storm}
                for name, measure in measures.items():
                    if name in chosen:
                        measure(stack, fleet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
