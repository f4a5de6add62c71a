"""VMs move between real nodes: running with their disks, off, refused with reasons, cancelled in flight, evacuated."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, make_key, remains, ssh
from tests.lab.hosts import LabError, Node
from tests.stack import done, task_of, wait_for_task, wait_until


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An ssh key pair for guests."""
    return make_key(str(tmp_path_factory.mktemp("key")))


@pytest.fixture
def make(api: httpx.Client, cluster: list[Node], key: tuple[str, str]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Make a VM that runs; answers it. At the end all are deleted, and nothing of them or of a move may remain."""
    made: list[int] = []

    def create(name: str, node: Node, **fields: Any) -> dict[str, Any]:
        raw = {"name": name, "image": "tiny", "flavor": "tiny", "node": node.name, "ssh_keys": [key[1]], **fields}
        answer = api.post("vms", json=raw)
        made.append(task_of(answer) and answer.json()["vm"])
        done(api, answer)
        return {**answer.json(), "path": f"vms/{made[-1]}"}

    yield create
    for vm in made:
        done(api, api.delete(f"vms/{vm}"))
    for node in cluster:
        assert remains(node) == NOTHING
        nothing_of_moves(node)


def nothing_of_moves(node: Node) -> None:
    """No key, no socket, no receiver of a move is on the node."""
    assert "vmpanel-migration" not in node.run(["cat", "/root/.ssh/authorized_keys"]).stdout
    left = "find /run/vmpanel/migrations /run/libvirt -mindepth 1 -path '*vmp*' 2>/dev/null; true"
    assert node.run(["sh", "-c", left]).stdout.split() == []
    assert node.pids("qemu-nbd") == []


def where(api: httpx.Client, vm: dict[str, Any]) -> tuple[str, str]:
    """The node and status of a VM, as the panel says."""
    shown = api.get(vm["path"]).json()
    return shown["node"], shown["status"]


def domains(node: Node, *, running: bool = False) -> list[str]:
    """The node's domains by name."""
    return node.run(["virsh", "list", "--name", "--state-running" if running else "--all"]).stdout.split()


ASK = """
import select, socket, sys, time
while not select.select([sys.stdin], [], [], 0.02)[0]:
    try:
        socket.create_connection((sys.argv[1], 22), 0.1).close()
        print(time.time(), flush=True)
    except OSError:
        pass
"""


class Caller:
    """Connects to a guest's port again and again, from several nodes; tells the longest time without an answer."""

    def __init__(self, nodes: list[Node], address: str) -> None:
        argv = ["/usr/bin/python3", "-c", ASK, address]
        pipe = subprocess.PIPE
        self.calls = [subprocess.Popen(node.argv(argv), stdin=pipe, stdout=pipe, text=True) for node in nodes]

    def stop(self) -> float:
        """The longest silence of the guest, in seconds: no node had an answer."""
        answers = []
        for call in self.calls:
            # The end of its input ends it; a signal would reach nsenter alone.
            answers += [float(line) for line in call.communicate(timeout=10)[0].split()]
        answers.sort()
        return max((after - before for before, after in itertools.pairwise(answers)), default=0.0)


def test_a_running_vm_moves_with_its_disk_and_its_guest_notices_little(
    cluster: list[Node], api: httpx.Client, make: Callable[..., dict[str, Any]], key: tuple[str, str]
) -> None:
    one, two = cluster
    vm = make("walker", one)

    def inside(node: Node, command: str) -> str:
        return ssh(node, key[0], "root", vm["address"], command)

    # What it wrote to its disk is there afterwards, and so is what only its memory knows.
    inside(one, "dd if=/dev/urandom of=/boot/here bs=1M count=8; sync; md5sum /boot/here > /run/sum")
    before = float(inside(one, "cat /proc/uptime").split()[0])
    caller = Caller([one, two], vm["address"])
    answer = api.post(f"{vm['path']}/migrate", json={"node": two.name})
    task = done(api, answer)
    silent = caller.stop()

    assert where(api, vm) == (two.name, "running")
    # The calls that it could not answer yet hold up its sshd for a moment.

    def uptime() -> float:
        try:
            return float(inside(two, "cat /proc/uptime").split()[0])
        except LabError:
            return 0.0

    assert wait_until(uptime, "its sshd lets somebody in", 60) > before
    inside(two, "umount /boot; mount -t vfat /dev/vda1 /boot; md5sum -c /run/sum")
    assert (domains(one), domains(two, running=True)) == ([], ["walker"])
    assert remains(one) == NOTHING
    nothing_of_moves(two)
    print(f"silent for {silent * 1000:.0f} ms; the panel says {task['result']}")
    assert 0 < task["result"]["downtime_ms"] < 10_000
    assert 0.0 < silent < 15.0
    history = api.get(f"{vm['path']}/history").json()
    assert (history[0]["status"], history[0]["node"]) == ("running", two.name)
    assert "points" in api.get(f"tasks/{task['id']}/log").text
    # Both nodes showed the domain meanwhile, and vmwatch told of it: no alarm.
    assert api.get("problems").json()["results"] == []
    assert not api.get(vm["path"]).json()["seen_elsewhere"]
    # The target knows it for good: it can be restarted there, and moved back.
    done(api, api.post(f"{vm['path']}/restart", json={"timeout_seconds": 5}))
    done(api, api.post(f"{vm['path']}/migrate", json={}))
    assert where(api, vm) == (one.name, "running")


def test_a_vm_that_is_off_moves_and_starts_there(
    cluster: list[Node], api: httpx.Client, make: Callable[..., dict[str, Any]], key: tuple[str, str]
) -> None:
    one, two = cluster
    vm = make("sleeper", one)
    ssh(one, key[0], "root", vm["address"], "echo kept > /boot/kept; sync")
    done(api, api.post(f"{vm['path']}/stop", json={}))
    task = done(api, api.post(f"{vm['path']}/migrate", json={"bandwidth_mib": 200}))

    assert task["result"]["target"] == two.name
    assert where(api, vm) == (two.name, "shut off")
    assert remains(one) == NOTHING
    done(api, api.post(f"{vm['path']}/start", json={}))

    def kept() -> bool:
        # Its sshd is not there at once.
        try:
            return ssh(two, key[0], "root", vm["address"], "cat /boot/kept") == "kept"
        except LabError:
            return False

    wait_until(kept, "it runs with its disk", 60)


def test_a_move_that_is_cancelled_in_flight_leaves_the_vm_where_it_was(
    cluster: list[Node], api: httpx.Client, make: Callable[..., dict[str, Any]], key: tuple[str, str]
) -> None:
    one, two = cluster
    vm = make("waverer", one)
    before = float(ssh(one, key[0], "root", vm["address"], "cat /proc/uptime").split()[0])
    task = task_of(api.post(f"{vm['path']}/migrate", json={"node": two.name, "bandwidth_mib": 1}))

    def flying() -> dict[str, Any] | None:
        step = api.get(f"tasks/{task}").json()["steps"][4]
        return step if "MiB/s" in step["progress_text"] else None

    step = wait_until(flying, "bytes are on their way", 60)
    assert step["name"] == "move_guest"
    wait_until(lambda: "waverer" in domains(two), "the target shows it too")
    time.sleep(1.5)  # vmwatch has told of both by then
    assert api.get("problems").json()["results"] == []
    assert api.post(f"tasks/{task}/cancel").status_code == 202
    assert wait_for_task(api, task, 60)["status"] == "cancelled"

    assert where(api, vm) == (one.name, "running")
    assert float(ssh(one, key[0], "root", vm["address"], "cat /proc/uptime").split()[0]) > before
    assert remains(two) == NOTHING
    nothing_of_moves(one)
    nothing_of_moves(two)
    done(api, api.post(f"{vm['path']}/migrate", json={"node": two.name}))


def test_nodes_that_cannot_take_it_say_why(
    cluster: list[Node], api: httpx.Client, make: Callable[..., dict[str, Any]]
) -> None:
    one, two = cluster
    vm = make("stayer", one)
    path = f"{vm['path']}/migrate"
    ids = {each["name"]: each["id"] for each in api.get("nodes").json()["results"]}

    same = api.post(path, json={"node": one.name})
    assert (same.status_code, same.json()["code"]) == (409, "no_capacity")
    assert same.json()["candidates"] == {one.name: "the VM is there already"}
    done(api, api.post(f"nodes/{ids[two.name]}/maintain", json={}))
    refused = api.post(path, json={})
    assert refused.json()["candidates"] == {two.name: "the node is in maintenance"}
    done(api, api.post(f"nodes/{ids[two.name]}/end-maintenance", json={}))
    assert api.patch(f"nodes/{ids[two.name]}", json={"max_vms": 0}).status_code == 200
    assert "0 are allowed" in api.post(path, json={}).json()["candidates"][two.name]
    assert api.patch(f"nodes/{ids[two.name]}", json={"max_vms": None}).status_code == 200

    # What only the node itself knows is found before anything is touched.
    two.run(["virsh", "define", "/dev/stdin"], input=OTHER.format("stayer"))
    try:
        task = wait_for_task(api, task_of(api.post(path, json={})))
    finally:
        two.run(["virsh", "undefine", "stayer"])
    assert (task["status"], task["error"]["code"]) == ("failed", "no_capacity")
    assert task["error"]["candidates"] == {two.name: "another domain is called “stayer” there"}
    assert where(api, vm) == (one.name, "running")


OTHER = "<domain type='qemu'><name>{}</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>"


@pytest.mark.nightly
def test_an_evacuated_node_is_empty_and_takes_no_new_vms(
    cluster: list[Node], api: httpx.Client, make: Callable[..., dict[str, Any]]
) -> None:
    one, two = cluster
    vms = [make(f"crowd{number}", one) for number in range(3)]
    done(api, api.post(f"{vms[2]['path']}/force-off", json={}))
    node = api.get("nodes", params={"name": one.name}).json()["results"][0]
    path = f"nodes/{node['id']}"

    task = done(api, api.post(f"{path}/evacuate", json={"parallel": 2}), 240)
    try:
        assert sorted(task["result"]["moved"]) == ["crowd0", "crowd1", "crowd2"]
        assert [where(api, vm) for vm in vms] == [(two.name, "running")] * 2 + [(two.name, "shut off")]
        assert remains(one) == NOTHING
        refused = api.post("vms", json={"name": "new", "image": "tiny", "flavor": "tiny", "node": one.name})
        assert refused.json()["candidates"] == {one.name: "the node is in maintenance"}
        # Nowhere to go: each VM is named with its reason.
        other = api.get("nodes", params={"name": two.name}).json()["results"][0]["id"]
        stuck = wait_for_task(api, task_of(api.post(f"nodes/{other}/evacuate", json={})))
        assert stuck["status"] == "failed"
        assert sorted(stuck["error"]["stay"]) == ["crowd0", "crowd1", "crowd2"]
        assert "maintenance" in stuck["error"]["stay"]["crowd0"]
        done(api, api.post(f"nodes/{other}/end-maintenance", json={}))
    finally:
        done(api, api.post(f"{path}/end-maintenance", json={}))
