"""Clients that generators make of the schema are type-checked strictly, with a minimal order that uses them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rest_framework.test import APIClient

from panel.standalone.options import TOP

MADE = TOP / "var/clients"
"""The generators, by script/setup --tests."""
SOURCES = TOP / "tests/clients"

pytestmark = pytest.mark.skipif(
    not (MADE / ".made-from").exists(), reason="the generators are not there: script/setup --tests fetches them"
)


def run(folder: Path, *words: str | Path) -> None:
    """Run a program in the folder to its good end."""
    done = subprocess.run([str(each) for each in words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path, api: APIClient) -> Iterator[Path]:
    """A folder with the schema and the clients' sources."""
    (tmp_path / "schema.json").write_bytes(api.get("/api/v1/schema?format=json").content)
    for name in ("order.ts", "order.py"):
        shutil.copy(SOURCES / name, tmp_path)
    yield tmp_path


def test_a_minimal_order_type_checks_in_a_generated_typescript_client(folder: Path) -> None:
    programs = MADE / "node_modules/.bin"
    run(folder, programs / "openapi-typescript", "schema.json", "-o", "api.d.ts")
    options = ("--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--lib", "es2022,dom")
    run(folder, programs / "tsc", *options, "order.ts")


def test_a_minimal_order_type_checks_in_a_generated_python_client(folder: Path) -> None:
    programs = MADE / "venv/bin"
    run(folder, programs / "openapi-python-client", "generate", "--path", "schema.json", "--output-path", "client")
    (folder / "client/vmpanel_client").rename(folder / "vmpanel_client")
    run(folder, programs / "mypy", "--strict", "order.py")
