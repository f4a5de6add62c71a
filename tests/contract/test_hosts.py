"""Domains behave alike on the fake node and on the real agent."""

from __future__ import annotations

import base64
import dataclasses
import socket
import time
import uuid

import pytest

from nodeagent.protocol import Nothing, guest, host
from panel.core.errors import LibvirtFailure, NodeError
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, code_of, make_spec


def create(node: Subject, **changes: object) -> host.DomainSpec:
    """A VM that is off."""
    spec = make_spec(node.pool, **changes)  # type: ignore[arg-type]
    node.call(host.HostCreate(spec=spec))
    return spec


def refusal(node: Subject, request: object) -> str:
    """The code with which the node refuses."""
    with pytest.raises(NodeError) as caught:
        node.call(request)  # type: ignore[arg-type]
    return code_of(caught.value)


@pytest.mark.covers("host_create", "host_info")
def test_a_created_domain_is_off_and_persistent_and_bears_its_name(node: Subject) -> None:
    spec = create(node, name="first")
    state = node.call(host.HostInfo(uuid=spec.uuid))
    # When it was looked at, by the node's clock, as vmwatch-node says it too.
    assert 0 < state.clock <= time.monotonic() and state.boot
    told = dataclasses.replace(state, xml="", clock=0.0, boot="")
    assert told == host.HostState(spec.uuid, True, "first", "shut off", persistent=True)


@pytest.mark.covers("host_create")
def test_creating_twice_leaves_one_domain_with_the_later_description(node: Subject) -> None:
    spec = create(node, title="before")
    node.call(host.HostCreate(spec=dataclasses.replace(spec, title="after")))
    hosts = node.call(host.HostsRead()).hosts
    assert [each.uuid for each in hosts if each.name == spec.name] == [spec.uuid]


