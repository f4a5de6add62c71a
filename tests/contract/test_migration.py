"""Moves between nodes, as far as one node shows them: the fake and the real agent refuse and repeat alike.

libvirt's test driver moves nothing; tests/lab/test_migration.py has real moves.
"""

from __future__ import annotations

import dataclasses
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodeagent.protocol import Nothing, host, migration, network, storage
from panel.core.errors import NodeError
from tests.contract.subjects import AgentSubject, Subject, code_of, make_spec
from tests.refs import directory, ref

TICKET = 4711
NOWHERE = migration.Target("127.0.0.1", 9, "root", "ssh-ed25519 AAAA", "/run/libvirt/libvirt-sock")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short name: below it are sockets, whose paths have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="v", dir="/tmp") as folder:
        yield Path(folder)


def refusal(node: Subject, request: object) -> str:
    """The code with which the node refuses."""
    with pytest.raises(NodeError) as caught:
        node.call(request)  # type: ignore[arg-type]
    return code_of(caught.value)


@pytest.fixture
def described(node: Subject) -> migration.Subject:
    """A domain that is off, described."""
    spec = make_spec(node.pool, name="mover")
    node.call(host.HostCreate(spec=spec))
    return node.call(migration.MigrationDescribe(uuid=spec.uuid))


def check(node: Subject, subject: migration.Subject, **changes: object) -> list[str]:
    """Why the node does not take it."""
    request = migration.MigrationCheck(subject, directory(node.pool), 0, 0, [], [])
    return node.call(dataclasses.replace(request, **changes)).reasons  # type: ignore[arg-type]


@pytest.mark.covers("migration_describe")
def test_a_domain_is_described_with_its_cd_roms(node: Subject, described: migration.Subject) -> None:
    assert (described.name, described.state, described.snapshots) == ("mover", "shut off", 0)
    assert described.files == [f"{node.pool}/seeds/{described.uuid}.iso"]
    assert described.machine
    assert (described.cached, described.nvram_bytes) == ([], 0)
    assert refusal(node, migration.MigrationDescribe(uuid=str(uuid.uuid4()))) == "no_such_domain"


@pytest.mark.parametrize(
    ("cache", "cached"), [("none", []), ("directsync", []), ("writeback", ["vda"]), ("writethrough", ["vda"])]
)
def test_a_disk_whose_writes_its_host_caches_is_named(node: Subject, cache: str, cached: list[str]) -> None:
    spec = make_spec(node.pool)
    spec = dataclasses.replace(spec, disks=[dataclasses.replace(spec.disks[0], cache=cache)])
    node.call(host.HostCreate(spec=spec))
    assert node.call(migration.MigrationDescribe(uuid=spec.uuid)).cached == cached


@pytest.mark.netns
@pytest.mark.covers("migration_check")
def test_each_thing_that_is_against_it_is_a_reason(node: Subject, described: migration.Subject) -> None:
    assert check(node, described) == ["a domain with this UUID is there already"]
    stranger = dataclasses.replace(described, uuid=str(uuid.uuid4()))
    assert check(node, stranger) == ["another domain is called “mover” there"]
    node.call(host.HostDelete(uuid=described.uuid))
    assert check(node, described) == []
    node.call(network.BridgeEnsure(name="vmbr-nat0", gateway="10.77.0.1/24", subnet="10.77.0.0/24"))
    assert check(node, described, bridges=["vmbr-nat0", "vmbr7"]) == ["the bridge “vmbr7” is missing"]
    missing = f"{node.pool}/seeds/none.iso"
    assert check(node, described, files=[missing]) == [f"the file {missing} is not there"]
    [reason] = check(node, described, memory_mib=1 << 40)
    assert reason.endswith(f"{1 << 40} MiB needed")
    assert check(node, described, pool=directory("/nowhere/other")) == ["the storage is not on this node"]


@pytest.mark.covers("migration_offer", "migration_accept", "migration_close")
def test_the_tunnel_is_opened_for_one_ticket_and_closed_without_a_trace(node: Subject) -> None:
    offer = node.call(migration.MigrationOffer(ticket=TICKET))
    assert node.call(migration.MigrationOffer(ticket=TICKET)) == offer
    for _ in range(2):
        tunnel = node.call(migration.MigrationAccept(ticket=TICKET, public_key=offer.public_key))
        assert tunnel.libvirt_socket.endswith("-sock")
    if isinstance(node, AgentSubject):
        keys = (node.agent.folder / "home/.ssh/authorized_keys").read_text(encoding="utf-8").splitlines()
        [line] = [line for line in keys if line.endswith(f" vmpanel-migration-{TICKET}")]
        assert line.startswith('restrict,port-forwarding,command="/bin/false",expiry-time="')
    for _ in range(2):
        assert node.call(migration.MigrationClose(ticket=TICKET)) == Nothing()
    if isinstance(node, AgentSubject):
        assert (node.agent.folder / "home/.ssh/authorized_keys").read_text(encoding="utf-8") == ""
        assert not [*node.agent.root.glob("run/libvirt/*"), *node.agent.root.glob("run/vmpanel/migrations/*")]


