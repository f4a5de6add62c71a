"""The programs that the panel puts on a node: the same bytes from the same sources, and Python 3.9 runs them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from nodeagent.protocol import PROTOCOL_VERSION
from panel.cluster import agent_package

HELLO = f'{{"hello": {{"protocol": {PROTOCOL_VERSION}}}}}\n'


def python39() -> str | None:
    """A Python 3.9 of this machine, by its name or pyenv's."""
    found = sorted(str(path) for path in Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))
    # pyenv's own "python3.9" is a shim that runs only where that version was chosen.
    return found[-1] if found else shutil.which("python3.9")


def test_the_same_sources_give_the_same_bytes() -> None:
    before = agent_package.files()
    agent_package.build.cache_clear()
    assert agent_package.files() == before


def test_a_package_holds_its_sources_and_nothing_else() -> None:
    names = zipfile.ZipFile(io.BytesIO(agent_package.files()[agent_package.AGENT_PATH])).namelist()
    assert "__main__.py" in names and "nodeagent/protocol/wire.py" in names
    assert all(name == "__main__.py" or name.startswith("nodeagent/") for name in names)
    assert all(name.endswith(".py") for name in names)


@pytest.mark.parametrize("python", ["/usr/bin/python3", python39()])
def test_the_agent_says_hello_and_reads_facts(python: str | None, tmp_path: Path) -> None:
    if python is None or not Path(python).exists():
        pytest.skip("this machine has no such Python")
    zipapp = tmp_path / "nodeagent.pyz"
    zipapp.write_bytes(agent_package.files()[agent_package.AGENT_PATH])
    request = json.dumps({"id": 1, "command": "node_facts", "params": {}}) + "\n"
    process = subprocess.Popen(
        [python, "-W", "error::SyntaxWarning", str(zipapp)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"VMPANEL_NODE_ROOT": str(tmp_path), "VMPANEL_LIBVIRT_URI": "test:///default", "PATH": "/usr/bin:/bin"},
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(HELLO + request)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["hello"]["protocol"] == PROTOCOL_VERSION
        assert json.loads(process.stdout.readline())["result"]["cpu_count"] >= 1
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize("package", ["nodeagent", "vmwatch"])
def test_what_runs_on_nodes_needs_no_newer_python_than_3_9(package: str) -> None:
    vermin = shutil.which("vermin", path=str(agent_package.ROOT / ".venv/bin")) or shutil.which("vermin")
    if vermin is None:
        pytest.skip("vermin is not installed")
    checked = subprocess.run(
        [vermin, "-t=3.9-", "--no-tips", "--violations", "--eval-annotations", str(agent_package.ROOT / package)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
