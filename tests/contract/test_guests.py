"""What is done with a guest that is there already behaves alike on the fake node and on the real agent."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import uuid
from pathlib import Path

import pytest

from nodeagent.guest_network import ip_commands
from nodeagent.protocol import Nothing, devices, guest, host, identity, migration, storage
from nodeagent.protocol import node as machine
from nodeagent.storage import place
from panel.core.errors import LibvirtFailure, NodeError
from tests.contract.subjects import AgentSubject, Subject, code_of, make_spec
from tests.contract.test_storage import GUEST
from tests.refs import directory, ref

MIB = 1024**2


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


def make_volume(node: Subject, size: int = 8 * MIB) -> str:
    """An empty volume in the node's pool."""
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    path = f"{node.pool}/volumes/{uuid.uuid4()}.qcow2"
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=size))
    return path


def make_seed(node: Subject) -> str:
    """A seed in the node's pool."""
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    path = f"{node.pool}/seeds/{uuid.uuid4()}.iso"
    node.call(identity.SeedCreate(seed=ref(path), instance_id="i-1", guest=GUEST))
    return path


def told(node: Subject, path: str) -> tuple[str, identity.GuestIdentity]:
    """What a seed says."""
    if isinstance(node, AgentSubject):
        from nodeagent import iso
        from nodeagent.commands.seeds import read_seed

        return read_seed(iso.read_texts(Path(path)))
    return node.node.seeds[path]  # type: ignore[attr-defined,no-any-return]


@pytest.mark.covers("host_rename")
def test_a_renamed_domain_is_the_same_one_under_another_name(node: Subject) -> None:
    spec = create(node, name="before")
    for _ in range(2):
        state = node.call(guest.HostRename(uuid=spec.uuid, name="after"))
        assert (state.uuid, state.name, state.state) == (spec.uuid, "after", "shut off")
    assert [each.name for each in node.call(host.HostsRead()).hosts if each.uuid == spec.uuid] == ["after"]


def test_a_running_domain_is_not_renamed(node: Subject) -> None:
    spec = create(node, name="runs")
    node.call(host.HostStart(uuid=spec.uuid))
    assert refusal(node, guest.HostRename(uuid=spec.uuid, name="other")) == "in_use"
    assert node.call(guest.HostRename(uuid=spec.uuid, name="runs")).name == "runs"


def test_a_domain_is_not_given_the_name_of_another(node: Subject) -> None:
    create(node, name="theirs")
    spec = create(node, name="ours")
    with pytest.raises(LibvirtFailure):
        node.call(guest.HostRename(uuid=spec.uuid, name="theirs"))
    assert node.call(host.HostInfo(uuid=spec.uuid)).name == "ours"


def test_an_absent_domain_is_not_renamed(node: Subject) -> None:
    assert refusal(node, guest.HostRename(uuid=str(uuid.uuid4()), name="x")) == "no_such_domain"


@pytest.mark.covers("seed_change")
def test_a_changed_seed_says_the_new_and_all_else_that_it_said(node: Subject) -> None:
    path = make_seed(node)
    state = node.call(guest.SeedChange(seed=ref(path), change=guest.GuestChange(hostname="after")))
    assert state.exists
    assert told(node, path) == ("i-1", dataclasses.replace(GUEST, hostname="after"))
    change = guest.GuestChange(password_hash="$6$a$b", ssh_keys=["ssh-ed25519 BBBB other"])
    node.call(guest.SeedChange(seed=ref(path), change=change, instance_id="i-2"))
    expected = dataclasses.replace(GUEST, hostname="after", password_hash="$6$a$b", ssh_keys=["ssh-ed25519 BBBB other"])
    assert told(node, path) == ("i-2", expected)


def test_another_network_is_told_and_all_else_stays(node: Subject) -> None:
    path, network = (
        make_seed(node),
        guest.GuestNetwork("52:54:00:aa:bb:cc", "192.0.2.9", 26, "192.0.2.1", ["192.0.2.53"]),
    )
    for _ in range(2):
        node.call(guest.SeedChange(seed=ref(path), change=guest.GuestChange(network=network)))
    assert told(node, path) == ("i-1", dataclasses.replace(GUEST, **vars(network)))
    if isinstance(node, AgentSubject):
        from nodeagent import iso

        files = iso.read_texts(Path(path))
        (card,) = json.loads(files["network-config"])["ethernets"].values()
        assert card["match"] == {"macaddress": "52:54:00:aa:bb:cc"}
        assert (card["addresses"], card["gateway4"]) == (["192.0.2.9/26"], "192.0.2.1")
        user_data = json.loads(files["user-data"].partition("\n")[2])
        assert user_data["updates"] == {"network": {"when": ["boot-new-instance", "boot"]}}


