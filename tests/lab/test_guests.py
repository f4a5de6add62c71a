"""What is done with a VM's guest and identity, on a real host with real guests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, make_key, remains, ssh
from tests.lab.hosts import LabError, Node
from tests.stack import Stack, done, task_of, wait_for_task, wait_until

POOL = "/var/lib/vmpanel/pool"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An ssh key pair for guests."""
    return make_key(str(tmp_path_factory.mktemp("key")))


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Another one."""
    return make_key(str(tmp_path_factory.mktemp("other-key")))


class Guest:
    """A VM of the image "tiny" and its node."""

    def __init__(self, api: httpx.Client, node: Node, created: dict[str, Any]) -> None:
        self.api, self.node, self.created = api, node, created
        self.path = f"vms/{created['vm']}"
        self.address = created["address"]

    def do(self, verb: str, seconds: float = 180.0, **raw: Any) -> dict[str, Any]:
        """The operation's task, which ended well."""
        return done(self.api, self.api.post(f"{self.path}/{verb}", json=raw), seconds)

    def show(self) -> dict[str, Any]:
        """The VM as the API has it."""
        return dict(self.api.get(self.path).json())

    def inside(self, key: tuple[str, str], *command: str, address: str = "") -> str:
        """What a command prints in the guest."""
        return ssh(self.node, key[0], "root", address or self.address, *command)

    def lets_in(self, key: tuple[str, str]) -> bool:
        """Whether the guest lets the key in."""
        try:
            return self.inside(key, "echo", "in") == "in"
        except LabError:
            return False

    def power(self, on: bool) -> None:
        """Start it and wait until one can sign in, or force it off."""
        self.do("start" if on else "force-off")

    def reach(self, key: tuple[str, str], address: str = "") -> str:
        """The guest's host name, once one can sign in."""
        found: list[str] = []

        def look() -> bool:
            try:
                found.append(self.inside(key, "hostname", address=address))
            except LabError:
                return False
            return True

        wait_until(look, "one can sign in", 180)
        return found[-1]

    def volume(self, target: str) -> str:
        """The file of a disk that the guest has under this name."""
        listed = self.node.run(["virsh", "-c", "qemu:///system", "domblklist", self.created["uuid"]]).stdout
        return dict(line.split() for line in listed.splitlines()[2:] if line)[target]

    def domain(self) -> str:
        """The domain's XML by its UUID, as libvirt keeps it."""
        return self.node.run(["virsh", "-c", "qemu:///system", "dumpxml", self.created["uuid"]]).stdout


@pytest.fixture
def guest(cluster: list[Node], api: httpx.Client, key: tuple[str, str], stack: Stack) -> Iterator[Guest]:
    """A running VM; afterwards it is deleted, nothing of it is left, and the doctor finds nothing."""
    node = cluster[0]
    answer = api.post(
        "vms", json={"name": "first", "image": "tiny", "flavor": "tiny", "node": node.name, "ssh_keys": [key[1]]}
    )
    done(api, answer)
    guest = Guest(api, node, answer.json())
    yield guest
    assert examine(api) == []
    done(api, api.delete(guest.path))
    assert remains(node) == NOTHING
    assert examine(api) == []


def examine(api: httpx.Client) -> list[dict[str, str]]:
    """What the doctor finds."""
    task = done(api, api.post("cluster/examine", json={}))
    return list(task["result"]["findings"])


def test_a_renamed_vm_is_called_so_everywhere(guest: Guest, key: tuple[str, str]) -> None:
    refused = guest.api.post(f"{guest.path}/rename", json={"name": "second"})
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    guest.power(False)
    guest.do("rename", name="second")
    assert guest.show()["name"] == "second"
    names = guest.node.run(["virsh", "-c", "qemu:///system", "list", "--all", "--name"]).stdout.split()
    assert names == ["second"]
    guest.power(True)
    assert guest.reach(key) == "second"


def test_a_reinstalled_vm_has_a_new_disk_and_all_else_that_it_had(
    guest: Guest, key: tuple[str, str], other_key: tuple[str, str]
) -> None:
    assert guest.reach(key) == "first"
    guest.inside(key, "touch", "/boot/mine")
    before = guest.show()
    guest.do("reinstall", image="tiny", ssh_keys=[other_key[1]])

    after = guest.show()
    for same in ("name", "interfaces", "disks", "memory_mib", "uuid"):
        assert after[same] == before[same]
    assert after["status"] == "running"
    assert guest.reach(other_key) == "first"
    assert not guest.lets_in(key)
    assert "mine" not in guest.inside(other_key, "ls", "/boot")
    assert len(remains(guest.node)["files"]) == 2


