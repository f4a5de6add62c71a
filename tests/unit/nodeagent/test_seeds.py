"""What a new guest is told about itself."""

from __future__ import annotations

import dataclasses
import json

from nodeagent.commands.seeds import read_seed, replaces_keys, seed_files
from nodeagent.protocol.identity import GuestAddress, GuestIdentity, GuestInterface

GUEST = GuestIdentity(
    hostname="vm-1.example.org",
    login="admin",
    address="10.77.0.5",
    prefix=24,
    gateway="10.77.0.1",
    mac="52:54:00:12:34:56",
    nameservers=["10.77.0.1", "9.9.9.9"],
    ssh_keys=['ssh-ed25519 AAAA me: "quoted" #1'],
    password_hash="$6$salt$hash",
    timezone="Europe/Riga",
)


def user_data(guest: GuestIdentity) -> dict[str, object]:
    """What cloud-init reads; JSON is YAML."""
    text = seed_files("i-1", guest)["user-data"]
    assert text.startswith("#cloud-config\n")
    data: dict[str, object] = json.loads(text.partition("\n")[2])
    return data


def test_the_instance_has_its_id_and_name() -> None:
    data = json.loads(seed_files("i-1", GUEST)["meta-data"])
    assert data == {"instance-id": "i-1", "local-hostname": "vm-1.example.org"}


def test_a_user_has_the_keys_the_hash_and_may_become_root() -> None:
    assert user_data(GUEST)["users"] == [
        {
            "name": "admin",
            "ssh_authorized_keys": GUEST.ssh_keys,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "shell": "/bin/bash",
            "hashed_passwd": "$6$salt$hash",
            "lock_passwd": False,
        }
    ]
    assert (user_data(GUEST)["ssh_pwauth"], user_data(GUEST)["disable_root"]) == (True, True)
    assert user_data(GUEST)["timezone"] == "Europe/Riga"


def test_root_with_a_password_may_sign_in_with_it() -> None:
    data = user_data(dataclasses.replace(GUEST, login="root"))
    assert data["disable_root"] is False
    assert data["write_files"] == [
        {"path": "/etc/ssh/sshd_config.d/10-vmpanel.conf", "content": "PermitRootLogin yes\n"}
    ]


def test_without_a_password_only_keys_let_in() -> None:
    data = user_data(dataclasses.replace(GUEST, password_hash=""))
    assert data["ssh_pwauth"] is False
    assert "hashed_passwd" not in data["users"][0]  # type: ignore[index]


def test_the_network_is_matched_by_its_mac() -> None:
    network = json.loads(seed_files("i-1", GUEST)["network-config"])
    assert network["version"] == 2
    (interface,) = network["ethernets"].values()
    assert interface["match"] == {"macaddress": GUEST.mac}
    assert interface["addresses"] == ["10.77.0.5/24"]
    assert interface["nameservers"] == {"addresses": GUEST.nameservers}


def test_a_guest_without_a_yaml_reader_has_plain_lines() -> None:
    files = seed_files("i-1", GUEST)
    values = dict(line.split("=", 1) for line in files["vmpanel.env"].splitlines())
    assert values["ADDRESS"] == "10.77.0.5"
    assert values["NAMESERVERS"] == "10.77.0.1 9.9.9.9"
    assert values["PASSWORD_HASH"] == "$6$salt$hash"
    assert files["authorized_keys"].splitlines() == GUEST.ssh_keys


def test_what_a_seed_says_can_be_read_again() -> None:
    assert read_seed(seed_files("i-1", GUEST)) == ("i-1", GUEST)
    plain = dataclasses.replace(GUEST, nameservers=[], ssh_keys=[], password_hash="")
    assert read_seed(seed_files("i-2", plain)) == ("i-2", plain)


def test_a_guest_that_is_told_again_keeps_its_host_keys_and_drops_keys_that_are_not_named() -> None:
    text = seed_files("i-2", dataclasses.replace(GUEST, login="root"), again=True, replace=True)["user-data"]
    data = json.loads(text.partition("\n")[2])
    assert data["ssh_deletekeys"] is False
    assert data["write_files"][-1] == {
        "path": "/root/.ssh/authorized_keys",
        "content": f"{GUEST.ssh_keys[0]}\n",
        "owner": "root:root",
        "permissions": "0600",
    }
    assert "ssh_deletekeys" not in user_data(GUEST)


def test_a_seed_knows_whether_keys_that_it_does_not_name_go() -> None:
    assert not replaces_keys(seed_files("i-1", dataclasses.replace(GUEST, login="root")))
    assert replaces_keys(seed_files("i-1", GUEST, again=True, replace=True))


def test_a_guest_has_addresses_of_both_versions() -> None:
    more = [GuestAddress("2001:db8::5", 64, "2001:db8::1"), GuestAddress("10.77.0.6", 24, "10.77.0.1")]
    guest = dataclasses.replace(GUEST, further=more)
    files = seed_files("i-1", guest)
    assert json.loads(files["network-config"])["ethernets"]["vmpanel0"] == {
        "match": {"macaddress": GUEST.mac},
        "addresses": ["10.77.0.5/24", "2001:db8::5/64", "10.77.0.6/24"],
        "gateway4": "10.77.0.1",
        "gateway6": "2001:db8::1",
        "nameservers": {"addresses": GUEST.nameservers},
    }
    assert read_seed(files) == ("i-1", guest)


def test_a_guest_has_ipv6_alone_and_no_gateway() -> None:
    guest = dataclasses.replace(GUEST, address="2001:db8::5", prefix=64, gateway="")
    files = seed_files("i-1", guest)
    told = json.loads(files["network-config"])["ethernets"]["vmpanel0"]
    assert (told["addresses"], told.keys() & {"gateway4", "gateway6"}) == (["2001:db8::5/64"], set())
    assert read_seed(files)[1] == guest


def test_a_guest_is_told_of_all_its_interfaces() -> None:
    second = GuestInterface("52:54:00:12:34:57", [GuestAddress("10.9.0.5", 24)], ["10.9.0.1"], mtu=1450)
    guest = dataclasses.replace(GUEST, mtu=9000, interfaces=[second])
    files = seed_files("i-1", guest)
    told = json.loads(files["network-config"])["ethernets"]
    assert (told["vmpanel0"]["mtu"], told["vmpanel1"]["match"]) == (9000, {"macaddress": second.mac})
    assert "INTERFACE=52:54:00:12:34:57 10.9.0.5/24\n" in files["vmpanel.env"]
    assert read_seed(files) == ("i-1", guest)
