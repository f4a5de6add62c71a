"""What every kind of storage does, on a kind that is one file: the fake and the real agent alike."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.protocol import Nothing, Request, guest, host, storage
from nodeagent.storage import place
from panel.core.errors import NodeError
from tests.contract.subjects import MIB, AgentSubject, FakeSubject, Subject, code_of, make_spec, put_image
from tests.kinds import memory_agent
from tests.refs import directory

POOL = storage.PoolRef("memory", "quick", {"cell": "a"})
VOLUME, OTHER = storage.VolumeRef(POOL, "a.qcow2"), storage.VolumeRef(POOL, "b.qcow2")


@pytest.fixture(params=["fake", "agent"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """A node that has one file more than ours, and a pool of that kind."""
    subject: Subject = FakeSubject()
    if request.param == "agent":
        subject = AgentSubject(tmp_path / "agent", netns=False)
        own = tmp_path / "agent/root/etc/vmpanel/storage"
        own.mkdir(parents=True)
        shutil.copy(memory_agent.__file__, own / "memory.py")
        (own / "memory.py").chmod(0o600)
        (own / "broken.py").write_text("raise ValueError")
    try:
        subject.call(storage.PoolEnsure(POOL))
        yield subject
    finally:
        if isinstance(subject, AgentSubject):
            subject.agent.stop()


def refusal(node: Subject, request: Request[object]) -> str:
    """The code with which the node refuses."""
    with pytest.raises(NodeError) as caught:
        node.call(request)
    return code_of(caught.value)


def volumes(node: Subject) -> list[str]:
    """The names in the pool."""
    return node.call(storage.PoolList(POOL)).files["volumes"]


def test_a_pool_is_made_once_and_goes_when_it_is_empty(node: Subject) -> None:
    assert node.call(storage.PoolInfo(POOL)).free_bytes > 0
    node.call(storage.VolumeCreate(VOLUME, 4 * MIB))
    node.call(storage.PoolEnsure(POOL, begin=False))
    assert volumes(node) == ["a.qcow2"]
    assert refusal(node, storage.PoolRemove(POOL)) == "in_use"
    node.call(storage.VolumeDelete(VOLUME))
    node.call(storage.PoolRemove(POOL))
    assert refusal(node, storage.PoolInfo(POOL)) == "invalid_params"
    assert refusal(node, storage.PoolEnsure(POOL, begin=False)) == "not_mounted"


def test_a_pool_has_the_options_that_its_kind_needs(node: Subject) -> None:
    for wrong in (dataclasses.replace(POOL, options={}), dataclasses.replace(POOL, kind="unknown")):
        assert refusal(node, storage.PoolEnsure(wrong)) == "invalid_params"
        assert refusal(node, storage.VolumeInfo(storage.VolumeRef(wrong, "a"))) == "invalid_params"
        assert refusal(node, storage.PoolInfo(wrong)) == "invalid_params"


def test_a_volume_is_made_grows_never_shrinks_and_goes(node: Subject) -> None:
    create = storage.VolumeCreate(VOLUME, 4 * MIB)
    assert node.call(create) == node.call(create)
    assert refusal(node, storage.VolumeCreate(VOLUME, 8 * MIB)) == "exists"
    assert refusal(node, storage.VolumeCreate(OTHER, MIB, "vmdk")) == "invalid_params"
    for asked, has in ((8, 8), (2, 8)):
        assert node.call(storage.VolumeGrow(VOLUME, asked * MIB)).virtual_bytes == has * MIB
    assert node.call(storage.PoolList(POOL)).sizes["a.qcow2"].qcow2_bytes == 8 * MIB
    assert refusal(node, storage.VolumeGrow(OTHER, MIB)) == "invalid_params"
    for _ in range(2):
        assert node.call(storage.VolumeDelete(VOLUME)) == Nothing()
    assert not node.call(storage.VolumeInfo(VOLUME)).exists
    for name in ("", "..", "a/b"):
        assert refusal(node, storage.VolumeInfo(storage.VolumeRef(POOL, name))) == "invalid_params"


def test_a_volume_is_made_of_an_image_and_of_another_volume(node: Subject, image: Path) -> None:
    node.call(storage.PoolEnsure(directory(node.pool)))
    copy = storage.VolumeCopy(VOLUME, directory(node.pool), put_image(node, image))
    assert node.call(copy).virtual_bytes == 8 * MIB
    node.call(storage.VolumeGrow(VOLUME, 16 * MIB))
    assert node.call(copy).virtual_bytes == 16 * MIB, "it is finished"
    assert node.call(guest.VolumeClone(OTHER, VOLUME)).virtual_bytes == 16 * MIB
    nothing = storage.VolumeRef(POOL, "none")
    assert refusal(node, guest.VolumeClone(storage.VolumeRef(POOL, "c"), nothing)) == "invalid_params"
    assert volumes(node) == ["a.qcow2", "b.qcow2"]


def test_a_domain_has_a_volume_of_it_which_is_told_and_not_deleted(node: Subject) -> None:
    node.call(storage.VolumeCreate(VOLUME, 4 * MIB))
    disk = host.DiskSpec(volume=VOLUME, format="qcow2", target="vda")
    spec = make_spec(node.pool, name="mine", disks=[disk])
    node.call(host.HostCreate(spec))
    uses = node.call(storage.UsesRead([VOLUME])).uses
    assert uses == [storage.VolumeUse(place(VOLUME), spec.uuid, "mine", "vda")]
    assert refusal(node, storage.VolumeDelete(VOLUME)) == "in_use"
    other = dataclasses.replace(spec, disks=[dataclasses.replace(disk, volume=OTHER)])
    node.call(host.HostCreate(other, before=spec))
    node.call(storage.VolumeDelete(VOLUME))


def test_another_node_s_sign_is_seen(node: Subject) -> None:
    look = storage.PoolSignStatus(POOL, "a" * 32)
    assert not node.call(look).seen
    node.call(storage.PoolSign(POOL, "a" * 32))
    assert node.call(look).seen
    node.call(storage.PoolSign(POOL, "a" * 32, present=False))
    assert not node.call(look).seen