def test_a_reinstallation_that_fails_leaves_the_vm_with_its_old_system(guest: Guest, key: tuple[str, str]) -> None:
    guest.reach(key)
    guest.inside(key, "touch", "/boot/mine")
    files = sorted(remains(guest.node)["files"])
    answer = guest.api.post(f"{guest.path}/reinstall", json={"image": "tiny"})
    wait_until(lambda: step_of(guest, answer, "swap_systems") == "done", "the disks are swapped", 120)
    guest.api.post(f"tasks/{task_of(answer)}/cancel")
    task = wait_for_task(guest.api, task_of(answer))

    assert task["status"] == "cancelled"
    assert sorted(remains(guest.node)["files"]) == files
    assert guest.reach(key) == "first"
    assert "mine" in guest.inside(key, "ls", "/boot")


def step_of(guest: Guest, answer: httpx.Response, name: str) -> str:
    """Where a step of the task is."""
    steps = guest.api.get(f"tasks/{task_of(answer)}").json()["steps"]
    return str(next(step["status"] for step in steps if step["name"] == name))


def test_keys_and_host_name_of_a_guest_without_an_agent_change_at_its_next_start(
    guest: Guest, key: tuple[str, str], other_key: tuple[str, str], stack: Stack
) -> None:
    guest.reach(key)
    task = guest.do("configure-guest", ssh_keys=[other_key[1]], hostname="inside", password="a very secret word")
    assert task["result"] == {"applied": "at next start"}
    guest.power(False)
    guest.power(True)
    assert guest.reach(other_key) == "inside"
    assert not guest.lets_in(key)
    assert guest.inside(other_key, "cut", "-d:", "-f2", "/etc/shadow").startswith("$6$")
    logs = "".join(path.read_text(encoding="utf-8", errors="replace") for path in stack.layout.log.glob("*.log"))
    assert "secret word" not in logs + stack.manage("dumpdata", "tasks")
    assert "secret word" not in guest.node.run(["cat", "/var/log/vmpanel/nodeagent.log"]).stdout


@pytest.mark.nightly
def test_a_guest_whose_seed_was_deleted_starts_again_after_its_next_change(
    guest: Guest, key: tuple[str, str], other_key: tuple[str, str]
) -> None:
    guest.reach(key)
    guest.power(False)
    [seed] = [name for name in remains(guest.node)["files"] if name.endswith(".iso")]
    guest.node.run(["rm", seed])
    task = wait_for_task(guest.api, task_of(guest.api.post(f"{guest.path}/start", json={})))
    assert task["status"] == "failed" and seed in str(task["error"])
    assert [each["code"] for each in examine(guest.api)] == ["file_missing"]
    guest.do("configure-guest", ssh_keys=[other_key[1]])
    assert examine(guest.api) == []
    guest.power(True)
    assert guest.reach(other_key) == "first"


def test_a_clone_is_a_vm_of_its_own(guest: Guest, key: tuple[str, str], other_key: tuple[str, str]) -> None:
    guest.reach(key)
    guest.inside(key, "touch", "/boot/mine")
    guest.inside(key, "sync")
    guest.power(False)
    answer = guest.api.post(f"{guest.path}/clone", json={"name": "second", "ssh_keys": [other_key[1]]})
    created = answer.json()
    done(guest.api, answer)

    clone = Guest(guest.api, guest.node, created)
    try:
        assert created["vm"] != guest.created["vm"] and clone.address != guest.address
        assert clone.reach(other_key) == "second"
        assert "mine" in clone.inside(other_key, "ls", "/boot")
        assert not clone.lets_in(key)
        guest.power(True)
        assert guest.reach(key) == "first"
        assert clone.show()["interfaces"][0]["mac"] != guest.show()["interfaces"][0]["mac"]
        assert examine(guest.api) == []
    finally:
        done(guest.api, guest.api.delete(clone.path))


WRITER = """
i=10000000
while :; do
    i=$((i + 1))
    for disk in vdb vdc; do printf %s $i > /dev/$disk; sync; done
    echo $i >> /boot/numbers; sync
done
"""
"""Writes a number to one disk, then the same to another, then to a file; then the next number."""


