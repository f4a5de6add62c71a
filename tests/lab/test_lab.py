"""The lab itself: its hosts are separate machines, can be cut off and stopped, and leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.lab import hosts
from tests.lab.hosts import Lab, Node, labs, run
from tests.stack import wait_until

TOP = Path(__file__).resolve().parents[2]


def ssh(node: Node, *words: str, seconds: int = 5) -> subprocess.CompletedProcess[str]:
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    options += ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={seconds}", "-i", str(node.private_key_path)]
    argv = ["ssh", *options, "-p", str(node.ssh_port), f"root@{node.address}", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def traces(lab_id: str) -> list[str]:
    """What this machine has of a lab."""
    links = [link["ifname"] for link in json.loads(run("ip", "-j", "link").stdout)]
    spaces = run("ip", "netns").stdout.split()
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").split()
    found = [name for name in (*links, *spaces, *mounts) if lab_id in name]
    found += [str(path) for path in hosts.RECORDS.glob(f"{lab_id}*")]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"vmpanel-lab-{lab_id}" in (folder / "cmdline").read_text(encoding="utf-8", errors="replace"):
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_nodes_are_machines_of_their_own(lab_nodes: list[Node]) -> None:
    one, two = lab_nodes[:2]
    assert ssh(one, "hostname").stdout == "node1\n"
    assert ssh(two, "hostname").stdout == "node2\n"
    assert one.host_key != two.host_key
    one.run(["touch", "/etc/only-here", "/run/only-here"])
    try:
        assert two.run(["ls", "/etc/only-here"], check=False).returncode
        assert not Path("/etc/only-here").exists()
        assert not Path("/run/only-here").exists()
    finally:
        one.run(["rm", "/etc/only-here", "/run/only-here"])


def test_node_has_nothing_of_this_machine_s_life_as_a_node() -> None:
    with Lab.create(1) as lab:
        node = lab.nodes[0]
        for path in ("/usr/lib/vmpanel", "/etc/vmpanel", "/var/lib/vmpanel"):
            assert node.run(["ls", path], check=False).returncode, path
        assert node.run(["cat", "/root/.ssh/authorized_keys"]).stdout.count("\n") == 1


def test_node_has_nothing_that_people_made_of_this_machine() -> None:
    with Lab.create(1) as lab:
        node = lab.nodes[0]
        # But the Python that the project's environment refers to.
        shown = Path(sys.base_prefix).parts[:3]
        for folder in ("/root", "/usr/local", "/etc/profile.d"):
            there = set(node.run(["ls", "-A", folder]).stdout.split()) - set(shown[2:])
            assert there <= {".ssh", ".bashrc", ".profile"}, folder
        for path in ("/etc/bash.bashrc", "/etc/environment", "/etc/ssh/sshrc"):
            assert node.run(["ls", path], check=False).returncode, path
        # A start file of this machine's root (a version manager that takes a lock, say) starts in no node's shell.
        standard = Path("/usr/share/base-files/dot.bashrc")
        if standard.exists():
            assert node.run(["cat", "/root/.bashrc"]).stdout == standard.read_text(encoding="utf-8")
        assert "/root" not in ssh(node, "printenv", "PATH").stdout


def test_cut_node_does_not_answer_until_it_is_healed(lab_nodes: list[Node]) -> None:
    node = lab_nodes[0]
    node.cut()
    try:
        assert ssh(node, "true", seconds=1).returncode
    finally:
        node.heal()
    assert ssh(node, "true").returncode == 0


def test_libvirtd_of_a_node_runs_beside_that_of_another_and_dies_alone() -> None:
    with Lab.create(2, start_libvirt=True) as lab:
        one, two = lab.nodes
        capabilities = [node.run(["virsh", "-c", "qemu:///system", "capabilities"]).stdout for node in lab.nodes]
        assert one.host_uuid in capabilities[0]
        assert two.host_uuid in capabilities[1]
        one.kill_libvirtd()
        wait_until(lambda: one.pids("libvirtd") == [], "it is dead", 10)
        assert two.pids("libvirtd")
        one.ensure_libvirt()
        assert one.pids("libvirtd")


def test_stopped_node_comes_back_with_its_disk() -> None:
    with Lab.create(1) as lab:
        node = lab.nodes[0]
        node.run(["touch", "/var/kept"])
        before = node.host_key
        node.stop()
        assert not node.running
        node.start()
        node.run(["ls", "/var/kept"])
        assert node.host_key == before


def test_closed_lab_leaves_nothing() -> None:
    lab = Lab.create(2)
    assert traces(lab.id)
    lab.close()
    assert traces(lab.id) == []
    assert not lab.folder.exists()


def test_lab_of_a_process_that_was_killed_is_removed_by_the_next() -> None:
    code = "import os; from tests.lab.hosts import Lab; print(Lab.create(1).id, flush=True); os.kill(os.getpid(), 9)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=False)
    lab_id = shown.stdout.strip()
    assert traces(lab_id)
    hosts.clean_dead()
    assert traces(lab_id) == []


def test_labs_side_by_side_have_networks_of_their_own(lab: Lab) -> None:
    with Lab.create(1) as other:
        assert not other.subnet.overlaps(lab.subnet)
        assert ssh(other.nodes[0], "hostname").stdout == "node1\n"
        assert {lab.id, other.id} <= {each.id for each in labs()}


def test_command_makes_lists_and_removes_a_lab() -> None:
    def command(*words: str) -> str:
        done = subprocess.run([str(TOP / "script" / "lab"), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lab_id = command("up", "1").split()[1]
    try:
        rows = [row for row in json.loads(command("list", "--json")) if row["lab"] == lab_id]
        assert [row["running"] for row in rows] == [True]
        assert command("shell", f"{lab_id}/node1", "hostname") == "node1\n"
    finally:
        command("down", lab_id)
    assert traces(lab_id) == []
