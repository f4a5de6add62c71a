"""No command goes without a test of its behaviour."""

from __future__ import annotations

import importlib
from pathlib import Path

from nodeagent.protocol import REQUESTS


def test_every_request_is_covered_by_a_contract_test() -> None:
    covered: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        module = importlib.import_module(f"tests.contract.{path.stem}")
        for value in vars(module).values():
            for mark in getattr(value, "pytestmark", []):
                covered |= set(mark.args) if mark.name == "covers" else set()
    assert covered == set(REQUESTS)
