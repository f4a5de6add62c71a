"""Every test of a node runs twice: on the fake node and on the real agent with libvirt's test driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.protocol import storage
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, make_image
from tests.contract.vmwatch_daemons import Daemons
from tests.refs import directory


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "covers(*commands): the commands of the agent whose behaviour the test states")
    config.addinivalue_line("markers", "netns: the agent runs in a network namespace of its own")


@pytest.fixture(params=["fake", "agent"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """The node, with an empty pool. Whatever a test says that it covers, it must have called."""
    netns = request.node.get_closest_marker("netns") is not None
    if request.param == "fake":
        subject: Subject = FakeSubject()
    else:
        if netns and os.geteuid() != 0:
            pytest.skip("a network namespace needs root")
        subject = AgentSubject(tmp_path / "agent", netns=netns)
    subject.call(storage.PoolEnsure(pool=directory(subject.pool)))
    try:
        yield subject
    finally:
        if isinstance(subject, AgentSubject):
            subject.agent.stop()
    marker = request.node.get_closest_marker("covers")
    assert marker is None or set(marker.args) <= subject.called


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A qcow2 image of 8 MiB."""
    return make_image(tmp_path)


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    """The files of vmwatch's daemons and their panel; nothing runs yet."""
    made = Daemons(tmp_path)
    try:
        yield made
    finally:
        made.close()
