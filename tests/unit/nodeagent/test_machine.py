"""Facts of a node whose libvirtd hangs."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from nodeagent import libvirt_facts
from nodeagent.commands import machine
from nodeagent.job import Job
from nodeagent.libvirt_facts import LibvirtFacts, _Question
from nodeagent.protocol import node

TOLD = LibvirtFacts(host="<host/>", qemu_version=7002000, copies_running=True, seconds=1.0)


def test_a_libvirtd_that_hangs_does_not_hold_up_the_facts_and_keeps_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    released, asked = threading.Event(), []

    def hang() -> LibvirtFacts:
        asked.append(1)
        released.wait(60)
        return TOLD

    monkeypatch.setattr(machine, "LIBVIRT_FACTS_SECONDS", 0.05)
    monkeypatch.setattr(libvirt_facts, "_version", _Question(lambda: 9000000))
    monkeypatch.setattr(libvirt_facts, "_facts", _Question(hang))
    monkeypatch.setattr(libvirt_facts, "_key", lambda: None)
    try:
        for _ in range(3):
            facts = machine.node_facts(node.NodeFacts(), Job())
            assert (facts.libvirt, facts.libvirt_version, facts.qemu_version) == (node.ANSWERS, "9.0.0", None)
    finally:
        released.set()
    assert facts.memory_mib > 0 and asked == [1]
    monkeypatch.setattr(machine, "LIBVIRT_FACTS_SECONDS", 10.0)
    assert machine.node_facts(node.NodeFacts(), Job()).qemu_version == "7.2.0"


def test_what_was_slow_once_is_asked_again_and_believed_until_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, released = replace(TOLD, seconds=libvirt_facts.SLOW_SECONDS + 1), threading.Event()
    monkeypatch.setattr(libvirt_facts, "remembered", lambda: slow)
    monkeypatch.setattr(libvirt_facts, "_facts", _Question(lambda: released.wait(60) and TOLD))
    try:
        assert libvirt_facts.ask(Job(), 0.05) == slow
        # Who needs them for its work does not wait for others.
        assert libvirt_facts.ask(Job()) == slow
    finally:
        released.set()
    assert libvirt_facts.ask(Job(), 10.0) == TOLD