def test_a_new_seed_keeps_the_password_and_keys_of_another_where_none_are_given(node: Subject) -> None:
    old, path = make_seed(node), f"{node.pool}/seeds/{uuid.uuid4()}.iso"

    def made(asked: identity.GuestIdentity, *, keep_keys: bool = True) -> identity.GuestIdentity:
        node.call(identity.SeedCreate(ref(path), "i-2", asked, keep_from=ref(old), keep_keys=keep_keys))
        return told(node, path)[1]

    nothing = dataclasses.replace(GUEST, hostname="new", password_hash="", ssh_keys=[])
    assert made(nothing) == dataclasses.replace(GUEST, hostname="new")
    assert made(dataclasses.replace(nothing, password_hash="$6$a$b")).password_hash == "$6$a$b"
    keys = ["ssh-ed25519 BBBB other"]
    assert made(dataclasses.replace(nothing, ssh_keys=keys)).ssh_keys == [*keys, *GUEST.ssh_keys]
    assert made(dataclasses.replace(nothing, ssh_keys=keys), keep_keys=False).ssh_keys == keys
    assert told(node, old) == ("i-1", GUEST)


def test_a_new_seed_that_would_let_nobody_in_is_not_made(node: Subject) -> None:
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    path = f"{node.pool}/seeds/{uuid.uuid4()}.iso"
    nothing = dataclasses.replace(GUEST, password_hash="", ssh_keys=[])
    gone = f"{node.pool}/seeds/{uuid.uuid4()}.iso"
    assert refusal(node, identity.SeedCreate(ref(path), "i-2", nothing, keep_from=ref(gone))) == "invalid_params"
    assert (
        refusal(node, identity.SeedCreate(ref(path), "i-2", nothing, keep_from=ref(f"{node.pool}/volumes/x")))
        == "invalid_params"
    )
    assert node.call(storage.PoolList(pool=directory(node.pool))).files["seeds"] == []


def test_keys_that_shall_go_are_not_forgotten_by_the_next_change(node: Subject) -> None:
    path = make_seed(node)
    for change in (guest.GuestChange(ssh_keys=["ssh-ed25519 BBBB other"]), guest.GuestChange(hostname="after")):
        node.call(guest.SeedChange(seed=ref(path), change=change))
    assert told(node, path)[1].ssh_keys == ["ssh-ed25519 BBBB other"]
    if isinstance(node, AgentSubject):
        from nodeagent import iso
        from nodeagent.commands.seeds import replaces_keys

        assert replaces_keys(iso.read_texts(Path(path)))


def test_a_seed_that_is_not_there_is_not_changed(node: Subject) -> None:
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    path = f"{node.pool}/seeds/{uuid.uuid4()}.iso"
    change = guest.GuestChange(hostname="after")
    assert refusal(node, guest.SeedChange(seed=ref(path), change=change)) == "invalid_params"


@pytest.mark.covers("seed_restore")
def test_a_lost_seed_is_made_again_and_says_nothing_of_the_password_that_the_guest_has(node: Subject) -> None:
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    path = f"{node.pool}/seeds/{uuid.uuid4()}.iso"
    lost = dataclasses.replace(GUEST, password_hash="", ssh_keys=[], keeps_password=True)
    for _ in range(2):
        restored = node.call(guest.SeedRestore(seed=ref(path), instance_id="i-7", guest=lost))
        assert restored.exists
    assert told(node, path) == ("i-7", lost)
    # What is changed later does not lock the guest's user out either.
    node.call(guest.SeedChange(seed=ref(path), change=guest.GuestChange(hostname="after")))
    assert told(node, path)[1] == dataclasses.replace(lost, hostname="after")
    if isinstance(node, AgentSubject):
        from nodeagent import iso

        user_data = json.loads(iso.read_texts(Path(path))["user-data"].partition("\n")[2])
        assert (user_data["ssh_pwauth"], user_data["ssh_deletekeys"]) == (None, False)
        assert user_data["users"][0]["lock_passwd"] is False


def test_a_seed_that_is_there_is_not_restored(node: Subject) -> None:
    path = make_seed(node)
    lost = dataclasses.replace(GUEST, hostname="other", keeps_password=True)
    node.call(guest.SeedRestore(seed=ref(path), instance_id="i-7", guest=lost))
    assert told(node, path) == ("i-1", GUEST)


