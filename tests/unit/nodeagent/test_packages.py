"""What apt-get would take away is seen and refused: real apt-get and dpkg-query, on records of an imagined host."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nodeagent import packages
from nodeagent.errors import Cancelled, Exists
from nodeagent.job import Job
from nodeagent.run import run_detached

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get")


class Host:
    """The records of a host, and a repository beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.installed, self.offered = folder, "", ""
        for each in ("dpkg/updates", "dpkg/info", "state/lists/partial", "cache/archives/partial", "repo", "etc"):
            (folder / each).mkdir(parents=True)

    def has(self, name: str, version: str = "1.0", status: str = "install ok installed", **fields: str) -> None:
        """A package is installed."""
        self.installed += _record(name, version, Status=status, **fields)

    def may_have(self, name: str, version: str = "1.0", **fields: str) -> None:
        """The repository has a package (its record; nobody fetches it)."""
        content = name.encode()
        more = {"Filename": f"./{name}.deb", "Size": str(len(content)), "SHA256": hashlib.sha256(content).hexdigest()}
        self.offered += _record(name, version, **more, **fields)

    def is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on apt-get and dpkg-query speak of it."""
        (self.folder / "dpkg/status").write_text(self.installed)
        (self.folder / "repo/Packages").write_text(self.offered)
        (self.folder / "etc/sources.list").write_text(f"deb [trusted=yes] file:{self.folder}/repo ./\n")
        settings = {
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "dpkg/status",
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::sourcelist": self.folder / "etc/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": self.folder / "etc/preferences",
            "Dir::Etc::preferencesparts": "-",
            "APT::Sandbox::User": "root",
        }
        (self.folder / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        monkeypatch.setenv("APT_CONFIG", str(self.folder / "apt.conf"))
        monkeypatch.setenv("DPKG_ADMINDIR", str(self.folder / "dpkg"))
        subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True)


def _record(name: str, version: str, **fields: str) -> str:
    values = {"Package": name, "Version": version, "Architecture": "amd64", "Maintainer": "x <x@y>", **fields}
    return "".join(f"{field}: {value}\n" for field, value in values.items()) + "Description: x\n\n"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host without anything."""
    return Host(tmp_path)


def refusal(host: Host, monkeypatch: pytest.MonkeyPatch, *missing: str) -> str:
    """Why these packages cannot be installed."""
    host.is_there(monkeypatch)
    with pytest.raises(Exists) as caught:
        packages.refuse_losses(missing, Job())
    return caught.value.message


@pytest.mark.parametrize(("his", "ours"), [({"Conflicts": "qemu-utils"}, {}), ({}, {"Conflicts": "his-tool"})])
def test_a_package_of_the_administrator_s_that_would_be_removed_is_named_with_the_conflict(
    host: Host, monkeypatch: pytest.MonkeyPatch, his: dict[str, str], ours: dict[str, str]
) -> None:
    host.has("his-tool", **his)
    host.may_have("qemu-utils", **ours)
    assert refusal(host, monkeypatch, "qemu-utils") == (
        "Installing what a node needs (qemu-utils) would remove the package “his-tool”, which conflicts with "
        "“qemu-utils”. Nothing was installed: see to that package, then try again."
    )


def test_a_package_that_would_be_downgraded_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.has("libx", "2.0")
    host.may_have("libx", "1.0")
    host.may_have("qemu-utils", Depends="libx (= 1.0)")
    (host.folder / "etc/preferences").write_text("Package: libx\nPin: version 1.0\nPin-Priority: 1001\n")
    assert "downgrade the package “libx” from 2.0 to 1.0" in refusal(host, monkeypatch, "qemu-utils")


def test_a_package_on_hold_is_not_changed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.has("libx", "1.0", status="hold ok installed")
    host.may_have("libx", "2.0")
    host.may_have("qemu-utils", Depends="libx (>= 2.0)")
    assert "libx" in refusal(host, monkeypatch, "qemu-utils")


def test_what_cannot_be_beside_what_is_there_is_told_in_apt_s_words(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.may_have("qemu-utils", Depends="libx (>= 2.0)")
    assert "qemu-utils : Depends: libx (>= 2.0)" in refusal(host, monkeypatch, "qemu-utils")


def test_what_takes_nothing_away_is_not_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.has("libx", "1.0")
    host.may_have("libx", "2.0")
    host.may_have("qemu-utils", Depends="libx (>= 2.0)")
    host.is_there(monkeypatch)
    packages.refuse_losses(["qemu-utils"], Job())


def test_a_package_on_hold_is_there(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.has("qemu-utils", status="hold ok installed")
    host.has("nftables")
    host.has("ovmf", status="deinstall ok config-files")
    host.has("iproute2", status="install ok half-configured")
    host.is_there(monkeypatch)
    there = {"qemu-utils", "nftables"}
    assert packages.missing_debs(Job()) == [each for each in packages.DEBIAN_PACKAGES if each not in there]


DNF = """
Dependencies resolved.
Installing:
 qemu-kvm       x86_64  9.0  appstream  10 k
     replacing  his-tool.x86_64 1.0
Removing dependent packages:
 his-other      x86_64  1.0  @system    10 k

Transaction Summary
"""


def test_what_dnf_would_take_away_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "said").write_text(DNF)
    for name, text in {"rpm": "exit 1", "dnf": f'echo "$@" >> {tmp_path}/asked; cat {tmp_path}/said; exit 1'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("sh", "cat", "setpriv"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Exists, match=r"his-other, his-tool\.x86_64"):
        packages.install(Job())
    assert all(line.startswith("--assumeno") for line in (tmp_path / "asked").read_text().splitlines())


def test_what_must_not_be_ended_half_way_goes_on_when_its_request_is_cancelled(tmp_path: Path) -> None:
    job, go, done = Job(), tmp_path / "go", tmp_path / "done"
    program = (
        "import pathlib, sys, time\ngo, done = map(pathlib.Path, sys.argv[1:])\n"
        "while not go.exists(): time.sleep(0.01)\nprint('said'); done.touch()"
    )
    threading.Timer(0.2, job.stopped.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        run_detached([sys.executable, "-c", program, str(go), str(done)], job)
    assert time.monotonic() - began < 5
    go.touch()
    until = time.monotonic() + 20
    while not done.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_it_answers_what_it_printed_and_how_it_ended() -> None:
    finished = run_detached(["sh", "-c", "echo out; echo err >&2; exit 3"], Job(), env={"A": os.devnull})
    assert (finished.exit_code, finished.stdout, finished.stderr) == (3, "out\n", "err\n")
