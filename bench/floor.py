"""A panel and lab nodes for a measurement."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import httpx

from tests.lab.fixtures import link_images
from tests.lab.hosts import Lab, Node
from tests.services import Services
from tests.stack import Stack, done


@contextlib.contextmanager
def panel_with_node(name: str) -> Iterator[tuple[Stack, httpx.Client, Node]]:
    """A whole panel of its own with one lab node in it; everything is gone afterwards."""
    with panel_with_nodes(name, 1) as (stack, api, nodes):
        yield stack, api, nodes[0]


@contextlib.contextmanager
def panel_with_nodes(name: str, count: int) -> Iterator[tuple[Stack, httpx.Client, list[Node]]]:
    """The same with several nodes."""
    services = Services()
    try:
        services.start()
        os.environ["VMPANEL_CONF"] = str(services.conf)
        with Lab.create(count) as lab:
            # The intervals that a real panel has.
            usual = {"LeaseSeconds": "15", "SweepSeconds": "2", "WorkerConcurrency": "4"}
            stack = Stack(services, name, lab.panel_address, usual)
            try:
                link_images(stack)
                stack.start()
                stack.manage("image_register", *[str(path) for path in sorted(stack.layout.images.glob("*.json"))])
                with stack.api() as api:
                    for node in lab.nodes:
                        raw = {"name": node.name, "address": node.address, "password": node.root_password}
                        done(api, api.post("nodes", json={**raw, "virtualization": "qemu"}))
                    yield stack, api, list(lab.nodes)
            finally:
                stack.stop()
    finally:
        services.stop()
