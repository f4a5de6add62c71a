"""A pool that is not mounted, is another one, or cannot be written to: no command touches it. Fake and agent alike."""

from __future__ import annotations

import hashlib
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.protocol import Request, devices, guest, identity, migration, storage
from panel.core.errors import NodeError
from tests.contract.subjects import MIB, AgentSubject, Subject, code_of, make_image, put_image, upload
from tests.contract.test_storage import GUEST, files, refusal, volume
from tests.refs import directory, ref

VM = str(uuid.uuid4())


def known(node: Subject) -> dict[str, storage.KnownPool]:
    """What a panel knows that has seen the pool."""
    state = node.call(storage.PoolInfo(pool=directory(node.pool)))
    return {"local": storage.KnownPool(state.mark, state.devices)}


EVERY_TOUCH: list[Callable[[Subject], Request[Any]]] = [
    lambda node: storage.PoolEnsure(pool=directory(node.pool)),
    lambda node: storage.PoolEnsure(pool=directory(node.pool), begin=False),
    lambda node: storage.PoolInfo(pool=directory(node.pool)),
    lambda node: storage.PoolList(pool=directory(node.pool)),
    lambda node: storage.PoolRemove(pool=directory(node.pool)),
    lambda node: storage.PoolSign(pool=directory(node.pool), sign="a" * 32),
    lambda node: storage.PoolSignStatus(pool=directory(node.pool), sign="a" * 32),
    lambda node: storage.ImageStatus(store=directory(node.pool), sha256="0" * 64),
    lambda node: storage.UploadBegin(directory(node.pool), "0" * 64),
    lambda node: storage.ImageCommit(store=directory(node.pool), sha256="0" * 64),
    lambda node: storage.ImagesTidy(store=directory(node.pool), keep=[]),
    lambda node: storage.UploadDelete(store=directory(node.pool), sha256="0" * 64, task=1),
    lambda node: storage.VolumeCopy(volume=ref(volume(node)), store=directory(node.pool), image_sha256="0" * 64),
    lambda node: storage.VolumeCreate(volume=ref(volume(node)), size_bytes=MIB),
    lambda node: storage.VolumeGrow(volume=ref(volume(node)), size_bytes=2 * MIB),
    lambda node: storage.VolumeInfo(volume=ref(volume(node))),
    lambda node: storage.VolumeDelete(volume=ref(volume(node))),
    lambda node: identity.VolumeCustomize(volume=ref(volume(node)), guest=GUEST),
    lambda node: identity.SeedCreate(ref(f"{node.pool}/seeds/s.iso"), "i-1", GUEST),
    lambda node: identity.SeedDelete(ref(f"{node.pool}/seeds/s.iso")),
    lambda node: guest.SeedChange(ref(f"{node.pool}/seeds/s.iso"), guest.GuestChange(hostname="b")),
    lambda node: guest.SeedRestore(ref(f"{node.pool}/seeds/s.iso"), "i-1", GUEST),
    lambda node: guest.VolumeClone(ref(volume(node, "w.qcow2")), ref(volume(node))),
    lambda node: guest.VolumeReconfigure(ref(volume(node)), "root", guest.GuestChange(hostname="b")),
    lambda node: guest.DisksCopy(VM, [guest.DiskCopy(ref(volume(node, "w.qcow2")), ref(volume(node)))]),
    lambda node: devices.DiskGrow(VM, ref(volume(node)), 2 * MIB),
    lambda node: migration.VolumeOpen(1, ref(volume(node)), "qcow2"),
]


def test_no_command_touches_a_pool_whose_file_system_is_not_mounted(node: Subject) -> None:
    node.call(storage.VolumeCreate(volume=ref(volume(node)), size_bytes=MIB))
    pools = known(node)
    node.unmount()
    for touch in EVERY_TOUCH:
        with pytest.raises(NodeError) as caught:
            node.call(touch(node), pools=pools)
        assert code_of(caught.value) == "not_mounted", touch(node)
        assert "is not mounted" in caught.value.data["text"]
    if isinstance(node, AgentSubject):
        assert list(Path(node.pool).iterdir()) == []
    node.mount()
    assert (
        node.call(storage.PoolEnsure(pool=directory(node.pool), begin=False), pools=pools).mark == pools["local"].mark
    )
    assert node.call(storage.PoolList(pool=directory(node.pool)), pools=pools).files["volumes"] == ["v.qcow2"]


def test_another_pool_in_the_place_of_the_known_one_is_not_touched(node: Subject) -> None:
    pools = {"local": storage.KnownPool("0" * 32)}
    with pytest.raises(NodeError) as caught:
        node.call(storage.VolumeCreate(volume=ref(volume(node)), size_bytes=MIB), pools=pools)
    assert code_of(caught.value) == "not_mounted"
    assert files(node)["volumes"] == []


def test_a_pool_that_was_there_before_is_not_begun_anew(node: Subject) -> None:
    node.unmount()
    assert refusal(node, storage.PoolEnsure(pool=directory(node.pool), begin=False)) == "not_mounted"
    assert node.call(storage.PoolEnsure(pool=directory(node.pool))).mark


