"""Pools, images, volumes and seeds behave alike on the fake node and on the real agent."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from nodeagent.protocol import Nothing, Request, devices, host, identity, storage
from nodeagent.storage import place
from panel.core.errors import CommandFailed, NodeError, NodeRefused
from tests.contract.subjects import (
    MIB,
    AgentSubject,
    Subject,
    code_of,
    make_image,
    make_spec,
    put_image,
    upload,
)
from tests.refs import directory, ref

GUEST = identity.GuestIdentity(
    hostname="vm-1",
    login="admin",
    address="10.77.0.5",
    prefix=24,
    gateway="10.77.0.1",
    mac="52:54:00:12:34:56",
    nameservers=["10.77.0.1"],
    ssh_keys=["ssh-ed25519 AAAA me"],
    password_hash="$6$salt$hash",
)


def refusal(node: Subject, request: Request[object]) -> str:
    """The code with which the node refuses."""
    with pytest.raises(NodeError) as caught:
        node.call(request)
    return code_of(caught.value)


def volume(node: Subject, name: str = "v.qcow2") -> str:
    """The path of a volume."""
    return f"{node.pool}/volumes/{name}"


def files(node: Subject) -> dict[str, list[str]]:
    """The names in the pool."""
    return node.call(storage.PoolList(pool=directory(node.pool))).files


@pytest.mark.covers("pool_ensure", "pool_info", "pool_list")
def test_a_new_pool_is_empty_and_has_room(node: Subject) -> None:
    state = node.call(storage.PoolEnsure(pool=directory(node.pool)))
    assert 0 < state.free_bytes <= state.capacity_bytes
    assert node.call(storage.PoolInfo(pool=directory(node.pool))).capacity_bytes == state.capacity_bytes
    assert files(node) == {"images": [], "volumes": [], "seeds": []}


def test_an_existing_pool_is_left_as_it_is(node: Subject) -> None:
    node.call(storage.VolumeCreate(volume=ref(volume(node)), size_bytes=MIB))
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    assert files(node)["volumes"] == ["v.qcow2"]


@pytest.mark.parametrize("path", ["relative/pool", "/", "/pool", "/var/../pool/x"])
def test_a_pool_needs_an_absolute_path_of_two_folders(node: Subject, path: str) -> None:
    assert refusal(node, storage.PoolEnsure(pool=directory(path))) == "invalid_params"
    assert refusal(node, storage.PoolInfo(pool=directory(path))) == "invalid_params"


def test_the_room_of_a_pool_that_is_not_there_is_not_told(node: Subject) -> None:
    assert refusal(node, storage.PoolInfo(pool=directory(f"{node.pool}-other"))) == "invalid_params"


def test_a_pool_keeps_the_mark_that_it_was_given_first(node: Subject) -> None:
    mark = node.call(storage.PoolInfo(pool=directory(node.pool))).mark
    assert len(mark) == 32
    assert node.call(storage.PoolEnsure(pool=directory(node.pool))).mark == mark
    other = node.call(storage.PoolEnsure(pool=directory(f"{node.pool}-other"))).mark
    assert other not in ("", mark)


@pytest.mark.covers("pool_sign", "pool_sign_status")
def test_a_sign_is_seen_from_when_it_is_put_there_until_it_is_taken_away(node: Subject) -> None:
    sign, look = "a" * 32, storage.PoolSignStatus(pool=directory(node.pool), sign="a" * 32)
    assert not node.call(look).seen
    for _ in range(2):
        node.call(storage.PoolSign(pool=directory(node.pool), sign=sign))
    assert node.call(look).seen
    assert not node.call(storage.PoolSignStatus(pool=directory(node.pool), sign="b" * 32)).seen
    for _ in range(2):
        node.call(storage.PoolSign(pool=directory(node.pool), sign=sign, present=False))
    assert not node.call(look).seen
    assert files(node) == {"images": [], "volumes": [], "seeds": []}


@pytest.mark.parametrize("sign", ["", "x", "../" + "a" * 29, "A" * 32, "a" * 32 + "\n"])
def test_a_sign_that_could_be_another_file_is_refused(node: Subject, sign: str) -> None:
    assert refusal(node, storage.PoolSign(pool=directory(node.pool), sign=sign)) == "invalid_params"
    assert refusal(node, storage.PoolSignStatus(pool=directory(node.pool), sign=sign)) == "invalid_params"


def test_there_is_no_sign_where_there_is_no_pool(node: Subject) -> None:
    path = f"{node.pool}-other"
    assert refusal(node, storage.PoolSign(pool=directory(path), sign="a" * 32)) == "invalid_params"
    assert not node.call(storage.PoolSignStatus(pool=directory(path), sign="a" * 32)).seen


def test_a_sign_that_somebody_left_goes_with_the_next_one(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    left = Path(node.pool) / f".vmpanel-sign-{'a' * 32}"
    left.touch()
    node.call(storage.PoolSign(pool=directory(node.pool), sign="b" * 32))
    assert left.exists()
    os.utime(left, (0, 0))
    node.call(storage.PoolSign(pool=directory(node.pool), sign="c" * 32))
    assert not left.exists()
    node.call(storage.PoolRemove(pool=directory(node.pool)))
    assert not Path(node.pool).exists()


@pytest.mark.covers("pool_remove")
def test_a_pool_with_volumes_is_not_removed(node: Subject) -> None:
    node.call(storage.VolumeCreate(volume=ref(volume(node)), size_bytes=MIB))
    assert refusal(node, storage.PoolRemove(pool=directory(node.pool))) == "in_use"
    node.call(storage.VolumeDelete(volume=ref(volume(node))))
    for _ in range(2):
        assert node.call(storage.PoolRemove(pool=directory(node.pool))) == Nothing()
    assert refusal(node, storage.PoolInfo(pool=directory(node.pool))) == "invalid_params"


def test_a_pool_is_removed_with_its_images(node: Subject, image: Path) -> None:
    put_image(node, image)
    node.call(storage.PoolRemove(pool=directory(node.pool)))
    assert files(node) == {"images": [], "volumes": [], "seeds": []}


@pytest.mark.covers("image_status", "image_commit")
def test_an_image_is_present_from_its_commit_on(node: Subject, image: Path) -> None:
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    status = storage.ImageStatus(store=directory(node.pool), sha256=sha256)
    assert not node.call(status).present
    assert put_image(node, image) == sha256
    state = node.call(status)
    assert state.present
    assert files(node)["images"] == [f"{sha256}.img"]


@pytest.mark.covers("images_tidy")
def test_copies_that_nobody_keeps_or_uses_are_removed_once_they_are_old(node: Subject, tmp_path: Path) -> None:
    sums = []
    for name in ("kept", "in a drive", "gone"):
        file = tmp_path / "image"
        file.write_bytes(name.encode() * 1000)
        sums.append(put_image(node, file))
    kept, in_drive, gone = sums
    tidy = storage.ImagesTidy(store=directory(node.pool), keep=[kept])
    assert node.call(tidy).removed == []
    for each in sums:
        node.age(f"{node.pool}/images/{each}.img", 3601)
    spec = dataclasses.replace(make_spec(node.pool), cdroms=[ref(f"{node.pool}/images/{in_drive}.img")])
    node.call(host.HostCreate(spec=spec))
    assert node.call(tidy).removed == [gone]
    assert node.call(tidy).removed == []
    assert files(node)["images"] == sorted(f"{each}.img" for each in (kept, in_drive))
    node.call(host.HostDelete(uuid=spec.uuid))
    assert node.call(tidy).removed == [in_drive]


@pytest.mark.parametrize("sha256", ["", "x", "../" * 5, "A" * 64])
def test_a_sum_to_be_kept_that_is_none_is_refused_before_anything_is_removed(node: Subject, sha256: str) -> None:
    assert refusal(node, storage.ImagesTidy(store=directory(node.pool), keep=[sha256])) == "invalid_params"


def test_an_image_with_other_bytes_is_refused_and_removed(node: Subject, image: Path) -> None:
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    node.damage_upload(upload(node, image, sha256))
    assert refusal(node, storage.ImageCommit(store=directory(node.pool), sha256=sha256)) == "corrupt"
    assert files(node)["images"] == []


@pytest.mark.covers("upload_delete")
def test_two_tasks_send_one_image_without_meeting(node: Subject, image: Path) -> None:
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    assert len({upload(node, image, sha256, task) for task in (1, 2, 3)}) == 3
    for _ in range(2):
        assert node.call(storage.UploadDelete(store=directory(node.pool), sha256=sha256, task=3)) == Nothing()
    assert node.call(storage.ImageCommit(directory(node.pool), sha256, task=1)).present
    assert node.call(storage.ImageCommit(directory(node.pool), sha256, task=2)).present
    assert files(node)["images"] == [f"{sha256}.img"]


@pytest.mark.covers("upload_begin")
def test_what_arrives_of_an_image_when_its_task_was_undone_leaves_nothing(node: Subject, image: Path) -> None:
    """Its stream has no fence: a cancelled or lost worker's may be slower than whoever takes back what it did."""
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    path = upload(node, image, sha256, task=1)
    node.call(storage.UploadDelete(store=directory(node.pool), sha256=sha256, task=1))
    with pytest.raises(NodeRefused):
        node.client.upload(image, path, deadline=10)
    assert files(node)["images"] == []
    # An earlier attempt's file is none that a later one goes on with.
    for _ in range(2):
        node.call(storage.UploadBegin(directory(node.pool), sha256, task=1))
        assert refusal(node, storage.ImageCommit(directory(node.pool), sha256, task=1)) == "corrupt"