@pytest.mark.parametrize("there", [b"ssh-ed25519 AAAA vmpanel", b"# J\xfcrgen\n\nssh-rsa AAAA J\xfcrgen\r\n"])
def test_keys_of_others_are_let_in_as_before(node: Subject, there: bytes) -> None:
    """Also a last one that ends without a newline, and what is not UTF-8."""
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    keys = keys_before(node, there)
    offer = node.call(migration.MigrationOffer(ticket=TICKET))
    node.call(migration.MigrationAccept(ticket=TICKET, public_key=offer.public_key))
    *others, line = keys.read_bytes().rstrip(b"\n").split(b"\n")
    assert b"\n".join(others) == there.rstrip(b"\n")
    assert line.startswith(b"restrict,") and line.endswith(offer.public_key.encode())
    node.call(migration.MigrationClose(ticket=TICKET))
    assert keys.read_bytes() == there.rstrip(b"\n") + b"\n"


def test_moves_that_begin_and_end_at_the_same_time_lose_no_key(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    keys = keys_before(node, b"ssh-ed25519 AAAA vmpanel\n")

    def move(ticket: int) -> str:
        """A move of which only the beginning is seen, every second one also to its end."""
        key = f"ssh-ed25519 AAAA vmpanel-migration-{ticket}"
        node.call(migration.MigrationAccept(ticket=ticket, public_key=key))
        if ticket % 2:
            node.call(migration.MigrationClose(ticket=ticket))
        return "" if ticket % 2 else key

    with ThreadPoolExecutor(16) as pool:
        left = list(filter(None, pool.map(move, range(1, 201))))
    first, *lines = keys.read_text(encoding="ascii").splitlines()
    assert first == "ssh-ed25519 AAAA vmpanel"
    assert sorted(line.partition('" ')[2] for line in lines) == sorted(left)


def keys_before(node: AgentSubject, content: bytes) -> Path:
    """The file of the keys that the node lets in, with this content."""
    keys = node.agent.folder / "home/.ssh/authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.write_bytes(content)
    return keys


@pytest.mark.parametrize("key", ["ssh-ed25519 AAAA somebody", "ssh-rsa AAAA", 'command="x" ssh-ed25519 A'])
def test_only_the_key_of_the_ticket_is_let_in(node: Subject, key: str) -> None:
    assert refusal(node, migration.MigrationAccept(ticket=TICKET, public_key=key)) == "invalid_params"


@pytest.mark.covers("migration_run")
def test_without_a_key_nothing_is_moved(node: Subject, described: migration.Subject) -> None:
    request = migration.MigrationRun(ticket=TICKET, uuid=described.uuid, target=NOWHERE, disks=["vda"], shared=[])
    assert refusal(node, request) == "invalid_params"
    assert refusal(node, dataclasses.replace(request, uuid=str(uuid.uuid4()))) == "no_such_domain"


def test_a_target_that_does_not_let_us_in_is_told(node: Subject, described: migration.Subject) -> None:
    node.call(migration.MigrationOffer(ticket=TICKET))
    request = migration.MigrationRun(ticket=TICKET, uuid=described.uuid, target=NOWHERE, disks=["vda"], shared=[])
    assert refusal(node, request) == "command_failed"
    node.call(migration.MigrationClose(ticket=TICKET))


def test_a_disk_that_its_host_caches_is_copied_or_not_moved(node: Subject) -> None:
    spec = make_spec(node.pool)
    spec = dataclasses.replace(spec, disks=[dataclasses.replace(spec.disks[0], cache="writeback")])
    node.call(host.HostCreate(spec=spec))
    node.call(migration.MigrationOffer(ticket=TICKET))
    request = migration.MigrationRun(ticket=TICKET, uuid=spec.uuid, target=NOWHERE, disks=[], shared=["vda"])
    assert refusal(node, request) == "invalid_params"
    assert refusal(node, dataclasses.replace(request, disks=["vda"], shared=[])) == "command_failed"
    node.call(migration.MigrationClose(ticket=TICKET))


def test_a_disk_that_nobody_named_is_not_left_to_chance(node: Subject, described: migration.Subject) -> None:
    node.call(migration.MigrationOffer(ticket=TICKET))
    request = migration.MigrationRun(ticket=TICKET, uuid=described.uuid, target=NOWHERE, disks=[], shared=[])
    assert refusal(node, request) == "invalid_params"
    assert refusal(node, dataclasses.replace(request, shared=["vda"])) == "command_failed"
    node.call(migration.MigrationClose(ticket=TICKET))


@pytest.mark.covers("migration_stop")
def test_stopping_answers_the_state_and_absent_is_success(node: Subject, described: migration.Subject) -> None:
    assert node.call(migration.MigrationStop(uuid=described.uuid)).state == "shut off"
    node.call(host.HostStart(uuid=described.uuid))
    assert node.call(migration.MigrationStop(uuid=described.uuid)).state == "running"
    assert not node.call(migration.MigrationStop(uuid=str(uuid.uuid4()))).exists


@pytest.mark.covers("volume_open", "volume_send", "volume_close")
def test_a_volume_is_received_until_it_is_closed(node: Subject) -> None:
    path = f"{node.pool}/volumes/here.qcow2"
    opened = migration.VolumeOpen(ticket=TICKET, volume=ref(path), format="qcow2")
    sent = migration.VolumeSend(ticket=TICKET, volume=ref(path), format="qcow2", target=NOWHERE)
    assert refusal(node, opened) == refusal(node, sent) == "invalid_params"
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=1024**2))
    for _ in range(2):
        node.call(opened)
    assert refusal(node, sent) == "invalid_params"
    assert refusal(node, storage.VolumeDelete(ref(path))) == "in_use"
    for _ in range(2):
        state = node.call(migration.VolumeClose(ticket=TICKET, volume=ref(path)))
        assert (state.exists, state.virtual_bytes) == (True, 1024**2)
    node.call(migration.MigrationClose(ticket=TICKET))


