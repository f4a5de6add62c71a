"""A storage's file system that somebody unmounts, or mounts read-only: nothing is written, and all is well after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.hosts import Node
from tests.stack import done, task_of, wait_for_task

DISK, POOL = "/srv/disk", "/srv/byhand/pool"
"""The disk is a file system in memory; what is mounted at the pool's path is a folder of it."""


class Storage:
    """A storage of the panel on a file system of its own."""

    def __init__(self, node: Node, api: httpx.Client) -> None:
        self.node, self.api = node, api
        self.node_id = api.get("nodes", params={"name": node.name}).json()["results"][0]["id"]

    def mount(self) -> None:
        """Its file system is there."""
        self.node.run(["mount", "--bind", f"{DISK}/pool", POOL])

    def unmount(self) -> None:
        """It is not."""
        self.node.run(["umount", POOL])

    def check(self) -> list[str]:
        """What a check of the node complains of."""
        return list(done(self.api, self.api.post(f"nodes/{self.node_id}/check", json={}))["result"]["complaints"])

    def files(self, folder: str) -> list[str]:
        """The files in the folder and below."""
        return sorted(self.node.run(["find", folder, "-mindepth", "1", "-printf", "%P\\n"]).stdout.split())


@pytest.fixture
def storage(cluster: list[Node], api: httpx.Client) -> Iterator[Storage]:
    """The storage, known to the panel on the lab's second node alone."""
    node = cluster[1]
    node.run(["mkdir", "-p", DISK, POOL])
    node.run(["mount", "-t", "tmpfs", "none", DISK])
    node.run(["mkdir", f"{DISK}/pool"])
    made = Storage(node, api)
    made.mount()
    api.post("pools", json={"name": "byhand", "path": POOL})
    assert made.check() == []
    try:
        yield made
    finally:
        node.run(["umount", "-R", POOL], check=False)
        node.run(["umount", DISK])
        # The storage stays in the cluster: a folder of the node's own is it for the tests that follow.
        assert made.check()
        done(api, api.post(f"nodes/{made.node_id}/accept-storage", json={"pool": "byhand"}))


def ask(storage: Storage, name: str) -> dict[str, Any]:
    """Ask for a VM there and wait for the task's end."""
    raw = {"name": name, "image": "tiny", "flavor": "tiny", "node": storage.node.name, "pool": "byhand"}
    answer = storage.api.post("vms", json={**raw, "password": "correct horse"})
    return dict(wait_for_task(storage.api, task_of(answer)))


def test_nothing_is_written_where_a_storage_is_not_mounted_and_all_is_well_after_the_mount(storage: Storage) -> None:
    before = storage.files(f"{DISK}/pool")
    storage.unmount()
    task = ask(storage, "nowhere")
    assert task["status"] == "failed" and "is not mounted: its mark is gone" in task["error"]["message"]
    (told,) = storage.check()
    assert "“byhand” is not mounted" in told
    assert storage.files(POOL) == []
    assert storage.api.get("vms", params={"name": "nowhere"}).json()["results"] == []
    storage.mount()
    assert storage.check() == []
    storage.node.run(["mount", "-o", "remount,bind,ro", POOL])
    task = ask(storage, "readonly")
    assert task["status"] == "failed" and "read-only" in task["error"]["message"]
    (told,) = storage.check()
    assert "“byhand” is mounted read-only" in told
    storage.node.run(["mount", "-o", "remount,bind,rw", POOL])
    assert storage.check() == []
    assert storage.files(f"{DISK}/pool") == before