def test_committing_what_was_not_uploaded_is_refused(node: Subject) -> None:
    assert refusal(node, storage.ImageCommit(store=directory(node.pool), sha256="0" * 64)) == "invalid_params"


def test_committing_again_is_success(node: Subject, image: Path) -> None:
    sha256 = put_image(node, image)
    assert node.call(storage.ImageCommit(store=directory(node.pool), sha256=sha256)).present
    upload(node, image, sha256)
    assert node.call(storage.ImageCommit(store=directory(node.pool), sha256=sha256)).present
    assert files(node)["images"] == [f"{sha256}.img"]


@pytest.mark.parametrize("sha256", ["../../etc/passwd", "A" * 64, "0" * 63, ""])
def test_only_a_sha256_names_an_image(node: Subject, sha256: str) -> None:
    assert refusal(node, storage.ImageStatus(store=directory(node.pool), sha256=sha256)) == "invalid_params"


@pytest.mark.covers("volume_copy", "volume_info", "volume_delete")
@pytest.mark.parametrize("source", ["qcow2", "raw"])
@pytest.mark.parametrize("target", ["qcow2", "raw"])
def test_a_copied_volume_has_the_image_s_size(node: Subject, tmp_path: Path, source: str, target: str) -> None:
    sha256 = put_image(node, make_image(tmp_path, size_mib=8, fmt=source))
    copy = storage.VolumeCopy(ref(volume(node)), directory(node.pool), sha256, format=target, image_format=source)
    state = node.call(copy)
    assert (state.exists, state.format, state.virtual_bytes) == (True, target, 8 * MIB)
    info = storage.VolumeInfo(volume=ref(volume(node)), format=target)
    assert node.call(info) == state
    assert files(node)["volumes"] == ["v.qcow2"]
    for _ in range(2):
        assert node.call(storage.VolumeDelete(volume=ref(volume(node)))) == Nothing()
    assert node.call(info) == storage.VolumeState(False)