def test_creating_a_running_domain_again_leaves_it_running(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    assert node.call(host.HostCreate(spec=spec)).state == "running"


def test_the_name_of_another_domain_is_refused_by_libvirt(node: Subject) -> None:
    create(node, name="taken")
    with pytest.raises(LibvirtFailure, match="taken"):
        node.call(host.HostCreate(spec=make_spec(node.pool, name="taken")))


@pytest.mark.parametrize("name", ['it\'s "quoted"', "<b>&amp;", "$(reboot); ls", "straße"])
def test_a_name_reaches_libvirt_as_it_is(node: Subject, name: str) -> None:
    spec = create(node, name=name)
    assert node.call(host.HostInfo(uuid=spec.uuid)).name == name


@pytest.mark.parametrize("name", ["a/b", "two\nlines", ""])
def test_a_name_that_libvirt_cannot_hold_is_its_refusal(node: Subject, name: str) -> None:
    spec = dataclasses.replace(make_spec(node.pool), name=name)
    assert refusal(node, host.HostCreate(spec=spec)) == "libvirt"


@pytest.mark.parametrize("name", ["bell\x07", "null\x00"])
def test_a_name_that_xml_cannot_hold_is_refused(node: Subject, name: str) -> None:
    assert refusal(node, host.HostCreate(spec=make_spec(node.pool, name=name))) == "invalid_params"


@pytest.mark.covers("host_start")
def test_starting_twice_is_success(node: Subject) -> None:
    spec = create(node)
    assert node.call(host.HostStart(uuid=spec.uuid)).state == "running"
    assert node.call(host.HostStart(uuid=spec.uuid)).state == "running"


def test_an_absent_domain_cannot_be_started(node: Subject) -> None:
    assert refusal(node, host.HostStart(uuid=str(uuid.uuid4()))) == "no_such_domain"


@pytest.mark.parametrize("request_class", [host.HostStart, host.HostStop, host.HostInfo, host.HostDelete])
def test_what_is_no_uuid_is_refused(node: Subject, request_class: type) -> None:
    assert refusal(node, request_class(uuid="vm-1")) == "invalid_params"


@pytest.mark.covers("host_stop")
def test_a_stopped_domain_is_off_and_still_there(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    for _ in range(2):
        state = node.call(host.HostStop(uuid=spec.uuid))
        assert (state.exists, state.state) == (True, "shut off")


def test_stopping_an_absent_domain_is_success(node: Subject) -> None:
    vm = str(uuid.uuid4())
    assert node.call(host.HostStop(uuid=vm)) == host.HostState(vm, False)


@pytest.mark.covers("host_shutdown")
def test_a_guest_that_obeys_is_off_after_a_shutdown(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    assert node.call(host.HostShutdown(uuid=spec.uuid, timeout_seconds=5)).state == "shut off"
    assert node.call(host.HostShutdown(uuid=spec.uuid, timeout_seconds=5)).state == "shut off"


def test_shutting_down_an_absent_domain_is_success(node: Subject) -> None:
    vm = str(uuid.uuid4())
    assert not node.call(host.HostShutdown(uuid=vm)).exists


@pytest.mark.parametrize(("ending", "final"), [(host.HostStop, True), (host.HostShutdown, None)])
def test_the_command_that_ends_a_domain_tells_what_it_had_counted(
    node: Subject, ending: type, final: bool | None
) -> None:
    spec = create(node)
    runs = []
    for _ in range(2):
        node.call(host.HostStart(uuid=spec.uuid))
        told = node.call(ending(uuid=spec.uuid)).counters
        assert told is not None and told.uuid == spec.uuid and 0 < told.clock <= time.monotonic() and told.boot
        assert final in (None, told.final)
        runs.append(told.run)
    assert runs[0] != runs[1]
    assert node.call(ending(uuid=spec.uuid)).counters is None


def test_a_look_tells_what_a_running_domain_has_counted_where_that_is_asked_for(node: Subject) -> None:
    spec = create(node)
    assert node.call(host.HostInfo(uuid=spec.uuid, counters=True)).counters is None
    node.call(host.HostStart(uuid=spec.uuid))
    assert node.call(host.HostInfo(uuid=spec.uuid)).counters is None
    assert node.call(host.HostInfo(uuid=spec.uuid, counters=True)).counters is not None
    node.silence_guest(spec.uuid)
    assert node.call(host.HostShutdown(uuid=spec.uuid, timeout_seconds=0.3)).counters is not None


@pytest.mark.covers("host_pause", "host_resume")
def test_a_paused_domain_goes_on_and_both_may_be_asked_twice(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    for request, state in ((host.HostPause, "paused"), (host.HostResume, "running")):
        for _ in range(2):
            assert node.call(request(uuid=spec.uuid)).state == state


@pytest.mark.covers("host_reset", "host_pause")
def test_a_reset_domain_runs_also_when_it_was_paused(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    assert node.call(host.HostReset(uuid=spec.uuid)).state == "running"
    node.call(host.HostPause(uuid=spec.uuid))
    assert node.call(host.HostReset(uuid=spec.uuid)).state == "running"


@pytest.mark.parametrize("request_class", [host.HostReset, host.HostPause, host.HostResume])
def test_what_is_off_has_no_cpus_to_halt(node: Subject, request_class: type) -> None:
    spec = create(node)
    assert refusal(node, request_class(uuid=spec.uuid)) == "guest_stopped"
    assert refusal(node, request_class(uuid=str(uuid.uuid4()))) == "no_such_domain"


@pytest.mark.covers("host_autostart", "host_create")
def test_autostart_stays_as_it_was_set_when_the_domain_is_defined_anew(node: Subject) -> None:
    spec = create(node)
    assert not node.call(host.HostInfo(uuid=spec.uuid)).autostart
    for enabled in (True, False, True):
        assert node.call(host.HostAutostart(uuid=spec.uuid, enabled=enabled)).autostart is enabled
        assert node.call(host.HostInfo(uuid=spec.uuid)).autostart is enabled
    again = node.call(host.HostCreate(spec=dataclasses.replace(spec, title="again", autostart=True)))
    assert again.autostart
    assert not node.call(host.HostCreate(spec=spec)).autostart


@pytest.mark.covers("host_delete")
def test_a_deleted_domain_is_gone_and_deleting_again_is_success(node: Subject) -> None:
    spec = create(node)
    assert node.call(host.HostDelete(uuid=spec.uuid)) == Nothing()
    assert node.call(host.HostInfo(uuid=spec.uuid)) == host.HostState(spec.uuid, False)
    assert node.call(host.HostDelete(uuid=spec.uuid)) == Nothing()


def test_a_running_domain_is_not_deleted(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    assert refusal(node, host.HostDelete(uuid=spec.uuid)) == "in_use"
    assert node.call(host.HostInfo(uuid=spec.uuid)).state == "running"


@pytest.mark.covers("hosts_read")
def test_the_list_has_every_domain_without_its_xml(node: Subject) -> None:
    on, off = create(node), create(node)
    node.call(host.HostStart(uuid=on.uuid))
    hosts = {each.uuid: each for each in node.call(host.HostsRead()).hosts}
    assert (hosts[on.uuid].state, hosts[off.uuid].state) == ("running", "shut off")
    assert {each.xml for each in hosts.values()} == {""}


@pytest.mark.covers("guest_wait")
def test_waiting_ends_when_the_guest_answers(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    with socket.create_server(("127.0.0.1", 0)) as server:
        wait = host.GuestWait(uuid=spec.uuid, address="127.0.0.1", port=server.getsockname()[1], timeout_seconds=5)
        assert node.call(wait).seconds < 5


def test_waiting_ends_with_the_deadline_when_no_guest_answers(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    node.silence_guest(spec.uuid)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    wait = host.GuestWait(uuid=spec.uuid, address="127.0.0.1", port=port, timeout_seconds=0.5)
    assert refusal(node, wait) == "deadline"


def test_waiting_for_a_guest_that_is_off_ends_at_once(node: Subject) -> None:
    spec = create(node)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert refusal(node, host.GuestWait(uuid=spec.uuid, address="127.0.0.1", port=port)) == "guest_stopped"


@pytest.mark.parametrize("address", ["-f", "example.org", "10.0.0.1; reboot", ""])
def test_a_guest_is_waited_for_at_an_ip_address_only(node: Subject, address: str) -> None:
    spec = create(node)
    assert refusal(node, host.GuestWait(uuid=spec.uuid, address=address, port=0)) == "invalid_params"


@pytest.mark.covers("console_open")
def test_a_vm_that_is_off_has_no_console(node: Subject) -> None:
    spec = create(node)
    assert refusal(node, host.ConsoleOpen(uuid=spec.uuid, password="12345678")) == "guest_stopped"


def test_a_console_password_of_another_length_is_refused(node: Subject) -> None:
    spec = create(node)
    node.call(host.HostStart(uuid=spec.uuid))
    assert refusal(node, host.ConsoleOpen(uuid=spec.uuid, password="short")) == "invalid_params"


def test_a_serial_port_that_cannot_be_had_is_refused_by_a_code(node: Subject) -> None:
    # The agent that serves a port is one of its own, and libvirt's test driver has other domains for each.
    with pytest.raises(NodeError) as refused:
        node.client.open_serial(str(uuid.uuid4()))
    assert code_of(refused.value) == "no_such_domain"
    # The one that converses goes on beside it.
    assert not node.call(host.HostInfo(uuid=str(uuid.uuid4()))).exists


@pytest.mark.covers("host_picture")
def test_a_vm_that_runs_has_a_picture_of_its_screen(node: Subject) -> None:
    spec = create(node)
    assert refusal(node, host.HostPicture(uuid=spec.uuid)) == "guest_stopped"
    node.call(host.HostStart(uuid=spec.uuid))
    assert base64.b64decode(node.call(host.HostPicture(uuid=spec.uuid)).png).startswith(b"\x89PNG")


def test_the_description_of_a_domain_is_what_libvirt_keeps(node: Subject) -> None:
    spec = create(node, memory_mib=768)
    xml = node.call(host.HostInfo(uuid=spec.uuid)).xml
    if isinstance(node, AgentSubject):
        assert f"<memory unit='KiB'>{768 * 1024}</memory>" in xml
    else:
        assert xml == ""


def test_what_uefi_remembers_is_listed_until_its_domain_is_deleted(node: Subject) -> None:
    spec = create(node)
    if isinstance(node, FakeSubject):
        node.node.nvram[spec.uuid] = 1
    elif isinstance(node, AgentSubject):
        folder = node.agent.root / "var/lib/libvirt/qemu/nvram"
        folder.mkdir(parents=True)
        # The second is of a domain that we did not describe.
        for name in (spec.uuid, "by-hand"):
            (folder / f"{name}_VARS.fd").write_bytes(b"")
    assert node.call(host.HostsRead()).nvram == [spec.uuid]
    node.call(host.HostDelete(uuid=spec.uuid))
    assert node.call(host.HostsRead()).nvram == []


def test_a_domain_that_was_renamed_by_hand_has_its_own_name_again_once_it_is_off(node: Subject) -> None:
    spec = create(node)
    node.call(guest.HostRename(uuid=spec.uuid, name="by-hand"))
    assert node.call(host.HostCreate(spec=spec)).name == spec.name
    node.call(guest.HostRename(uuid=spec.uuid, name="by-hand"))
    node.call(host.HostStart(uuid=spec.uuid))
    assert refusal(node, host.HostCreate(spec=spec)) == "in_use"
    node.call(host.HostStop(uuid=spec.uuid))
    assert node.call(host.HostCreate(spec=spec)).name == spec.name
    assert [each.name for each in node.call(host.HostsRead()).hosts] == [spec.name]
