"""Facts, packages and services behave alike on the fake node and on the real agent, as far as that is safe here."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from nodeagent.packages import DEBIAN_PACKAGES
from nodeagent.protocol import Nothing, network
from nodeagent.protocol import node as machine
from panel.cluster import health
from panel.cluster.fake import FakeNode
from panel.core.errors import NodeError
from tests.contract.local_agent import until
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, code_of

SERVICE = """
import pathlib, signal, sys
heard = pathlib.Path(sys.argv[2] + ".heard")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGHUP, lambda *_: heard.write_text(heard.read_text() + "hup "))
heard.write_text("start ")
while True:
    signal.pause()
"""
"""Stands where vmwatch-node's program is; what the agent knows of it is that it runs."""


def put_service(node: Subject) -> None:
    """Have something to run as vmwatch-node."""
    if isinstance(node, AgentSubject):
        if Path("/run/systemd/system").is_dir():
            pytest.skip("would make a unit of this machine's systemd")
        program = node.agent.root / "usr/lib/vmpanel/vmwatch.pyz"
        program.parent.mkdir(parents=True)
        program.write_text(SERVICE)


def heard(node: Subject) -> list[str]:
    """What happened to the service's process; of the fake that it was started."""
    if not isinstance(node, AgentSubject):
        return ["start"]
    path = node.agent.root / "etc/vmpanel/vmwatch-node.conf.heard"
    return path.read_text().split() if path.exists() else []


@pytest.mark.covers("node_facts")
def test_facts_name_the_system_and_its_size(node: Subject) -> None:
    facts = node.call(machine.NodeFacts())
    assert facts.arch == "x86_64"
    assert facts.cpu_count >= 1
    assert 0 < facts.memory_free_mib <= facts.memory_mib
    assert facts.os_id and facts.kernel and facts.python and facts.hostname
    assert facts.libvirt_version


@pytest.mark.covers("node_probe")
def test_the_probe_names_an_accelerator_and_says_why(node: Subject) -> None:
    probe = node.call(machine.NodeProbe(timeout_seconds=8.0))
    assert probe.accel in ("kvm", "qemu")
    assert probe.detail


@pytest.mark.covers("packages_install")
def test_nothing_is_installed_where_nothing_is_missing(node: Subject) -> None:
    if isinstance(node, AgentSubject):
        known = subprocess.run(["dpkg-query", "-W", *DEBIAN_PACKAGES], capture_output=True, check=False)
        if known.returncode != 0:
            pytest.skip("this machine lacks packages of a node")
    assert node.call(machine.PackagesInstall()) == machine.Installed(packages=[])


@pytest.mark.covers("libvirt_ensure")
def test_libvirt_that_answers_is_left_as_it_is(node: Subject) -> None:
    assert node.call(machine.LibvirtEnsure()).libvirt_version


@pytest.mark.netns
def test_a_bridge_that_cannot_be_made_again_does_not_hold_up_libvirt(node: Subject) -> None:
    bridge = network.BridgeEnsure(name="vmbr-nat0", gateway="10.77.0.1/24", subnet="10.77.0.0/24")
    node.call(bridge)
    if isinstance(node, AgentSubject):
        node.agent.run_in_namespace("ip", "link", "delete", "vmbr-nat0")
        node.agent.run_in_namespace("ip", "link", "add", "vmbr-nat0", "type", "veth", "peer", "name", "other0")
        with pytest.raises(NodeError):
            node.call(bridge)
    assert node.call(machine.LibvirtEnsure()).libvirt_version


def test_facts_tell_the_time_of_the_node_s_own_clock(node: Subject) -> None:
    before = time.time()
    told = node.call(machine.NodeFacts()).time
    assert health.clock_difference(before, time.time(), told) == 0
    if isinstance(node, FakeSubject):
        node.node.clock_offset = 100.0
        assert health.clock_difference(time.time(), time.time(), node.call(machine.NodeFacts()).time) > 99


@pytest.mark.covers("vmwatch_configure", "vmwatch_status", "vmwatch_remove")
def test_vmwatch_runs_from_its_configuration_to_its_removal(node: Subject) -> None:
    put_service(node)
    assert node.call(machine.VmwatchStatus()) == machine.ServiceState("vmwatch-node", False)
    configure = machine.VmwatchConfigure(connect="tcp://10.0.0.1:1515", secret="s3cret", node_id=1)
    state = node.call(configure)
    assert state.running and state.pid
    assert node.call(configure) == state
    assert node.call(machine.VmwatchStatus()) == state
    for _ in range(2):
        assert node.call(machine.VmwatchRemove()) == Nothing()
    assert node.call(machine.VmwatchStatus()) == machine.ServiceState("vmwatch-node", False)


@pytest.mark.covers("vmwatch_configure", "vmwatch_status", "vmwatch_remove")
def test_vmwatch_goes_on_with_a_configuration_that_changed(node: Subject) -> None:
    put_service(node)
    values = {"connect": "tcp://10.0.0.1:1515", "secret": "s3cret", "node_id": 1}
    before = node.call(machine.VmwatchConfigure(**values))
    try:
        assert node.watch_configuration() == {**values, "node_id": "1", "resync": "15"}
        until(lambda: heard(node) == ["start"])
        more = {"resync": 2.5, "server_key": "k" * 40}
        for _ in range(2):
            assert node.call(machine.VmwatchConfigure(**values, **more)) == before
        assert node.watch_configuration() == {**values, "node_id": "1", "resync": "2.5", "server_key": "k" * 40}
        # Told once, since the second time nothing changed; and the same process all the time.
        until(lambda: heard(node) == (["start", "hup"] if isinstance(node, AgentSubject) else ["start"]))
        assert node.call(machine.VmwatchConfigure(**values)) == before
        assert "server_key" not in node.watch_configuration()
    finally:
        node.call(machine.VmwatchRemove())
    assert not node.call(machine.VmwatchStatus()).running