def clone_of(guest: Guest, other_key: tuple[str, str], during: Callable[[int], None] = lambda task: None) -> Guest:
    """A clone that answers; `during` is called with its task."""
    answer = guest.api.post(f"{guest.path}/clone", json={"name": "second", "ssh_keys": [other_key[1]]})
    during(task_of(answer))
    done(guest.api, answer, 300)
    clone = Guest(guest.api, guest.node, answer.json())
    clone.reach(other_key)
    return clone


def test_a_vm_that_writes_is_cloned_as_of_one_moment_and_goes_on(
    guest: Guest, key: tuple[str, str], other_key: tuple[str, str]
) -> None:
    guest.reach(key)
    for _ in range(2):
        guest.do("add-disk", size_gib=1)

    def number(of: Guest, disk: str, by: tuple[str, str]) -> int:
        return int(of.inside(by, f"head -c 8 /dev/{disk}").strip("\0") or 0)

    wait_until(lambda: "vdc" in guest.inside(key, "ls", "/dev"), "the guest has the disks", 20)
    guest.inside(key, f"cat > /run/write <<'END'\n{WRITER}\nEND\n(sh /run/write < /dev/null > /dev/null 2>&1 &)")
    wait_until(lambda: number(guest, "vdc", key), "it writes", 20)
    plan = guest.api.post(f"{guest.path}/clone?plan=1", json={"name": "second"}).json()
    copying = next(step for step in plan["steps"] if step["name"] == "copy_disks")
    assert copying["changes"] == "3 disks of “first”, as of one moment while it goes on"
    clone = clone_of(guest, other_key)
    try:
        first, then = number(clone, "vdb", other_key), number(clone, "vdc", other_key)
        assert then in (first, first - 1)
        numbers = clone.inside(other_key, "cat", "/boot/numbers").split()
        assert [int(each) for each in numbers] == list(range(10000001, 10000001 + len(numbers)))
        assert int(numbers[-1]) in (then, then - 1)
        before = number(guest, "vdb", key)
        assert before > first
        wait_until(lambda: number(guest, "vdb", key) > before, "the first one goes on", 20)
        clone.do("force-off")
        node, uuid = guest.node, clone.created["uuid"]
        files = node.run(["virsh", "-c", "qemu:///system", "domblklist", uuid]).stdout.split()
        for file in [each for each in files if each.endswith(".qcow2")]:
            assert "No errors" in node.run(["qemu-img", "check", file]).stdout
        assert examine(guest.api) == []
    finally:
        done(guest.api, guest.api.delete(clone.path))


@pytest.mark.nightly
def test_a_paused_vm_is_cloned_and_stays_paused(guest: Guest, key: tuple[str, str], other_key: tuple[str, str]) -> None:
    guest.reach(key)
    guest.inside(key, "touch /boot/mine; sync")
    guest.do("pause")
    clone = clone_of(guest, other_key)
    assert "mine" in clone.inside(other_key, "ls", "/boot")
    assert guest.show()["status"] == "paused"
    done(guest.api, guest.api.delete(clone.path))


@pytest.mark.nightly
def test_a_copying_that_is_cancelled_leaves_nothing_and_one_whose_agent_dies_begins_anew(
    guest: Guest, key: tuple[str, str], other_key: tuple[str, str]
) -> None:
    guest.reach(key)
    guest.do("add-disk", size_gib=2)
    guest.power(False)
    guest.node.run(["qemu-io", "-c", "write -P 7 0 2047M", guest.volume("vdb")])
    guest.power(True)
    guest.reach(key)
    before = sorted(remains(guest.node)["files"])

    def copying(task: int) -> None:
        def begun() -> bool:
            steps = guest.api.get(f"tasks/{task}").json()["steps"]
            return bool(next(step["progress"] for step in steps if step["name"] == "copy_disks"))

        wait_until(begun, "it copies")

    def cancel(task: int) -> None:
        copying(task)
        guest.api.post(f"tasks/{task}/cancel")

    answer = guest.api.post(f"{guest.path}/clone", json={"name": "second"})
    cancel(task_of(answer))
    assert wait_for_task(guest.api, task_of(answer))["status"] == "cancelled"
    assert sorted(remains(guest.node)["files"]) == before
    assert guest.show()["status"] == "running"

    def kill_agent(task: int) -> None:
        copying(task)
        guest.node.run(["pkill", "-KILL", "-f", "nodeagent.pyz"])

    clone = clone_of(guest, other_key, kill_agent)
    assert clone.inside(other_key, "head -c 4096 /dev/vdb | md5sum") == guest.inside(
        key, "head -c 4096 /dev/vdb | md5sum"
    )
    assert guest.show()["status"] == "running"
    assert examine(guest.api) == []
    done(guest.api, guest.api.delete(clone.path))


