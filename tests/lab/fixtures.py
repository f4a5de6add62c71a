"""The lab's hosts as fixtures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest

from panel.standalone.options import TOP
from tests.lab.hosts import Lab, Node
from tests.services import Services
from tests.stack import Stack, done


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab of two nodes for the whole run; a test leaves them as it found them."""
    with Lab.create(2) as lab:
        yield lab


@pytest.fixture
def lab_nodes(lab: Lab) -> list[Node]:
    """The lab's nodes, all on and connected."""
    nodes = list(lab.nodes)
    for node in nodes:
        node.heal()
        if not node.running:
            node.start()
    return nodes


@pytest.fixture(scope="session")
def stack(lab: Lab, services: Services) -> Iterator[Stack]:
    """A whole panel beside the lab, with the OS images registered."""
    stack = Stack(services, "lab", lab.panel_address)
    try:
        link_images(stack)
        stack.start()
        stack.manage("image_register", *[str(path) for path in sorted(stack.layout.images.glob("*.json"))])
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[httpx.Client]:
    """The REST API as the administrator."""
    with stack.api() as client:
        yield client


@pytest.fixture(scope="session")
def cluster(lab: Lab, stack: Stack, api: httpx.Client) -> list[Node]:
    """The lab's nodes, added to the panel by their ssh passwords."""
    # Their disks are in memory or on this machine's own; guests write little.
    api.patch("cluster", json={"disk_overselling_percent": 10000}).raise_for_status()
    # As they are now: a test may add hosts to the lab that it does not add to the panel.
    nodes, tasks = list(lab.nodes), []
    for node in nodes:
        raw = {"name": node.name, "address": node.address, "ssh_port": node.ssh_port, "password": node.root_password}
        tasks.append(api.post("nodes", json={**raw, "virtualization": "qemu"}))
    for answer in tasks:
        done(api, answer)
    return nodes


def link_images(stack: Stack) -> None:
    """The stack has the images that script/image made, without copying them."""
    for path in (TOP / "var" / "images").glob("*.qcow2"):
        try:
            (stack.layout.images / path.name).hardlink_to(path)
        except OSError:
            # Another file system: a copy it is.
            shutil.copy(path, stack.layout.images)
        shutil.copy(path.with_suffix(".json"), stack.layout.images)
