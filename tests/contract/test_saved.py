"""A domain whose memory libvirt keeps (virsh managedsave) is neither off nor on, on both kinds of node."""

from __future__ import annotations

import dataclasses
import uuid

import pytest

from nodeagent.protocol import audit, guest, host, snapshot
from panel.core.errors import CommandFailed
from tests.contract.subjects import Subject, make_spec


@pytest.fixture
def saved(node: Subject) -> host.DomainSpec:
    """A domain that ran until its memory was saved."""
    spec = make_spec(node.pool)
    node.call(host.HostCreate(spec=spec))
    node.call(host.HostStart(uuid=spec.uuid))
    node.save_memory(spec.uuid)
    return spec


def state(node: Subject, spec: host.DomainSpec) -> str:
    """What the node says of it."""
    return node.call(host.HostInfo(uuid=spec.uuid)).state


@pytest.mark.covers("host_info", "hosts_read")
def test_its_state_is_a_word_of_its_own(node: Subject, saved: host.DomainSpec) -> None:
    assert state(node, saved) == "saved"
    assert [each.state for each in node.call(host.HostsRead()).hosts if each.uuid == saved.uuid] == ["saved"]
    foreign = node.call(audit.HostsAudit(specs=[])).foreign
    assert [each.state for each in foreign if each.uuid == saved.uuid] == ["saved"]


def test_it_goes_on_at_its_next_start_also_where_that_was_to_be_from_an_iso(
    node: Subject, saved: host.DomainSpec
) -> None:
    started = node.call(host.HostStart(uuid=saved.uuid, from_iso=True))
    assert (started.state, started.from_iso) == ("running", False)
    node.call(host.HostStop(uuid=saved.uuid))
    assert state(node, saved) == "shut off"


def test_it_is_off_already_for_whoever_wants_it_off_and_keeps_its_memory(node: Subject, saved: host.DomainSpec) -> None:
    assert node.call(host.HostShutdown(uuid=saved.uuid, timeout_seconds=1)).state == "saved"
    assert node.call(host.HostStop(uuid=saved.uuid)).state == "saved"


@pytest.mark.covers("host_create")
def test_nothing_that_its_memory_knows_is_changed(node: Subject, saved: host.DomainSpec) -> None:
    other = dataclasses.replace(saved, memory_mib=256)
    requests = (
        host.HostCreate(spec=other),
        audit.HostConfigure(spec=other),
        audit.HostRepair(spec=other),
        guest.HostRename(uuid=saved.uuid, name="another"),
        snapshot.SnapshotCreate(uuid=saved.uuid, name=str(uuid.uuid4()), with_memory=False),
    )
    for request in requests:
        with pytest.raises(CommandFailed) as refused:
            node.call(request)
        assert refused.value.data["agent_code"] == "memory_saved", request
    assert state(node, saved) == "saved"


@pytest.mark.covers("host_discard_saved")
def test_its_memory_can_be_discarded_and_again(node: Subject, saved: host.DomainSpec) -> None:
    for _ in range(2):
        assert node.call(host.HostDiscardSaved(uuid=saved.uuid)).state == "shut off"
    node.call(host.HostCreate(spec=saved))
    node.call(host.HostStart(uuid=saved.uuid))
    assert node.call(host.HostDiscardSaved(uuid=saved.uuid)).state == "running"
    assert not node.call(host.HostDiscardSaved(uuid=str(uuid.uuid4()))).exists


@pytest.mark.covers("host_delete")
def test_it_is_deleted_with_its_memory(node: Subject, saved: host.DomainSpec) -> None:
    node.call(host.HostDelete(uuid=saved.uuid))
    assert not node.call(host.HostInfo(uuid=saved.uuid)).exists
