"""virt-customize really writes a guest's identity into an image, and no secret or shared key stays in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.protocol import guest, identity, storage
from panel.standalone.options import TOP
from tests.contract.local_agent import LocalAgent
from tests.refs import directory, ref

IMAGE = TOP / "var/images/debian-12.qcow2"
GUEST = identity.GuestIdentity(
    hostname="custom-1",
    login="admin",
    address="10.77.0.9",
    prefix=24,
    gateway="10.77.0.1",
    mac="52:54:00:12:34:56",
    nameservers=["10.77.0.1"],
    ssh_keys=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJvPGRFfKzyp/qqg5aqXpjr4yfJxH0yqoKkQl+5uYVy me"],
    password_hash="$6$salt$u5DOOOwpnBlu4tVlwH9Gm0yq0LzF",
    timezone="Europe/Riga",
)

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(shutil.which("virt-customize") is None, reason="libguestfs-tools is not installed"),
]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LocalAgent]:
    """A real agent with a pool of its own."""
    agent = LocalAgent(tmp_path / "agent")
    yield agent
    agent.stop()


def test_a_customized_volume_has_the_guest_s_identity_and_nothing_of_the_way_there(
    agent: LocalAgent, tmp_path: Path
) -> None:
    pool = str(tmp_path / "pool")
    disk = f"{pool}/volumes/x.qcow2"
    agent.call(storage.PoolEnsure(directory(pool)))
    # The image is only read; what the guest differs in goes to the volume.
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(IMAGE), "-F", "qcow2", disk], check=True)
    agent.call(identity.VolumeCustomize(ref(disk), guest=GUEST), deadline=400)

    networkd = "/etc/systemd/network/10-vmpanel.network"
    files = read(disk, "/etc/hostname", "/etc/shadow", "/home/admin/.ssh/authorized_keys", "/etc/machine-id", networkd)
    assert files["/etc/hostname"] == "custom-1\n"
    assert f"admin:{GUEST.password_hash}:" in files["/etc/shadow"]
    assert GUEST.ssh_keys[0] in files["/home/admin/.ssh/authorized_keys"]
    assert files["/etc/machine-id"].strip() == ""
    assert "Address=10.77.0.9/24\nGateway=10.77.0.1\nDNS=10.77.0.1\n" in files[networkd]
    assert files[LEFT].strip() == ""


def test_a_volume_is_told_what_changes_and_keeps_the_rest(agent: LocalAgent, tmp_path: Path) -> None:
    pool = str(tmp_path / "pool")
    disk = f"{pool}/volumes/x.qcow2"
    agent.call(storage.PoolEnsure(directory(pool)))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(IMAGE), "-F", "qcow2", disk], check=True)
    change = guest.GuestChange(hostname="custom-2", password_hash=GUEST.password_hash, ssh_keys=GUEST.ssh_keys)
    agent.call(guest.VolumeReconfigure(ref(disk), login="root", change=change), deadline=400)

    files = read(disk, "/etc/hostname", "/etc/shadow", "/root/.ssh/authorized_keys")
    assert files["/etc/hostname"] == "custom-2\n"
    assert f"root:{GUEST.password_hash}:" in files["/etc/shadow"]
    assert files["/root/.ssh/authorized_keys"].strip() == GUEST.ssh_keys[0]
    assert files[LEFT].strip() == ""


LEFT = "/root/.vmpanel-*"


def guestfish(disk: str, commands: str) -> str:
    """What libguestfs's shell prints of the disk, read-only."""
    environment = {**os.environ, "LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    argv = ["guestfish", "--ro", "-a", disk, "-i"]
    done = subprocess.run(argv, input=commands, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def read(disk: str, *paths: str) -> dict[str, str]:
    """Files of the guest by path, and the names that LEFT matches; one start of libguestfs's appliance for all."""
    mark = "@@@@"
    commands = [f"echo {mark}{path}\ncat {path}" for path in paths]
    out = guestfish(disk, "\n".join([*commands, f"echo {mark}{LEFT}\nglob-expand {LEFT}"]))
    parts = [part.partition("\n") for part in out.split(mark)[1:]]
    return {path: text.rstrip("\n") + "\n" for path, _, text in parts}
