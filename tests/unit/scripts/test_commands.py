"""Every command of script/ and bench/ on a fresh clone: what it is for, and what it wants before it can start."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel.standalone.options import TOP

COMMANDS = sorted(
    str(path.relative_to(TOP))
    for folder in ("script", "bench")
    for path in (TOP / folder).iterdir()
    if path.is_file() and os.access(path, os.X_OK)
)
SECONDS = 60
"""A command takes a tenth of a second; more than this it hangs."""


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """What is in the repository, and nothing that a command made."""
    listed = ["git", "-C", str(TOP), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    # Not in pytest's folder, which is for root alone.
    with tempfile.TemporaryDirectory(prefix="clone-") as folder:
        Path(folder).chmod(0o755)
        for name in filter(None, names.split("\0")):
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if (TOP / name).exists():
                shutil.copy(TOP / name, target)
        yield Path(folder)


def start(clone: Path, command: str, *words: str) -> tuple[int, list[str]]:
    """Start it as nobody, who can change nothing of the machine; answers its exit code and what it said."""
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [str(clone / command), *words],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
        **user,  # type: ignore[call-overload]
    )
    return done.returncode, done.stdout.splitlines()


def test_there_are_commands() -> None:
    assert {"script/server", "script/test", "script/lab", "bench/footprint"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_the_command_is_for(clone: Path, command: str) -> None:
    code, said = start(clone, command, "--help")
    assert code == 0, said
    assert command in "\n".join(said)


@pytest.mark.parametrize("command", COMMANDS)
def test_with_nothing_there_it_says_in_a_sentence_what_it_wants(clone: Path, command: str) -> None:
    code, said = start(clone, command)
    assert code not in (0, 126, 127), said
    # argparse shows the usage before its sentence.
    sentences = [line for line in said if not line.startswith(("usage: ", " "))]
    assert len(sentences) == 1, said
    assert sentences[0].startswith(("script/", "bench/")), said
    assert not [path for path in (".venv", "var") if (clone / path).exists()]
