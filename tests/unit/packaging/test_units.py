"""systemd takes the units, and they keep what they run away from all else of the machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from panel.standalone.options import TOP

UNITS = sorted((TOP / "packaging" / "systemd").glob("vm*"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
PROGRAM = re.compile(r"/usr/lib/vmpanel/venv/bin/\S+")
MOST_EXPOSED = 4.0
"""Of ten, as systemd-analyze counts."""

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units, whose programs are there."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(PROGRAM.sub("/bin/true", unit.read_text()))
    return tmp_path


def analyze(*words: str, cwd: Path) -> str:
    """What systemd-analyze says, where it is content."""
    done = subprocess.run(["systemd-analyze", *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_a_unit_for_each_program() -> None:
    assert {"vmpanel", "vmpanel-worker@", "vmwatch-master"} == {unit.stem for unit in SERVICES}


def test_systemd_knows_every_line_of_them(folder: Path) -> None:
    analyze("verify", "--recursive-errors=no", *(f"./{unit.name}" for unit in UNITS), cwd=folder)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_what_runs_is_kept_away_from_the_machine(folder: Path, unit: Path) -> None:
    said = analyze("security", "--offline=true", f"./{unit.name}", cwd=folder)
    exposed = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert exposed is not None, said
    print(exposed[0])
    assert float(exposed[1]) < MOST_EXPOSED


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_each_has_a_log_of_its_name_a_watchdog_and_a_bound_of_memory(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    named = {line.partition("=")[0]: line.partition("=")[2] for line in lines if "=" in line}
    assert named["SyslogIdentifier"].startswith(unit.stem.rstrip("@"))
    assert named["Type"] == "notify" and int(named["WatchdogSec"]) > 0
    assert named["MemoryMax"] and named["Restart"] == "always" and named["PartOf"] == "vmpanel.target"
