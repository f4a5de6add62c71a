"""What guests read of their network, as files: cloud-init's (netplan's) version 2, and systemd-networkd's.

`pytest tests/golden --regenerate` writes the files anew; read the difference before you keep it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodeagent.guest_network import ip_commands, netplan, networkd
from nodeagent.protocol.identity import GuestAddress, GuestInterface

FILES = Path(__file__).parent / "guest_network"
FIRST, SECOND = "52:54:00:12:34:56", "52:54:00:12:34:57"
SERVERS = ["9.9.9.9", "2620:fe::fe"]

INTERFACES = {
    "one-address": [GuestInterface(FIRST, [GuestAddress("192.0.2.5", 24, "192.0.2.1")], SERVERS)],
    "on-link-gateway": [
        GuestInterface(
            FIRST, [GuestAddress("192.0.2.5", 32, "169.254.1.1"), GuestAddress("2001:db8::5", 128, "fe80::1")], SERVERS
        )
    ],
    "on-link-gateway-of-ipv6": [GuestInterface(FIRST, [GuestAddress("2001:db8::5", 128, "2001:db8:ffff::1")])],
    "ipv6-only": [GuestInterface(FIRST, [GuestAddress("2001:db8::5", 64, "2001:db8::1")], ["2620:fe::fe"])],
    "two-interfaces": [
        GuestInterface(FIRST, [GuestAddress("192.0.2.5", 24, "192.0.2.1")], SERVERS),
        # The gateway of the second is no default route: the first one's is.
        GuestInterface(SECOND, [GuestAddress("10.9.0.5", 24, "10.9.0.1"), GuestAddress("fd00::5", 64, "fd00::1")]),
    ],
    "mtu-of-a-vlan": [GuestInterface(FIRST, [GuestAddress("10.9.0.5", 24)], mtu=1450)],
    "three-addresses": [
        GuestInterface(
            FIRST,
            [
                GuestAddress("192.0.2.5", 24, "192.0.2.1"),
                GuestAddress("2001:db8::5", 64, "2001:db8::1"),
                GuestAddress("192.0.2.6", 24, "192.0.2.1"),
            ],
            SERVERS,
        )
    ],
}


def texts(name: str) -> dict[str, str]:
    """The files of a case by their names."""
    cloud = json.dumps(netplan(INTERFACES[name]), indent=1) + "\n"
    return {f"{name}.json": cloud, f"{name}.network": "\n".join(networkd(INTERFACES[name]))}


@pytest.mark.parametrize("name", sorted(INTERFACES))
def test_a_guest_reads_what_the_file_says(name: str, regenerate: bool) -> None:
    if regenerate:
        FILES.mkdir(exist_ok=True)
        for file, text in texts(name).items():
            (FILES / file).write_text(text)
    assert texts(name) == {file: (FILES / file).read_text() for file in texts(name)}


def test_every_file_belongs_to_a_case() -> None:
    assert {each.name for each in FILES.iterdir()} == {file for name in INTERFACES for file in texts(name)}


@pytest.mark.parametrize(
    ("name", "gone", "told"),
    [
        ("one-address", [], "address replace 192.0.2.5/24 dev ens3\n-4 route replace default via 192.0.2.1 dev ens3"),
        (
            "on-link-gateway-of-ipv6",
            [GuestAddress("2001:db8::9", 128)],
            "address replace 2001:db8::5/128 dev ens3\naddress delete 2001:db8::9/128 dev ens3\n"
            "address replace 2001:db8::5/128 dev ens3\n-6 route replace 2001:db8:ffff::1/128 dev ens3 scope link\n"
            "-6 route replace default via 2001:db8:ffff::1 dev ens3",
        ),
        ("mtu-of-a-vlan", [], "address replace 10.9.0.5/24 dev ens3"),
    ],
)
def test_a_running_guest_is_told_by_commands(name: str, gone: list[GuestAddress], told: str) -> None:
    commands = ip_commands(INTERFACES[name], FIRST.upper(), "ens3", gone)
    assert "\n".join(map(" ".join, commands)) == told
