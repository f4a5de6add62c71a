"""Every operation goes there and back on a kind of storage that is one file on either side."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.cluster.selectors import default_cluster
from panel.core.errors import OperationFailed
from panel.doctor.services import look
from panel.images.models import Image
from panel.storage.models import Pool
from panel.tasks.models import Status
from tests.db.conftest import make_node, run_task
from tests.db.tasks.scenarios import SCENARIOS, ask_create
from tests.db.tasks.strikes import Strike
from tests.db.tasks.test_every_operation import REMAINS, operation_of, undoable
from tests.db.tasks.world import nodes, world
from tests.kinds import memory_agent, memory_panel


@pytest.fixture
def memory_pool() -> Pool:
    """The cluster's first storage, of that kind."""
    assert memory_panel.MemoryKind.name == memory_agent.Memory.KIND
    return Pool.objects.create(cluster=default_cluster(), name="local", kind="memory", options={"cell": "a"})


@pytest.fixture
def node(memory_pool: Pool) -> Node:
    """A node whose storage it is."""
    return make_node()


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_operation_is_undone_and_done(admin: User, node: Node, image: Image, name: str) -> None:
    ask, operation = SCENARIOS[name](admin, node), operation_of(name)
    before, last = world(), undoable(name)[-1]
    # Those that have volumes made or taken away hold the storage.
    holds = operation.on_failure == "undo" and any(spec.kind == "pool" for spec in operation.locks)
    if holds and not last.inline and last == operation.steps[-1]:
        failed = run_task(ask(), Strike(last.name, "before", OperationFailed("It was meant to fail.", step=last.name)))
        assert (failed.status, world()) == (Status.FAILED, before), failed.error
    done = run_task(ask())
    assert done.status == Status.DONE, done.error
    assert [place for memory in nodes() for place in memory.files if "/volumes/" in place] == []
    assert {finding.code for finding in look()} == REMAINS.get(name, set())


def test_a_storage_of_the_kind_is_added_with_its_options(admin: User, node: Node, memory_pool: Pool) -> None:
    api = APIClient()
    api.force_authenticate(admin)
    wrong = api.post("/api/v1/pools", {"name": "b", "kind": "memory", "options": {"cell": "A!"}}, format="json")
    assert (wrong.status_code, wrong.json()["field"]) == (400, "cell")
    made = api.post("/api/v1/pools", {"name": "b", "kind": "memory", "options": {"cell": "b"}}, format="json").json()
    assert (made["kind"], made["path"], made["options"]) == ("memory", "", {"cell": "b"})
    unknown = api.post("/api/v1/pools", {"name": "c", "kind": "tape"}, format="json")
    assert (unknown.status_code, unknown.json()["field"]) == (400, "kind")
    assert fake.node(node.pk).files == {}
    kinds = {each["name"]: each for each in api.get("/api/v1/storage-kinds").json()}
    assert (kinds["memory"]["shared"], kinds["memory"]["formats"]) == (None, ["qcow2", "raw"])
    assert "snapshots" in kinds["dir"]["can"] and "same on every node" in str(kinds["dir"]["options"])


@pytest.mark.parametrize(
    ("verb", "raw", "field"),
    [
        ("snapshot", {"name": "one"}, "id"),
        ("grow-disk", {"disk": "vda", "size_gib": 90}, "disk"),
        ("clone", {"name": "web2"}, "id"),
    ],
)
def test_what_a_kind_cannot_do_is_refused_before_anything_is_touched(
    admin: User,
    node: Node,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    raw: dict[str, object],
    field: str,
) -> None:
    monkeypatch.setattr(memory_panel.MemoryKind, "can", frozenset())
    vm = run_task(ask_create(admin)).object_id
    api = APIClient()
    api.force_authenticate(admin)
    refused = api.post(f"/api/v1/vms/{vm}/{verb}", raw, format="json")
    assert (refused.status_code, refused.json()["field"]) == (409, field), refused.json()
    assert "storage" in refused.json()["detail"]