@pytest.mark.covers("service_restart")
def test_a_service_is_started_anew_and_another_name_is_refused(node: Subject) -> None:
    put_service(node)
    for service in ("sshd", "", machine.VMWATCH_NODE):
        # vmwatch-node is not configured yet.
        with pytest.raises(NodeError) as caught:
            node.call(machine.ServiceRestart(service=service))
        assert code_of(caught.value) == "invalid_params"
    before = node.call(machine.VmwatchConfigure(connect="tcp://10.0.0.1:1515", secret="s3cret", node_id=1))
    try:
        after = node.call(machine.ServiceRestart(service=machine.VMWATCH_NODE))
        assert after.name == before.name and after.running and after.pid != before.pid
        assert node.call(machine.VmwatchStatus()) == after
    finally:
        node.call(machine.VmwatchRemove())


def test_vmwatch_is_started_anew_when_its_program_was_put_in_place_since(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no processes")
    put_service(node)
    program = node.agent.root / "usr/lib/vmpanel/vmwatch.pyz"
    configure = machine.VmwatchConfigure(connect="tcp://10.0.0.1:1515", secret="s3cret", node_id=1)
    hour = 3600
    try:
        os.utime(program, times=(time.time() - hour,) * 2)
        before = node.call(configure)
        assert node.call(configure) == before
        # From the future: a clock that was set back must not have it started with each check.
        os.utime(program, times=(time.time() + hour,) * 2)
        assert node.call(configure) == before

        def replaced() -> bool:
            # The kernel counts starts in hundredths of a second, so the first touch may seem older.
            program.touch()
            return node.call(configure).pid != before.pid

        until(replaced)
        os.utime(program, times=(time.time() - hour,) * 2)
        after = node.call(configure)
        assert after.running and node.call(configure) == after
    finally:
        node.call(machine.VmwatchRemove())


def test_a_configuration_of_two_lines_is_refused(node: Subject) -> None:
    put_service(node)
    with pytest.raises(NodeError) as caught:
        node.call(machine.VmwatchConfigure(connect="tcp://x\nsecret=y", secret="s", node_id=1))
    assert code_of(caught.value) == "invalid_params"
    assert not node.call(machine.VmwatchStatus()).running


def test_a_service_that_dies_is_started_again_and_its_configuration_is_secret(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no processes")
    put_service(node)
    configure = machine.VmwatchConfigure(connect="tcp://10.0.0.1:1515", secret="s3cret", node_id=1)
    before = node.call(configure)
    assert (node.agent.root / "etc/vmpanel/vmwatch-node.conf").stat().st_mode & 0o777 == 0o600
    try:
        subprocess.run(["kill", "-KILL", str(before.pid)], check=True)
        until(lambda: node.call(machine.VmwatchStatus()).pid not in (None, before.pid))
    finally:
        node.call(machine.VmwatchRemove())


@pytest.mark.covers("mark_read", "agent_remove")
def test_the_agent_removes_its_own_traces(node: Subject) -> None:
    ours = "ssh-ed25519 BBBB vmpanel"
    if isinstance(node, AgentSubject):
        ssh = node.agent.folder / "home/.ssh"
        ssh.mkdir(parents=True)
        (ssh / "authorized_keys").write_text(f"ssh-ed25519 AAAA me@home\n{ours}\nssh-ed25519 CCCC vmpanel\n")
        (node.agent.root / "usr/lib/vmpanel").mkdir(parents=True)
        (node.agent.root / "usr/lib/vmpanel/nodeagent.pyz").write_text("")
    for _ in range(2):
        assert node.call(machine.AgentRemove(key=ours, panel="p")) == Nothing()
    assert node.call(machine.MarkRead()) == machine.HostMark()
    if isinstance(node, AgentSubject):
        # Another panel's key bears the same comment.
        assert (ssh / "authorized_keys").read_text() == "ssh-ed25519 AAAA me@home\nssh-ed25519 CCCC vmpanel\n"
        left = [path.relative_to(node.agent.root) for path in node.agent.root.rglob("*") if path.is_file()]
        assert left == [Path("var/log/vmpanel/nodeagent.log")]


@pytest.mark.covers("port_probe")
def test_a_port_elsewhere_is_tried_by_really_connecting(node: Subject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert node.call(machine.PortProbe(address="127.0.0.1", port=port)) == machine.Reached(reached=True)
    if isinstance(node, FakeSubject):
        node.node.unreached[port] = "connection refused"
    told = node.call(machine.PortProbe(address="127.0.0.1", port=port))
    assert told == machine.Reached(reached=False, reason="connection refused")


def test_a_host_of_another_panel_is_left_alone(node: Subject) -> None:
    mark = machine.HostMark("other", 7, "alien7", "https://other.example.org")
    if isinstance(node, AgentSubject):
        folder = node.agent.root / "var/lib/vmpanel"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "node.json").write_text(json.dumps(dataclasses.asdict(mark)))
    else:
        assert isinstance(node.client, FakeNode)
        node.client.mark = mark
    assert node.call(machine.MarkRead()) == mark
    with pytest.raises(NodeError) as caught:
        node.call(machine.AgentRemove(key="ssh-ed25519 BBBB vmpanel", panel="ours"))
    assert code_of(caught.value) == "in_use"
    assert node.call(machine.MarkRead()) == mark