@pytest.mark.parametrize(
    "change",
    [
        guest.GuestChange(hostname="a\nruncmd: [reboot]"),
        guest.GuestChange(hostname=""),
        guest.GuestChange(password_hash="x:y\nroot::0"),
        guest.GuestChange(ssh_keys=["one\ntwo"]),
    ],
)
def test_a_change_that_could_mean_something_else_is_refused(node: Subject, change: guest.GuestChange) -> None:
    path, spec, disk = make_seed(node), create(node), make_volume(node)
    for request in (
        guest.SeedChange(seed=ref(path), change=change),
        guest.GuestConfigure(uuid=spec.uuid, login="root", change=change),
        guest.VolumeReconfigure(volume=ref(disk), login="root", change=change),
    ):
        assert refusal(node, request) == "invalid_params"
    assert told(node, path) == ("i-1", GUEST)


@pytest.mark.covers("volume_reconfigure")
def test_a_volume_that_is_not_there_is_not_reconfigured(node: Subject) -> None:
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    request = guest.VolumeReconfigure(
        volume=ref(f"{node.pool}/volumes/{uuid.uuid4()}.qcow2"),
        login="root",
        change=guest.GuestChange(hostname="after"),
    )
    assert refusal(node, request) == "invalid_params"


@pytest.mark.covers("guest_configure")
def test_a_guest_without_an_agent_is_told_apart(node: Subject) -> None:
    spec = create(node)
    request = guest.GuestConfigure(uuid=spec.uuid, login="root", change=guest.GuestChange(password_hash="$6$a$b"))
    assert not node.call(request).answered
    node.call(host.HostStart(uuid=spec.uuid))
    assert not node.call(request).answered


def test_an_absent_guest_is_not_configured(node: Subject) -> None:
    request = guest.GuestConfigure(uuid=str(uuid.uuid4()), login="root", change=guest.GuestChange(hostname="a"))
    assert refusal(node, request) == "no_such_domain"


@pytest.mark.covers("guest_addresses")
def test_a_guest_without_an_agent_is_not_told_of_addresses_and_a_wrong_one_is_refused(node: Subject) -> None:
    spec, mac = create(node), "52:54:00:00:00:01"
    network = identity.GuestNetwork(mac, "192.0.2.7", 24, "192.0.2.1", further=[identity.GuestAddress("192.0.2.8", 24)])
    request = guest.GuestAddresses(spec.uuid, mac, network, gone=[identity.GuestAddress("192.0.2.9", 24)])
    assert not node.call(request).answered
    node.call(host.HostStart(uuid=spec.uuid))
    assert not node.call(request).answered
    wrong = dataclasses.replace(request, gone=[identity.GuestAddress("192.0.2.9;reboot", 24)])
    assert refusal(node, wrong) == "invalid_params"
    assert refusal(node, dataclasses.replace(request, uuid=str(uuid.uuid4()))) == "no_such_domain"


@pytest.mark.covers("volume_clone")
def test_a_cloned_volume_is_as_large_as_its_source_and_left_alone_when_asked_for_again(node: Subject) -> None:
    source = make_volume(node)
    path = f"{node.pool}/volumes/{uuid.uuid4()}.qcow2"
    request = guest.VolumeClone(volume=ref(path), source=ref(source))
    assert node.call(request).virtual_bytes == 8 * MIB
    node.call(storage.VolumeGrow(volume=ref(path), size_bytes=16 * MIB))
    assert node.call(request).virtual_bytes == 16 * MIB
    assert node.call(storage.VolumeDelete(volume=ref(path))) == Nothing()
    assert node.call(storage.VolumeInfo(volume=ref(source))).virtual_bytes == 8 * MIB


