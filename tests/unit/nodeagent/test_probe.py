"""The probe of KVM does its work where guests surely run, in QEMU's own emulation, and believes nothing less."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nodeagent import probe


@pytest.mark.skipif(probe.find_emulator() is None, reason="QEMU is not installed")
def test_a_guest_that_runs_is_seen_to_run() -> None:
    assert probe.kvm_works(60.0, accel="tcg")


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true"])
def test_an_emulator_that_ends_otherwise_proves_nothing(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "EMULATORS", (program,))
    assert not probe.kvm_works(5.0, accel="tcg")


def test_without_an_emulator_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "EMULATORS", ())
    assert not probe.kvm_works(1.0, accel="tcg")


@pytest.mark.skipif(not (shutil.which("as") and shutil.which("ld")), reason="binutils are not installed")
def test_the_bytes_are_those_of_the_source(tmp_path: Path) -> None:
    source = Path(probe.__file__).with_name("probe.S")
    subprocess.run(["as", "--32", str(source), "-o", str(tmp_path / "o")], check=True, capture_output=True)
    link = [
        "ld",
        "-m",
        "elf_i386",
        "-Ttext",
        "0",
        "--oformat",
        "binary",
        str(tmp_path / "o"),
        "-o",
        str(tmp_path / "b"),
    ]
    subprocess.run(link, check=True, capture_output=True)
    assert (tmp_path / "b").read_bytes()[: len(probe.PROGRAM)] == probe.PROGRAM
