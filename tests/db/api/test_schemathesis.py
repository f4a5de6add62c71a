"""The schema is true: what schemathesis calls at random is answered as it says, and never with a 5xx.

A sample runs with the others; `VMPANEL_SCHEMATHESIS=20000` makes at least so many calls.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel.standalone.options import TOP
from tests.services import Services
from tests.stack import START_SECONDS, Stack, wait_until

SAMPLE = 200
MOST_A_ROUND = 50
"""Calls of each operation in one round, each with a seed of its own."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)


@pytest.fixture
def served(services: Services) -> Iterator[Stack]:
    """A panel that serves, with some of everything in its database and nobody who carries out tasks."""
    stack = Stack(services, "schema", "127.0.0.1")
    try:
        sown = subprocess.run(
            [sys.executable, "-m", "tests.db.api.seeds"],
            capture_output=True,
            text=True,
            check=False,
            cwd=TOP,
            env=stack.environment,
        )
        assert sown.returncode == 0, sown.stderr
        stack.token = json.loads(sown.stdout)["token"]
        stack.run("panel")
        wait_until(stack._serves, "the panel serves", START_SECONDS)
        yield stack
    finally:
        stack.stop()


def called(stack: Stack, tmp_path: Path, examples: int, seed: int) -> tuple[int, str]:
    """How many calls schemathesis made, and what it complained of."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"https://127.0.0.1:{stack.port}/api/v1/schema?format=json",
            f"--checks={','.join(CHECKS)}",
            f"--max-examples={examples}",
            f"--tls-verify={stack.layout.tls / 'panel.crt'}",
            f"--header=Authorization: Bearer {stack.token}",
            "--exclude-path=/api/v1/events",
            "--phases=fuzzing",
            "--continue-on-failure",
            "--no-shrink",
            "--suppress-health-check=all",
            "--warnings=off",
            f"--seed={seed}",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    text = done.stdout + done.stderr
    made = re.search(r"(\d+) generated", text)
    return int(made[1]) if made else 0, "" if done.returncode == 0 else text


# The whole takes hours on a machine that has other work.
@pytest.mark.timeout(12 * 3600 if "VMPANEL_SCHEMATHESIS" in os.environ else 600)
def test_random_calls_are_answered_as_the_schema_says(served: Stack, tmp_path: Path) -> None:
    least = int(os.environ.get("VMPANEL_SCHEMATHESIS", "0")) or SAMPLE
    with served.api() as api:
        calls = sum(len(methods) for methods in api.get("schema?format=json").json()["paths"].values())
    made, seed = 0, 0
    # Of calls that take nothing there are few different ones, so a round makes fewer than it may.
    while made < least:
        seed += 1
        more, complaints = called(served, tmp_path, min(MOST_A_ROUND, -(-(least - made) // calls)), seed)
        assert not complaints, complaints[-20000:]
        assert more
        made += more
    print(f"schemathesis: {made} calls of {calls} operations in {seed} rounds")
    log = (served.layout.log / "panel.log").read_text(encoding="utf-8")
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]
