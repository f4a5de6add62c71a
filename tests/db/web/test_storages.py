"""The page of storages: what each node has of them, what is wrong, and for whom it is."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from panel.accounts.models import Level, User
from panel.cluster.models import Node
from panel.cluster.selectors import default_cluster
from panel.notices.services import open_problem
from panel.storage.models import NodePool, Pool, Volume
from tests.db.conftest import GIB, make_node
from tests.db.web.test_isos import signed_in, text


def seen(pool: Pool, node: Node, mark: str = "", free_gib: int = 30) -> NodePool:
    """The pool on the node, of 100 GiB."""
    values = {"capacity_bytes": 100 * GIB, "free_bytes": free_gib * GIB, "mark": mark, "seen_at": timezone.now()}
    return NodePool.objects.update_or_create(node=node, pool=pool, defaults=values)[0]


def added(name: str, *, shared: bool = False) -> Pool:
    """One more pool."""
    return Pool.objects.create(cluster=default_cluster(), name=name, options={"path": f"/srv/{name}"}, shared=shared)


def shown(client: Client, pool: Pool) -> str:
    """The pool's part of the page."""
    return text(client, "/storages").partition(f'data-pool="{pool.pk}"')[2].partition("</section>")[0]


def row(client: Client, pool: Pool, node: Node) -> str:
    """What stands of the pool on the node, without its tags."""
    line = shown(client, pool).partition(f'data-node="{node.pk}"')[2].partition("</tr>")[0]
    return " ".join(re.sub(r"<[^>]*>|>", " ", line).split())


def test_each_storage_tells_its_room_and_volumes_node_by_node(admin: User, node: Node) -> None:
    pool, client, other = added("fast"), signed_in(admin), make_node("fake2")
    seen(pool, node)
    for size in (3, 7):
        Volume.objects.create(pool=pool, node=node, size_gib=size)
    told = row(client, pool, node)
    assert told.startswith("fake1 100 GiB 70 % 70 GiB, 70 % 30 GiB 2 of 10 GiB")
    assert row(client, pool, other).startswith("fake2 not there yet: from the node's next check on 0")
    page = text(client, "/storages")
    assert f'max="{100 * GIB}" high="{95 * GIB}" optimum="0" value="{70 * GIB}"' in " ".join(page.split())
    assert "<code>/srv/fast</code>, qcow2" in page and 'href="/storages"' in text(client, "/")


def test_nodes_that_see_the_same_files_are_named_and_a_wrong_declaration_is_marked(admin: User, node: Node) -> None:
    client, second, third = signed_in(admin), make_node("fake2"), make_node("fake3")
    shared, local = added("nfs", shared=True), added("fast")
    for each, mark in ((node, "a"), (second, "a")):
        seen(shared, each, mark)
    assert " 0 fake2 2" in row(client, shared, node) and "Declared" not in shown(client, shared)
    seen(shared, third, "b")
    assert "Declared shared, but not all nodes see the same files there." in shown(client, shared)
    assert " 0 no other 2" in row(client, shared, third)
    seen(shared, third, "a")
    assert " 0 all others 2" in row(client, shared, third) and "Declared" not in shown(client, shared)
    for each, mark in ((node, "c"), (second, "d"), (third, "")):
        seen(local, each, mark)
    assert "declared" not in shown(client, local)
    seen(local, third, "d")
    assert "Not declared shared, but nodes see the same files there." in shown(client, local)
    assert " 0 fake3 2" in row(client, local, second) and " 0 – 2" in row(client, local, node)


def test_what_checks_complain_of_in_storages_stands_on_the_page(admin: User, node: Node) -> None:
    open_problem(f"node:{node.pk}:storage", "The storage is full.", object_type="node", object_id=node.pk)
    open_problem(f"node:{node.pk}:clock", "The clock is wrong.", object_type="node", object_id=node.pk)
    page = text(signed_in(admin), "/storages")
    assert "The storage is full." in page and "The clock is wrong." not in page


def test_the_page_makes_the_same_queries_for_few_and_many(admin: User, node: Node) -> None:
    client = signed_in(admin)
    text(client, "/storages")
    with CaptureQueriesContext(connection) as few:
        text(client, "/storages")
    for number in range(5):
        pool, another = added(f"p{number}"), make_node(f"more{number}")
        seen(pool, another, "x")
        Volume.objects.create(pool=pool, node=another, size_gib=1)
        open_problem(f"node:{another.pk}:storage", "Full.", object_type="node", object_id=another.pk)
    with CaptureQueriesContext(connection) as many:
        text(client, "/storages")
    assert len(few) == len(many) <= 12


@pytest.mark.parametrize("level", [Level.SUPER, Level.READONLY, Level.USER])
def test_administrators_change_storages_readers_see_them_and_customers_do_not(level: str, node: Node) -> None:
    client = signed_in(User.objects.create(name="viewer", level=level))
    sees, changes = level != Level.USER, level == Level.SUPER
    answers = [client.get(path, secure=True).status_code for path in ("/storages", "/storages/new")]
    assert answers == [200 if sees else 404, 200 if changes else 404]
    assert ('href="/storages"' in text(client, "/")) is sees
    if sees:
        page = text(client, "/storages")
        assert ('name="shared"' in page, 'href="/storages/new"' in page) == (changes, changes)


def test_a_storage_is_added_and_errors_stand_at_their_fields(admin: User, node: Node) -> None:
    client, right = signed_in(admin), {"name": "fast", "kind": "dir", "volume_format": "qcow2", "path": "/srv/fast"}
    for change, told in (
        ({"path": "/srv"}, "A storage is an absolute path of at least two folders."),
        ({"path": ""}, "This field is required."),
        ({"name": "local"}, "There is a storage “local” already."),
        ({"path": "/var/lib/vmpanel/pool/x"}, "The storage “local” is at"),
    ):
        answer = client.post("/storages/new", {**right, **change}, secure=True)
        (field,) = change
        error = re.search(rf'id="id_{field}-error"[^>]*>([^<]*)', answer.content.decode())
        assert answer.status_code == 422 and error is not None and error[1].startswith(told), change
    answer = client.post("/storages/new", {**right, "shared": "on"}, secure=True)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/storages")
    assert Pool.objects.values_list("shared", "options").get(name="fast") == (True, {"path": "/srv/fast"})


def test_what_may_be_chosen_of_a_storage_is_changed_in_its_place(admin: User, user: User, node: Node) -> None:
    pool, client = added("fast"), signed_in(admin)
    path = f"/storages/{pool.pk}/settings"
    for viewer in (user, User.objects.create(name="reader", level=Level.READONLY)):
        assert signed_in(viewer).post(path, {"shared": "on"}, secure=True).status_code == 404
    assert client.post("/storages/4711/settings", {}, secure=True).status_code == 404
    answer = client.post(path, {"disk_overselling_percent": "7"}, secure=True)
    assert answer.status_code == 422 and b"is-invalid" in answer.content
    for asked, then in (
        ({"shared": "on", "disk_overselling_percent": "300"}, (True, 300)),
        ({"shared": "on", "disk_overselling_percent": ""}, (True, None)),
        ({}, (False, None)),
    ):
        answer = client.post(path, asked, secure=True)
        assert answer.status_code == 200 and "Saved." in answer.headers["HX-Trigger"]
        assert f'id="storage-{pool.pk}"' in answer.content.decode()
        assert Pool.objects.values_list("shared", "disk_overselling_percent").get(pk=pool.pk) == then