def test_a_pool_of_before_marks_is_given_one(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    (Path(node.pool) / ".vmpanel-pool").unlink()
    mark = node.call(
        storage.PoolEnsure(pool=directory(node.pool), begin=False), pools={"local": storage.KnownPool()}
    ).mark
    assert len(mark) == 32


def test_a_pool_on_another_file_system_than_before_is_not_touched(node: Subject) -> None:
    """A copy of the pool, with its mark, that a mount has hidden, is not the pool."""
    mark = known(node)["local"].mark
    for devices_before in ({"volumes": "other"}, {"volumes": "1c7e"}):
        with pytest.raises(NodeError) as caught:
            node.call(
                storage.PoolInfo(pool=directory(node.pool)), pools={"local": storage.KnownPool(mark, devices_before)}
            )
        assert code_of(caught.value) == "not_mounted"
    assert (
        node.call(storage.PoolInfo(pool=directory(node.pool)), pools={"local": storage.KnownPool(mark, None)}).mark
        == mark
    )


@pytest.fixture
def mounted(node: Subject) -> Iterator[Path]:
    """The pool's path with a file system of its own mounted there, in place of what it was."""
    if not isinstance(node, AgentSubject) or os.geteuid() != 0:
        pytest.skip("a matter of files, for root")
    path = Path(node.pool)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(path)], check=True)
    try:
        node.call(storage.PoolEnsure(pool=directory(node.pool)))
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_pool_that_is_mounted_read_only_says_so_and_absent_files_are_deleted_from_it(
    node: Subject, mounted: Path
) -> None:
    node.call(storage.VolumeCreate(volume=ref(volume(node)), size_bytes=MIB))
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    assert node.call(storage.PoolInfo(pool=directory(node.pool))).read_only
    sha256 = "0" * 64
    for refused in (
        storage.PoolEnsure(pool=directory(node.pool), begin=False),
        storage.ImageStatus(store=directory(node.pool), sha256=sha256),
        storage.VolumeCreate(volume=ref(volume(node, "w.qcow2")), size_bytes=MIB),
        identity.SeedCreate(ref(f"{node.pool}/seeds/s.iso"), "i-1", GUEST),
        storage.VolumeDelete(volume=ref(volume(node))),
    ):
        assert refusal(node, refused) == "read_only"
    node.call(storage.VolumeDelete(volume=ref(volume(node, "w.qcow2"))))
    node.call(identity.SeedDelete(ref(f"{node.pool}/seeds/s.iso")))
    node.call(storage.UploadDelete(store=directory(node.pool), sha256=sha256, task=1))


def test_a_pool_behind_symbolic_links_works_and_one_that_leads_nowhere_is_not_mounted(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    pool, elsewhere = Path(node.pool), Path(f"{node.pool}-disk")
    elsewhere.mkdir()
    pool.rename(elsewhere / "pool")
    pool.symlink_to(elsewhere / "pool")
    (elsewhere / "pool/volumes").rename(elsewhere / "volumes")
    (pool / "volumes").symlink_to(elsewhere / "volumes")
    node.call(storage.VolumeCreate(volume=ref(volume(node)), size_bytes=MIB))
    assert (elsewhere / "volumes/v.qcow2").exists()
    assert refusal(node, storage.VolumeDelete(volume=ref(f"{elsewhere}/other"))) == "invalid_params"
    (elsewhere / "volumes").rename(elsewhere / "away")
    assert refusal(node, storage.PoolEnsure(pool=directory(node.pool))) == "not_mounted"
    pool.unlink()
    pool.symlink_to(f"{node.pool}-nowhere")
    assert refusal(node, storage.PoolEnsure(pool=directory(node.pool))) == "not_mounted"


def refers_to_shadow(folder: Path, kind: str) -> Path:
    """An image that QEMU would read /etc/shadow for."""
    path = folder / f"{kind}.qcow2"
    if kind == "backing file":
        options = ["-b", "/etc/shadow", "-F", "raw"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "1M"], check=True)
    elif kind == "data file":
        options = ["-o", f"data_file={folder}/data,data_file_raw=on"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "1M"], check=True)
    else:
        path.write_text('# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 2 FLAT "/etc/shadow" 0\n')
    return path


@pytest.mark.parametrize("kind", ["backing file", "data file", "vmdk"])
def test_an_image_that_refers_to_other_files_is_refused_and_nothing_of_it_stays(
    node: Subject, tmp_path: Path, kind: str
) -> None:
    image = refers_to_shadow(tmp_path, kind)
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    upload(node, image, sha256)
    with pytest.raises(NodeError) as caught:
        node.call(storage.ImageCommit(store=directory(node.pool), sha256=sha256))
    assert code_of(caught.value) == "invalid_params" and "refer" in caught.value.data["text"]
    assert files(node) == {"images": [], "volumes": [], "seeds": []}


@pytest.mark.parametrize("kind", ["backing file", "data file", "vmdk"])
@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_a_copy_of_such_an_image_that_a_node_has_from_before_is_not_copied(
    node: Subject, tmp_path: Path, kind: str, image_format: str
) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    image = refers_to_shadow(tmp_path, kind)
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    image.rename(Path(node.pool) / f"images/{sha256}.img")
    for kind in ("qcow2", "raw"):
        copy = storage.VolumeCopy(ref(volume(node)), directory(node.pool), sha256, kind, image_format)
        assert refusal(node, copy) == "invalid_params"
    assert files(node)["volumes"] == []


def test_a_raw_image_is_copied_as_raw_whatever_it_looks_like(node: Subject, tmp_path: Path) -> None:
    """Its first bytes may be a qcow2 header that stands alone: who says raw gets those bytes."""
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    image = make_image(tmp_path)
    sha256, size = put_image(node, image), image.stat().st_size
    made = node.call(storage.VolumeCopy(ref(volume(node, "v.raw")), directory(node.pool), sha256, "raw", "raw"))
    assert (made.format, made.virtual_bytes) == ("raw", size)