def test_copying_again_leaves_the_finished_volume(node: Subject, image: Path) -> None:
    sha256 = put_image(node, image)
    copy = storage.VolumeCopy(volume=ref(volume(node)), store=directory(node.pool), image_sha256=sha256)
    node.call(copy)
    node.call(storage.VolumeGrow(volume=ref(volume(node)), size_bytes=16 * MIB))
    assert node.call(copy).virtual_bytes == 16 * MIB


def test_an_image_that_the_pool_lacks_is_not_copied(node: Subject) -> None:
    copy = storage.VolumeCopy(volume=ref(volume(node)), store=directory(node.pool), image_sha256="0" * 64)
    assert refusal(node, copy) == "invalid_params"
    assert files(node)["volumes"] == []


@pytest.mark.covers("volume_create")
def test_an_empty_volume_is_made_once(node: Subject) -> None:
    create = storage.VolumeCreate(volume=ref(volume(node)), size_bytes=4 * MIB)
    state = node.call(create)
    assert (state.format, state.virtual_bytes) == ("qcow2", 4 * MIB)
    assert node.call(create) == state
    assert refusal(node, dataclasses.replace(create, size_bytes=8 * MIB)) == "exists"


@pytest.mark.parametrize(("kind", "size_bytes"), [("qcow2", 5 * MIB), ("raw", 3 * MIB + 100)])
def test_a_volume_is_read_as_qemu_img_reads_it(node: Subject, kind: str, size_bytes: int) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no files")
    node.call(storage.VolumeCreate(volume=ref(volume(node)), size_bytes=5 * MIB, format=kind))
    if kind == "raw":
        os.truncate(volume(node), size_bytes)
    program = ["qemu-img", "info", "-f", kind, "--output=json", volume(node)]
    told = json.loads(subprocess.run(program, check=True, capture_output=True).stdout)
    state = node.call(storage.VolumeInfo(volume=ref(volume(node)), format=kind))
    assert state == storage.VolumeState(True, kind, told["virtual-size"], told["actual-size"])