AGENT = """
port=$(grep -l guest_agent /sys/class/virtio-ports/*/name | cut -d/ -f5)
echo thawed > /run/state
exec 3<> /dev/$port
# A read ends at once while the host's end is not connected, and libvirt connects it when this one is opened.
while :; do
    while read -r line <&3; do
        case "$line" in
            *guest-sync*) number=${line##*:}; answer=${number%%[!0-9]*} ;;
            *guest-info*) answer='{"supported_commands": [{"name": "guest-fsfreeze-freeze", "enabled": true},
                {"name": "guest-fsfreeze-thaw", "enabled": true}]}' ;;
            *fsfreeze-freeze*) echo frozen > /run/state; echo freeze >> /run/asked; answer=1 ;;
            *fsfreeze-thaw*) echo thawed > /run/state; echo thaw >> /run/asked; answer=1 ;;
            *fsfreeze-status*) answer="\\"$(cat /run/state)\\"" ;;
            *) answer='{}' ;;
        esac
        echo $(echo "{\\"return\\": $answer}") >&3
    done
    usleep 200000
done
"""
"""An agent for a guest that has none: it says that it freezes and thaws, and notes what it was asked for."""
STUBBORN_UUID = "0badbeef-0000-4000-8000-000000000001"
STUBBORN = (
    f"<domain type='qemu'><name>stubborn</name><uuid>{STUBBORN_UUID}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><memballoon model='none'/></devices></domain>"
)
"""A domain that has no guest which could thaw."""


@pytest.mark.nightly
def test_a_guest_is_frozen_for_the_moment_of_its_copy_and_thawed_when_an_agent_died_before(
    guest: Guest, key: tuple[str, str], other_key: tuple[str, str]
) -> None:
    guest.reach(key)
    guest.inside(key, f"cat > /run/agent <<'END'\n{AGENT}\nEND\n(sh /run/agent < /dev/null > /dev/null 2>&1 &)")
    virsh = ["virsh", "-c", "qemu:///system", "qemu-agent-command", guest.created["uuid"]]

    def ask(command: str) -> str:
        answer = guest.node.run([*virsh, json.dumps({"execute": command})], check=False)
        return str(json.loads(answer.stdout)["return"]) if answer.returncode == 0 else ""

    wait_until(lambda: ask("guest-fsfreeze-status") == "thawed", "the guest's agent answers", 30)
    # Somebody else's guest, which does not thaw, is not waited for.
    folder = "/run/vmpanel/frozen"
    guest.node.run(["sh", "-c", "cat > /run/stubborn.xml"], input=STUBBORN)
    guest.node.run(["virsh", "-c", "qemu:///system", "create", "/run/stubborn.xml"])
    guest.node.run(["sh", "-c", f"mkdir -p {folder} && touch {folder}/{STUBBORN_UUID}"])
    task: list[int] = []
    clone = clone_of(guest, other_key, task.append)
    assert "held its file systems still" in guest.api.get(f"tasks/{task[0]}/log").text
    assert guest.inside(key, "cat", "/run/asked").split() == ["freeze", "thaw"]
    done(guest.api, guest.api.delete(clone.path))
    assert guest.node.run(["ls", folder]).stdout.split() == [STUBBORN_UUID]
    guest.node.run(["virsh", "-c", "qemu:///system", "destroy", "stubborn"])

    # As an agent leaves it that is killed in that moment.
    guest.node.run(["touch", f"{folder}/{guest.created['uuid']}"])
    ask("guest-fsfreeze-freeze")
    assert ask("guest-fsfreeze-status") == "frozen"
    guest.node.run(["pkill", "-KILL", "-f", "nodeagent.pyz"])
    guest.do("autostart", enabled=True)
    wait_until(lambda: ask("guest-fsfreeze-status") == "thawed", "the next agent thaws it", 60)
    wait_until(lambda: guest.node.run(["ls", folder]).stdout == "", "no note is left", 60)


