"""What keeps a host from being a node, as node.add judges what it saw there; real hosts are in tests/lab."""

from __future__ import annotations

import os
from typing import Any

import pytest

from nodeagent import bare
from panel.cluster.operations.add_looks import refusals

WELL: dict[str, Any] = {
    "uid": 0,
    "user": "root",
    "home": "/root",
    "machine": "x86_64",
    "installers": ["apt-get"],
    "clock": 0.4,
    "places": {
        "/usr/lib/vmpanel": {
            "at": "/usr/lib",
            "folder": True,
            "read_only": False,
            "writable": True,
            "free_bytes": 1024**4,
            "free_files": 100_000,
        }
    },
    "sshd": {
        "authorizedkeysfile": [".ssh/authorized_keys .ssh/authorized_keys2"],
        "pubkeyauthentication": ["yes"],
        "pubkeyacceptedalgorithms": ["ssh-ed25519,rsa-sha2-512"],
        "authenticationmethods": ["any"],
        "maxsessions": ["10"],
    },
    "reach": {"192.0.2.1:1515": ""},
}


def found(**changes: Any) -> dict[str, str]:
    """The refusals of a host that is well but for the changes, by code."""
    return {each.code: each.text.english for each in refusals({**WELL, **changes})}


def sshd(**changes: str) -> dict[str, Any]:
    """What its sshd says, with changes."""
    return {**WELL["sshd"], **{name: [value] for name, value in changes.items()}}


def place(**changes: Any) -> dict[str, Any]:
    """A place of ours on it, with changes."""
    (only,) = WELL["places"].values()
    return {"/usr/lib/vmpanel": {**only, **changes}}


def test_a_host_that_is_well_is_taken() -> None:
    assert found() == {}


def test_an_sshd_that_says_nothing_of_itself_is_in_no_way() -> None:
    assert found(sshd={}) == {}


@pytest.mark.parametrize(
    "files",
    [
        ".ssh/authorized_keys",
        "/keys/%u %h/.ssh/authorized_keys",
        "/root/.ssh/authorized_keys",
        "%h/.ssh/x .ssh/authorized_keys",
    ],
)
def test_keys_are_read_where_the_panel_writes_them(files: str) -> None:
    assert found(sshd=sshd(authorizedkeysfile=files)) == {}


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"uid": 1000, "user": "joe"}, "not_root", "“joe” is not root there: sign in as root."),
        ({"machine": "aarch64"}, "machine", "Its processor is aarch64; nodes are x86_64."),
        ({"installers": []}, "no_installer", "It has neither apt-get nor dnf to install packages with."),
        ({"clock": 70.0}, "clock", "Its clock is 70 s ahead of the panel's: have both follow a time server."),
        ({"clock": -3600.0}, "clock", "Its clock is 3600 s behind the panel's: have both follow a time server."),
        (
            {"reach": {"192.0.2.1:1515": "timed out"}},
            "panel_unreachable",
            "It does not reach the panel at 192.0.2.1:1515 (timed out): let it through the firewalls between them.",
        ),
        ({"sshd": sshd(permitrootlogin="no")}, "no_root", "set PermitRootLogin to “prohibit-password”"),
        ({"sshd": sshd(authorizedkeysfile="none")}, "keys_elsewhere", "from none alone"),
        ({"sshd": sshd(authenticationmethods="publickey,password")}, "key_not_enough", "have “publickey” alone be"),
        (
            {"places": place(writable=False)},
            "no_rights",
            "/usr/lib may not be written to, and /usr/lib/vmpanel must be.",
        ),
        (
            {"places": place(free_files=3)},
            "no_space",
            "The file system of /usr/lib has no room for more files (inodes).",
        ),
    ],
)
def test_each_thing_in_the_way_has_a_code_and_a_sentence(changes: dict[str, Any], code: str, sentence: str) -> None:
    (told,) = found(**changes).items()
    assert told[0] == code
    assert sentence in told[1]


def test_several_folders_of_ours_on_one_file_system_are_one_refusal() -> None:
    (only,) = place(read_only=True).values()
    assert list(found(places={"/usr/lib/vmpanel": only, "/usr/lib/other": only})) == ["read_only"]


@pytest.mark.parametrize(
    "text", ["not JSON", "[]", '{"panel": "p"}', '{"panel": "q", "node": 7}', '{"panel": "p", "node": 8}']
)
def test_a_mark_that_is_not_this_node_s_is_left_alone(text: str) -> None:
    assert not bare.is_ours(text, "p", 7)


def test_a_host_without_a_mark_is_nobody_else_s() -> None:
    assert bare.is_ours(None, "p", 7) and bare.is_ours('{"panel": "p", "node": 7, "name": "x"}', "p", 7)


def test_it_sees_this_machine_and_changes_nothing() -> None:
    seen = bare.look({"key": "ssh-ed25519 AAAA vmpanel"})
    assert (seen["uid"], seen["key"]) == (os.geteuid(), False)
    assert {place["folder"] for place in seen["places"].values()} == {True}
