"""Facts of a node whose libvirtd hangs."""

from __future__ import annotations

import threading

import pytest

from nodeagent.commands import machine
from nodeagent.job import Job
from nodeagent.protocol import node


def test_a_libvirtd_that_hangs_does_not_hold_up_the_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang() -> tuple[str | None, str | None, str | None]:
        released.wait(60)
        return "9.0.0", None, None

    monkeypatch.setattr(machine, "LIBVIRT_FACTS_SECONDS", 0.05)
    monkeypatch.setattr(machine, "_ask_libvirt", hang)
    try:
        facts = machine.node_facts(node.NodeFacts(), Job())
    finally:
        released.set()
    assert facts.memory_mib > 0 and facts.libvirt_version is None