def make_disguised(node: Subject, path: str) -> None:
    """A raw volume whose guest has written a qcow2 header into it that names a file of the node."""
    secret, header = Path(node.pool).parent / "secret", Path(node.pool).parent / "header"
    secret.write_bytes(b"another's" * 10000)
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(secret), "-F", "raw", str(header), "2M"]
    subprocess.run(argv, check=True)
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=MIB, format="raw"))
    with open(path, "r+b") as disk:
        disk.write(header.read_bytes()[: MIB // 2])


def test_what_a_guest_writes_into_its_raw_disk_names_no_file_of_the_node(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    source, path = f"{node.pool}/volumes/a.raw", f"{node.pool}/volumes/b.raw"
    make_disguised(node, source)
    request = guest.VolumeClone(volume=ref(path), source=ref(source), format="raw")
    state = node.call(request)
    assert (state.format, state.virtual_bytes) == ("raw", MIB)
    assert Path(path).read_bytes() == Path(source).read_bytes()


def test_a_raw_volume_is_as_large_as_its_file_whatever_its_guest_writes_into_it(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("a matter of files")
    path, spec = f"{node.pool}/volumes/a.raw", create(node)
    make_disguised(node, path)
    state = node.call(storage.VolumeInfo(volume=ref(path), format="raw"))
    assert (state.format, state.virtual_bytes) == ("raw", MIB)
    assert node.call(storage.VolumeGrow(ref(path), 2 * MIB, format="raw")).virtual_bytes == 2 * MIB
    assert node.call(devices.DiskGrow(spec.uuid, ref(path), 3 * MIB, format="raw")).virtual_bytes == 3 * MIB
    assert Path(path).stat().st_size == 3 * MIB


def test_a_raw_volume_is_received_as_such(node: Subject) -> None:
    path = f"{node.pool}/volumes/a.raw"
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=MIB, format="raw"))
    state = node.call(migration.VolumeClose(ticket=1, volume=ref(path), format="raw"))
    assert (state.format, state.virtual_bytes) == ("raw", MIB)


def test_a_volume_that_is_not_of_the_format_that_it_is_said_to_be_is_refused(node: Subject) -> None:
    path = f"{node.pool}/volumes/a.raw"
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=MIB, format="raw"))
    info = storage.VolumeInfo(volume=ref(path))
    copy = guest.VolumeClone(ref(f"{node.pool}/volumes/b.raw"), ref(path), format="qcow2")
    for request in (info, copy, storage.VolumeGrow(ref(path), 2 * MIB)):
        assert refusal(node, request) == "command_failed"
    assert node.call(dataclasses.replace(info, format="")).format == "raw"


@pytest.mark.parametrize("kind", ["vmdk", "../raw", "-U"])
def test_volumes_are_of_the_formats_that_we_know(node: Subject, kind: str) -> None:
    path, spec = make_volume(node), create(node)
    for request in (
        guest.VolumeClone(ref(f"{node.pool}/volumes/b"), ref(path), format=kind),
        guest.VolumeReconfigure(ref(path), "root", guest.GuestChange(hostname="a"), format=kind),
        guest.DisksCopy(spec.uuid, [guest.DiskCopy(ref(f"{node.pool}/volumes/b"), ref(path), kind)]),
        storage.VolumeInfo(ref(path), format=kind),
        storage.VolumeGrow(ref(path), 16 * MIB, format=kind),
        identity.VolumeCustomize(ref(path), GUEST, format=kind),
        devices.DiskGrow(spec.uuid, ref(path), 16 * MIB, format=kind),
        migration.VolumeClose(1, ref(path), format=kind),
    ):
        assert refusal(node, request) == "invalid_params"


def test_what_is_not_there_is_not_cloned(node: Subject) -> None:
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    request = guest.VolumeClone(
        volume=ref(f"{node.pool}/volumes/{uuid.uuid4()}.qcow2"),
        source=ref(f"{node.pool}/volumes/{uuid.uuid4()}.qcow2"),
    )
    assert refusal(node, request) == "invalid_params"


def make_copies(node: Subject, spec: host.DomainSpec) -> list[guest.DiskCopy]:
    """The volume of a VM's disk, and where its copy shall be."""
    source = place(spec.disks[0].volume)
    node.call(storage.PoolEnsure(pool=directory(node.pool)))
    node.call(storage.VolumeCreate(volume=ref(source), size_bytes=8 * MIB))
    return [guest.DiskCopy(ref(f"{node.pool}/volumes/{uuid.uuid4()}.qcow2"), ref(source))]


@pytest.mark.covers("disks_copy")
def test_disks_of_a_vm_that_runs_are_not_copied_where_libvirt_cannot(node: Subject) -> None:
    """libvirt's test driver cannot; tests/lab/test_guests.py has real copies."""
    node.copies_nothing_that_runs()
    assert node.call(machine.NodeFacts()).copies_running is False
    spec = create(node)
    copies = make_copies(node, spec)
    request = guest.DisksCopy(spec.uuid, copies)
    assert refusal(node, request) == "guest_stopped"
    node.call(host.HostStart(uuid=spec.uuid))
    assert refusal(node, request) == "unsupported"
    assert not node.call(storage.VolumeInfo(volume=copies[0].volume)).exists
    assert node.call(host.HostInfo(uuid=spec.uuid)).state == "running"


