"""The lab's hosts as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.hosts import Lab, Node


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab of two nodes for the whole run; a test leaves them as it found them."""
    with Lab.create(2) as lab:
        yield lab


@pytest.fixture
def lab_nodes(lab: Lab) -> list[Node]:
    """The lab's nodes, all on and connected."""
    for node in lab.nodes:
        node.heal()
        if not node.running:
            node.start()
    return lab.nodes
