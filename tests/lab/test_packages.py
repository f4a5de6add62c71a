"""The Debian package, built, installed on a host of its own, run, and removed again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel.standalone.options import TOP
from tests.lab.hosts import Lab
from tests.lab.surroundings import Host

pytestmark = pytest.mark.nightly


def build(folder: Path) -> Path:
    """The package."""
    done = subprocess.run(["script/build-deb", str(folder)], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (package,) = folder.glob("*.deb")
    return package


@pytest.fixture(scope="module")
def package() -> Path:
    """It lies where hosts of the lab see it, and before they are there."""
    return build(TOP / "var" / "packages")


@pytest.fixture(scope="module")
def host(package: Path) -> Iterator[Host]:
    """A host that has it."""
    with Lab.create(1) as lab:
        host = Host(lab.nodes[0])
        # Machines of tests have all that it depends on but cron, which no test here needs.
        host.node.run(["dpkg", "--force-depends", "--install", str(package)])
        yield host


def as_panel(host: Host, *argv: str) -> str:
    """What a program prints that the panel's user runs."""
    return host.node.run(["runuser", "-u", "vmpanel", "--", "env", "HOME=/var/lib/vmpanel", *argv]).stdout


def test_of_one_commit_the_same_bytes_come(package: Path, tmp_path: Path) -> None:
    assert build(tmp_path).read_bytes() == package.read_bytes()


def test_its_user_and_its_folders_are_there(host: Host) -> None:
    for path, wanted in {
        "/etc/vmpanel/vmpanel.conf": "root vmpanel 640",
        "/etc/vmpanel": "root vmpanel 750",
        "/var/lib/vmpanel": "vmpanel vmpanel 750",
        "/var/log/vmpanel": "vmpanel vmpanel 750",
        "/run/vmpanel": "vmpanel www-data 750",
    }.items():
        assert host.node.run(["stat", "-c", "%U %G %a", path]).stdout.strip() == wanted, path


def test_its_programs_run_as_the_panels_user_who_can_change_none_of_them(host: Host) -> None:
    assert "no issues" in as_panel(host, "vmpanel-manage", "check")
    for program in ("vmpanel", "mgrctl", "/usr/lib/vmpanel/venv/bin/vmwatch-master"):
        assert "Usage" in as_panel(host, program, "--help").replace("usage", "Usage")
    assert not as_panel(host, "find", "/usr/lib/vmpanel", "-not", "-type", "l", "-writable")


def test_what_it_needs_is_there_and_nothing_knows_where_it_was_made(host: Host) -> None:
    libraries = host.node.run(["find", "/usr/lib/vmpanel", "-name", "*.so", "-exec", "ldd", "{}", "+"]).stdout
    assert "not found" not in libraries
    assert host.node.run(["grep", "-rlF", str(TOP), "/usr/lib/vmpanel"], check=False).stdout == ""


def test_removed_it_leaves_its_data_and_says_where(host: Host) -> None:
    removed = host.node.run(["dpkg", "--remove", "vmpanel"])
    assert "/var/lib/vmpanel" in removed.stderr
    purged = host.node.run(["dpkg", "--purge", "vmpanel"])
    assert "/var/lib/vmpanel" in purged.stderr
    assert host.node.run(["test", "-d", "/var/lib/vmpanel/keys"], check=False).returncode == 0
    for path in ("/usr/lib/vmpanel", "/etc/vmpanel/vmpanel.conf", "/usr/bin/vmpanel", "/usr/share/vmpanel"):
        assert host.node.run(["test", "-e", path], check=False).returncode, path