@pytest.mark.covers("nvram_open", "nvram_send", "nvram_close")
def test_what_a_uefi_remembers_is_received_until_it_is_closed(node: Subject, described: migration.Subject) -> None:
    uuid_ = described.uuid
    opened = migration.NvramOpen(ticket=TICKET, uuid=uuid_, size_bytes=540_672)
    sent = migration.NvramSend(ticket=TICKET, uuid=uuid_, target=NOWHERE)
    closed = migration.NvramClose(ticket=TICKET, uuid=uuid_)
    assert refusal(node, sent) == refusal(node, closed) == "invalid_params"
    for _ in range(2):
        node.call(opened)
    assert node.call(migration.MigrationDescribe(uuid=uuid_)).nvram_bytes == 0
    for _ in range(2):
        node.call(closed)
    assert node.call(migration.MigrationDescribe(uuid=uuid_)).nvram_bytes == 540_672
    # It is there, but nobody was asked to be let in.
    assert refusal(node, sent) == "invalid_params"
    node.call(migration.MigrationClose(ticket=TICKET))


def test_what_was_received_of_a_uefi_goes_with_its_domain(node: Subject, described: migration.Subject) -> None:
    node.call(migration.NvramOpen(ticket=TICKET, uuid=described.uuid, size_bytes=4096))
    node.call(migration.MigrationClose(ticket=TICKET))
    node.call(host.HostDelete(uuid=described.uuid))
    assert refusal(node, migration.NvramClose(ticket=TICKET, uuid=described.uuid)) == "invalid_params"
    if isinstance(node, AgentSubject):
        assert list((node.agent.root / "var/lib/libvirt/qemu/nvram").iterdir()) == []


@pytest.mark.parametrize("size", [0, migration.NVRAM_MOST_BYTES + 1])
def test_a_uefi_remembers_neither_nothing_nor_much(node: Subject, described: migration.Subject, size: int) -> None:
    request = migration.NvramOpen(ticket=TICKET, uuid=described.uuid, size_bytes=size)
    assert refusal(node, request) == "invalid_params"


@pytest.mark.parametrize("uuid_", ["", "../../etc/passwd"])
def test_what_a_uefi_remembers_is_asked_for_by_a_uuid(node: Subject, uuid_: str) -> None:
    assert refusal(node, migration.NvramOpen(ticket=TICKET, uuid=uuid_, size_bytes=4096)) == "invalid_params"
    assert refusal(node, migration.NvramSend(ticket=TICKET, uuid=uuid_, target=NOWHERE)) == "invalid_params"
    assert refusal(node, migration.NvramClose(ticket=TICKET, uuid=uuid_)) == "invalid_params"