def test_a_rescued_vm_boots_another_system_beside_its_disks_until_it_is_ended(
    guest: Guest, key: tuple[str, str], other_key: tuple[str, str]
) -> None:
    guest.reach(key)
    guest.inside(key, "touch", "/boot/mine")
    guest.inside(key, "sync")
    files = sorted(remains(guest.node)["files"])
    guest.do("rescue", image="tiny", ssh_keys=[other_key[1]])

    assert guest.show()["in_rescue"]
    assert guest.reach(other_key) == "first"
    assert not guest.lets_in(key)
    look = "mkdir -p /tmp/own && mount -t vfat /dev/vdb1 /tmp/own && ls /tmp/own && umount /tmp/own"
    assert "mine" in guest.inside(other_key, look)
    assert examine(guest.api) == []
    # It stays through a stop and a start.
    guest.power(False)
    guest.power(True)
    assert guest.reach(other_key) == "first"
    assert not guest.lets_in(key)

    guest.do("end-rescue")
    assert not guest.show()["in_rescue"]
    assert guest.reach(key) == "first"
    assert "mine" in guest.inside(key, "ls", "/boot")
    assert not guest.lets_in(other_key)
    assert sorted(remains(guest.node)["files"]) == files


@pytest.mark.nightly
def test_a_vm_in_rescue_mode_is_deleted_whole(guest: Guest) -> None:
    """The fixture looks that nothing is left."""
    guest.do("rescue", image="tiny")
    assert len(remains(guest.node)["files"]) == 4


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_a_debian_guest_is_told_by_its_agent_and_when_off_by_its_seed(
    cluster: list[Node], api: httpx.Client, key: tuple[str, str], other_key: tuple[str, str]
) -> None:
    node = cluster[0]
    raw = {"name": "deb", "image": "debian-12", "memory_mib": 1024, "vcpus": 2, "disk_gib": 3, "node": node.name}
    answer = api.post("vms", json={**raw, "ssh_keys": [key[1]], "password": "correct horse"})
    done(api, answer, 500)
    guest = Guest(api, node, answer.json())
    guest.reach(key)
    guest.inside(key, "cloud-init", "status", "--wait")
    shadow = guest.inside(key, "grep", "^root:", "/etc/shadow")
    host_keys = guest.inside(key, "sha256sum /etc/ssh/ssh_host_*_key")

    def by_agent() -> bool:
        asked = {"hostname": "told", "ssh_keys": [other_key[1]], "password": "another horse"}
        return bool(guest.do("configure-guest", **asked)["result"]["applied"] == "now")

    wait_until(by_agent, "the guest's agent answers", 120)
    assert guest.reach(other_key) == "told"
    assert not guest.lets_in(key)
    told = guest.inside(other_key, "grep", "^root:", "/etc/shadow")
    assert told.startswith("root:$6$") and told != shadow

    guest.inside(other_key, "sync")
    guest.power(False)
    task = guest.do("configure-guest", ssh_keys=[key[1]])
    assert task["result"] == {"applied": "at next start"}
    guest.do("rename", name="renamed")
    guest.power(True)
    # sshd answers before cloud-init has set the keys.
    wait_until(lambda: guest.lets_in(key), "the new key is let in", 300)
    guest.inside(key, "cloud-init", "status", "--wait")
    assert guest.reach(key) == "renamed"
    assert not guest.lets_in(other_key)
    assert guest.inside(key, "sha256sum /etc/ssh/ssh_host_*_key") == host_keys
    done(api, api.delete(guest.path))
    assert remains(node) == NOTHING


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_a_debian_guest_is_reached_after_its_start_with_another_mac(
    cluster: list[Node], api: httpx.Client, key: tuple[str, str]
) -> None:
    """cloud-init takes the network part of the seed at each start, of an instance that is not new too."""
    node = cluster[0]
    raw = {"name": "deb", "image": "debian-12", "memory_mib": 1024, "vcpus": 2, "disk_gib": 3, "node": node.name}
    answer = api.post("vms", json={**raw, "ssh_keys": [key[1]]})
    done(api, answer, 500)
    guest = Guest(api, node, answer.json())
    guest.reach(key)
    guest.inside(key, "cloud-init", "status", "--wait")
    instance = guest.inside(key, "cat", "/run/cloud-init/.instance-id")
    guest.inside(key, "sync")
    guest.power(False)
    (interface,) = guest.show()["interfaces"]
    guest.do("change-interface", interface=interface["mac"], mac="52:54:00:0a:0b:0c")
    guest.power(True)
    assert guest.reach(key) == "deb"
    assert "52:54:00:0a:0b:0c" in guest.inside(key, "cat", "/sys/class/net/e*/address")
    assert guest.inside(key, "cat", "/run/cloud-init/.instance-id") == instance
    done(api, api.delete(guest.path))
    assert remains(node) == NOTHING