def test_what_is_no_volume_of_its_format_is_not_read_as_one(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no files")
    Path(volume(node)).write_text("this is no qcow2")
    with pytest.raises(NodeError, match="qemu-img"):
        node.call(storage.VolumeInfo(volume=ref(volume(node)), format="qcow2"))


def test_a_volume_has_a_format_that_we_know(node: Subject) -> None:
    create = storage.VolumeCreate(volume=ref(volume(node)), size_bytes=MIB, format="vmdk")
    assert refusal(node, create) == "invalid_params"


@pytest.mark.covers("volume_grow")
def test_a_volume_grows_and_never_shrinks(node: Subject) -> None:
    node.call(storage.VolumeCreate(volume=ref(volume(node)), size_bytes=4 * MIB))
    assert node.call(storage.VolumeGrow(volume=ref(volume(node)), size_bytes=8 * MIB)).virtual_bytes == 8 * MIB
    assert node.call(storage.VolumeGrow(volume=ref(volume(node)), size_bytes=MIB)).virtual_bytes == 8 * MIB


def test_a_volume_that_is_not_there_does_not_grow(node: Subject) -> None:
    assert refusal(node, storage.VolumeGrow(volume=ref(volume(node)), size_bytes=MIB)) == "invalid_params"


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "{pool}/x", "{pool}/volumes/../../x", "{pool}/volumes/a/b", "{pool}/volumes/"]
)
def test_a_path_outside_of_the_pool_is_refused(node: Subject, path: str) -> None:
    where = path.format(pool=node.pool)
    for request in (
        storage.VolumeCreate(volume=ref(where), size_bytes=MIB),
        storage.VolumeInfo(volume=ref(where)),
        storage.VolumeDelete(volume=ref(where)),
        storage.VolumeGrow(volume=ref(where), size_bytes=MIB),
        identity.SeedCreate(seed=ref(where), instance_id="i", guest=GUEST),
        identity.SeedDelete(seed=ref(where)),
        identity.VolumeCustomize(volume=ref(where), guest=GUEST),
    ):
        assert refusal(node, request) == "invalid_params"


def test_a_symbolic_link_does_not_lead_out_of_the_pool(node: Subject, tmp_path: Path) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no file system")
    secret = tmp_path / "secret"
    secret.write_text("kept")
    (Path(node.pool) / "volumes" / "link").symlink_to(secret)
    assert refusal(node, storage.VolumeDelete(volume=ref(volume(node, "link")))) == "invalid_params"
    assert secret.read_text() == "kept"


def test_qemu_passes_through_a_pool_whatever_the_agents_umask_made_of_it(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no file system")
    pool = Path(node.pool)
    for folder in (pool, pool / "volumes"):
        folder.chmod(0o700)
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    assert {oct(folder.stat().st_mode & 0o777) for folder in (pool, pool / "volumes")} == {"0o711"}


@pytest.mark.covers("seed_create", "seed_delete")
def test_a_seed_is_there_until_it_is_deleted(node: Subject) -> None:
    path = f"{node.pool}/seeds/vm.iso"
    for _ in range(2):
        state = node.call(identity.SeedCreate(seed=ref(path), instance_id="i-1", guest=GUEST))
        assert (state.exists, state.format) == (True, "raw")
        assert files(node)["seeds"] == ["vm.iso"]
    for _ in range(2):
        assert node.call(identity.SeedDelete(seed=ref(path))) == Nothing()
    assert files(node)["seeds"] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostname", "a\nLOGIN=root"),
        ("hostname", ""),
        ("login", "root;reboot"),
        ("address", "10.0.0.1 "),
        ("prefix", 33),
        ("gateway", "gw"),
        ("mac", "52:54:00"),
        ("nameservers", ["8.8.8.8\nX=1"]),
        ("ssh_keys", ["ssh-ed25519 AAAA\nssh-rsa BBBB"]),
        ("password_hash", "x\nroot:y"),
        ("timezone", "../x"),
    ],
)
def test_an_identity_that_could_mean_something_else_is_refused(node: Subject, field: str, value: object) -> None:
    guest = dataclasses.replace(GUEST, **{field: value})  # type: ignore[arg-type]
    seed = identity.SeedCreate(seed=ref(f"{node.pool}/seeds/vm.iso"), instance_id="i", guest=guest)
    assert refusal(node, seed) == "invalid_params"
    assert files(node)["seeds"] == []


@pytest.mark.covers("volume_customize")
def test_a_volume_that_is_not_there_is_not_customized(node: Subject) -> None:
    assert refusal(node, identity.VolumeCustomize(volume=ref(volume(node)), guest=GUEST)) == "invalid_params"