def test_copies_that_are_there_are_left_as_they_are(node: Subject) -> None:
    spec = create(node)
    copies = make_copies(node, spec)
    path = place(copies[0].volume)
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=16 * MIB))
    assert node.call(guest.DisksCopy(spec.uuid, copies)) == guest.DisksCopied(frozen=None)
    assert node.call(guest.DisksCopyStop(spec.uuid, copies)) == Nothing()
    assert node.call(storage.VolumeInfo(volume=ref(path))).virtual_bytes == 16 * MIB


@pytest.mark.covers("disks_copy_stop")
def test_of_copies_that_are_not_all_there_none_is_left(node: Subject) -> None:
    spec = create(node)
    copies = make_copies(node, spec)
    path = place(copies[0].volume)
    node.call(storage.VolumeCreate(volume=ref(path), size_bytes=16 * MIB))
    other = dataclasses.replace(copies[0], volume=ref(f"{node.pool}/volumes/{uuid.uuid4()}.qcow2"))
    for _ in range(2):
        assert node.call(guest.DisksCopyStop(spec.uuid, [*copies, other])) == Nothing()
        assert not node.call(storage.VolumeInfo(volume=ref(path))).exists
    assert node.call(storage.VolumeInfo(volume=copies[0].source)).exists
    # A domain that is gone has nothing under way.
    assert node.call(guest.DisksCopyStop(str(uuid.uuid4()), copies)) == Nothing()


@pytest.mark.parametrize("request_class", [guest.DisksCopy, guest.DisksCopyStop])
def test_copies_lie_in_pools(node: Subject, request_class: type[guest.DisksCopy] | type[guest.DisksCopyStop]) -> None:
    spec = create(node)
    [copy] = make_copies(node, spec)
    for wrong in (
        [],
        [dataclasses.replace(copy, volume=ref("/etc/passwd"))],
        [dataclasses.replace(copy, source=ref("/etc/shadow"))],
    ):
        assert refusal(node, request_class(spec.uuid, wrong)) == "invalid_params"


def test_what_is_not_there_is_not_copied(node: Subject) -> None:
    spec = create(node)
    [copy] = make_copies(node, spec)
    request = guest.DisksCopy(spec.uuid, [dataclasses.replace(copy, source=ref(f"{node.pool}/volumes/none.qcow2"))])
    assert refusal(node, request) == "invalid_params"
    assert refusal(node, guest.DisksCopy(str(uuid.uuid4()), [copy])) == "no_such_domain"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
def test_what_a_running_guest_is_told_changes_its_addresses_and_keeps_its_way_out() -> None:
    """In a network namespace in place of a guest: Linux takes the others of a network away with the first one of it."""
    mac, gateways = "52:54:00:12:34:56", ("192.0.2.1", "2001:db8:ffff::1")

    def told(fours: list[str], six: str, gone: list[identity.GuestAddress]) -> list[list[str]]:
        addresses = [identity.GuestAddress(ip, 24, gateways[0]) for ip in fours]
        addresses.append(identity.GuestAddress(six, 128, gateways[1]))
        return ip_commands([identity.GuestInterface(mac, addresses)], mac, "ens3", gone)

    first = told(["192.0.2.5", "192.0.2.6"], "2001:db8::5", [])
    gone = [identity.GuestAddress("192.0.2.5", 24), identity.GuestAddress("2001:db8::5", 128)]
    then = told(["192.0.2.6", "192.0.2.7"], "2001:db8::6", gone)
    link = f"link add ens3 address {mac} type veth peer name far".split()
    commands = [link, ["link", "set", "ens3", "up"], ["link", "set", "far", "up"], *first, *then, *then[:3]]
    look = ["-j address show dev ens3", "-j -4 route show default", "-j -6 route show default"]
    script = "\n".join([*(shlex.join(["ip", *each]) for each in commands), *(f"ip {each}" for each in look)])
    done = subprocess.run(["unshare", "--net", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    link_of, four, six = [json.loads(line)[0] for line in done.stdout.splitlines() if line.startswith("[")]
    there = {each["local"] for each in link_of["addr_info"] if each["scope"] == "global"}
    assert there == {"192.0.2.6", "192.0.2.7", "2001:db8::6"}
    assert (four["gateway"], six["gateway"]) == gateways
