"""Which rules of a host's own keep guests from getting out, in rules as usual programs make them."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent import barriers, libvirt_start

ACCEPT = "-P FORWARD ACCEPT\n"
DROP = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n"
DOCKER = (
    DROP + "-N DOCKER\n-N DOCKER-USER\n-N DOCKER-ISOLATION\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-ISOLATION\n"
    "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -o docker0 -j DOCKER\n"
    "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n-A FORWARD -i docker0 -o docker0 -j ACCEPT\n"
    "-A DOCKER-ISOLATION -i docker0 ! -o docker0 -j DROP\n-A DOCKER-ISOLATION -j RETURN\n"
)
ANSWERS = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"


@pytest.mark.parametrize(
    ("rules", "passes"),
    [
        (ACCEPT, True),
        (DROP, False),
        (DROP + ANSWERS, False),
        (DROP + "-A FORWARD -i vmbr-nat0 -j ACCEPT\n", False),
        (DROP + ANSWERS + "-A FORWARD -i vmbr-nat0 -j ACCEPT\n", True),
        (DROP + ANSWERS + "-A FORWARD -i vmbr+ -j ACCEPT\n", True),
        (DROP + ANSWERS + "-A FORWARD ! -i vmbr-nat0 -j ACCEPT\n", False),
        (DROP + ANSWERS + "-A FORWARD -p tcp -m multiport --dports 80,443 -j ACCEPT\n", True),
        (DROP + ANSWERS + "-A FORWARD -j MINE\n-A MINE -i vmbr-nat0 -j ACCEPT\n", True),
        (DROP + ANSWERS + "-A FORWARD -j MINE\n-A MINE -j RETURN\n-A MINE -i vmbr-nat0 -j ACCEPT\n", False),
        (DOCKER, False),
        (DOCKER + "-A DOCKER-USER -i vmbr-nat0 -j ACCEPT\n-A DOCKER-USER -o vmbr-nat0 -j ACCEPT\n", True),
        (ACCEPT + "-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD -j REJECT --reject-with tcp-reset\n", False),
    ],
)
def test_what_lets_guests_out_and_their_answers_in(rules: str, passes: bool) -> None:
    assert barriers.legacy_passes(rules, "vmbr-nat0") is passes


def test_what_is_not_understood_is_taken_for_one_that_lets_pass() -> None:
    rules: dict[str, Any] = {"forward": [[{"xt": None}, {"accept": None}]], "loop": [[{"jump": {"target": "loop"}}]]}
    assert barriers._passes(rules, "forward", "drop", "vmbr-nat0")
    assert barriers._passes(rules, "loop", "drop", "vmbr-nat0")


LOG = """\
2026-11-29 20:00:00.000+0000: 12: info : libvirt version: 9.0.0, package: 9.0.0-4+deb12u2 (Debian)
2026-11-29 20:00:00.000+0000: 12: info : hostname: node1
2026-11-29 20:00:00.001+0000: 12: error : virGetUserID:888 : invalid argument: Failed to parse user 'nobody-such'
2026-11-29 20:00:00.002+0000: 12: error : virStateInitialize:672 : Initialization of QEMU state driver failed: invalid argument: Failed to parse user 'nobody-such'
2026-11-29 20:00:00.002+0000: 12: error : daemonRunStateInit:617 : Driver state initialization failed
"""  # noqa: E501
NO_SECURITY = """\
2026-11-29 20:00:00.001+0000: 12: error : virSecurityDriverLookup:72 : unsupported configuration: Security driver selinux not enabled
2026-11-29 20:00:00.001+0000: 12: error : qemuSecurityInit:321 : internal error: Failed to initialize security drivers
2026-11-29 20:00:00.002+0000: 12: error : virStateInitialize:660 : Initialization of QEMU state driver failed: internal error: Failed to initialize security drivers
2026-11-29 20:00:00.002+0000: 12: error : daemonRunStateInit:616 : Driver state initialization failed
"""  # noqa: E501


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (LOG, "invalid argument: Failed to parse user 'nobody-such'"),
        (NO_SECURITY, "unsupported configuration: Security driver selinux not enabled"),
        (
            "libvirtd: error while loading shared libraries: x.so\n\n",
            "libvirtd: error while loading shared libraries: x.so",
        ),
        ("", ""),
    ],
)
def test_libvirtd_s_last_words_are_the_reason_and_not_its_consequence(log: str, words: str) -> None:
    assert libvirt_start.last_words(log.splitlines()) == words