@pytest.mark.parametrize(("name", "fmt", "qcow2_bytes"), [("v.qcow2", "qcow2", 8 * MIB), ("v.raw", "raw", 0)])
def test_a_pool_s_list_tells_how_large_its_volumes_are(node: Subject, name: str, fmt: str, qcow2_bytes: int) -> None:
    path = volume(node, name)
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=8 * MIB, format=fmt))
    sizes = node.call(storage.PoolList(pool=directory(node.pool))).sizes
    assert list(sizes) == [name]
    assert sizes[name].qcow2_bytes == qcow2_bytes
    assert fmt == "qcow2" or sizes[name].file_bytes == 8 * MIB
    node.call(storage.VolumeGrow(volume=ref(path), size_bytes=16 * MIB, format=fmt))
    grown = node.call(storage.PoolList(pool=directory(node.pool))).sizes[name]
    assert (grown.qcow2_bytes or grown.file_bytes) == 16 * MIB
    node.call(storage.VolumeDelete(volume=ref(path)))
    assert node.call(storage.PoolList(pool=directory(node.pool))).sizes == {}


def volume_of(node: Subject, spec: host.DomainSpec) -> str:
    """The domain's disk is there; answers its path."""
    path = place(spec.disks[0].volume)
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=4 * MIB))
    return path


@pytest.mark.covers("uses_read")
def test_a_file_that_a_domain_has_is_told_and_not_deleted(node: Subject) -> None:
    spec, other = make_spec(node.pool, name="mine"), make_spec(node.pool, name="other")
    path = volume_of(node, spec)
    # Another domain, which nobody told the panel of, has the same disk.
    disk = dataclasses.replace(spec.disks[0], target="vdz")
    seed = place(other.cdroms[0])
    node.call(host.HostCreate(spec=dataclasses.replace(other, disks=[disk], cdroms=[ref(seed)])))
    use = storage.VolumeUse(path, other.uuid, "other", "vdz")
    assert node.call(storage.UsesRead(volumes=[ref(path)])) == storage.VolumeUses([use])
    assert use in node.call(storage.UsesRead()).uses
    with pytest.raises(CommandFailed, match=r"the disk vdz of the domain “other”. It is not deleted") as caught:
        node.call(storage.VolumeDelete(volume=ref(path)))
    assert code_of(caught.value) == "in_use"
    assert node.call(storage.VolumeInfo(volume=ref(path))).exists
    assert [each.place for each in node.call(storage.UsesRead(uuid=other.uuid)).uses] == sorted([path, seed])
    # Running, with another description by now.
    node.call(host.HostStart(uuid=other.uuid))
    node.call(host.HostCreate(spec=dataclasses.replace(other, disks=[], cdroms=[])))
    with pytest.raises(CommandFailed, match="vdz"):
        node.call(storage.VolumeDelete(volume=ref(path)))
    node.call(host.HostStop(uuid=other.uuid))
    node.call(storage.VolumeDelete(volume=ref(path)))
    assert not node.call(storage.VolumeInfo(volume=ref(path))).exists


def test_what_a_domains_disk_builds_upon_is_neither_deleted_nor_changed(node: Subject) -> None:
    spec = make_spec(node.pool, name="mine")
    path = volume_of(node, spec)
    over = f"{path}.by-hand"
    node.build_upon(path, over)
    node.call(
        host.HostCreate(spec=dataclasses.replace(spec, disks=[dataclasses.replace(spec.disks[0], volume=ref(over))]))
    )
    assert (
        storage.VolumeUse(path, spec.uuid, "mine", "vda", True) in node.call(storage.UsesRead(volumes=[ref(path)])).uses
    )
    for request in (
        storage.VolumeDelete(volume=ref(path)),
        storage.VolumeGrow(volume=ref(path), size_bytes=8 * MIB),
        devices.DiskGrow(uuid=spec.uuid, volume=ref(path), size_bytes=8 * MIB),
    ):
        with pytest.raises(CommandFailed, match="of the domain “mine”") as caught:
            node.call(request)
        assert code_of(caught.value) == "in_use"
    assert node.call(storage.VolumeInfo(volume=ref(path))).virtual_bytes == 4 * MIB


def test_a_file_that_somebody_has_open_is_not_deleted(node: Subject) -> None:
    spec = make_spec(node.pool, name="mine")
    path = volume_of(node, spec)
    with node.opened(path), pytest.raises(CommandFailed, match=r"open\. It is not deleted") as caught:
        node.call(storage.VolumeDelete(volume=ref(path)))
    assert code_of(caught.value) == "in_use"
    node.call(storage.VolumeDelete(volume=ref(path)))
