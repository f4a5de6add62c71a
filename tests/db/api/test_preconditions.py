"""ETags: what was read already is not told again, and what is not any more as it was read is not changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.cluster.selectors import default_cluster
from panel.images.models import Image
from panel.tasks.models import Task
from panel.vms.models import Vm
from tests.db.monitoring.messages import make_vm


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A VM of the customer."""
    return make_vm(node, user, "web1")


def test_what_was_read_already_is_not_told_again(api: APIClient, vm: Vm) -> None:
    path = f"/api/v1/vms/{vm.pk}"
    tag = api.get(path).headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = api.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_new_observation_changes_no_tag_and_a_new_name_does(api: APIClient, vm: Vm) -> None:
    path = f"/api/v1/vms/{vm.pk}"
    tag = api.get(path).headers["ETag"]
    Vm.objects.update(observed_at=timezone.now())
    assert api.get(path).headers["ETag"] == tag
    assert api.get(f"{path}?fields=name").headers["ETag"] == tag
    Vm.objects.update(name="web2")
    assert api.get(path).headers["ETag"] != tag


@pytest.mark.parametrize(("verb", "body"), [("configure", {"title": "new"}), ("delete", {})])
def test_a_vm_that_is_not_as_it_was_read_is_not_changed(
    api: APIClient, vm: Vm, verb: str, body: dict[str, Any], run_tasks: Callable[[], None]
) -> None:
    path = f"/api/v1/vms/{vm.pk}"
    tag = api.get(path).headers["ETag"]
    Vm.objects.update(title="by another")

    answer = api.post(f"{path}/{verb}", body, headers={"If-Match": tag})

    assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
    assert answer.json()["etag"] == api.get(path).headers["ETag"]
    assert Task.objects.count() == 0
    assert api.post(f"{path}/{verb}", body, headers={"If-Match": answer.json()["etag"]}).status_code == 202


def test_of_two_who_read_the_same_one_changes_it(
    api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    created = api.post("/api/v1/vms", {"name": "web1", "image": "small", "flavor": "small"}).json()
    run_tasks()
    path = f"/api/v1/vms/{created['vm']}"
    tag = api.get(path).headers["ETag"]
    first = api.post(f"{path}/configure", {"title": "first"}, headers={"If-Match": tag})
    assert first.status_code == 202
    run_tasks()
    second = api.post(f"{path}/configure", {"title": "second"}, headers={"If-Match": tag})
    assert second.status_code == 412
    assert Vm.objects.get().title == "first"


@pytest.mark.parametrize(("path", "body"), [("nodes/{node}", {"max_vms": 3}), ("cluster", {"check_vm_status": True})])
def test_policies_are_changed_only_as_they_were_read(
    api: APIClient, node: Node, path: str, body: dict[str, Any]
) -> None:
    where = f"/api/v1/{path.format(node=node.pk)}"
    tag = api.get(where).headers["ETag"]
    Node.objects.update(maintenance=True)
    Cluster.objects.filter(pk=default_cluster().pk).update(memory_overselling_percent=120)
    assert api.patch(where, body, headers={"If-Match": tag}).status_code == 412
    assert api.patch(where, body, headers={"If-Match": api.get(where).headers["ETag"]}).status_code == 200


@pytest.mark.parametrize("tag", ["", "x", '"a', '"a" "b"', 'W/"a', '"a" x', '"' + "a" * 5000 + '"'])
def test_a_tag_that_is_none_is_refused(api: APIClient, vm: Vm, tag: str) -> None:
    answer = api.post(f"/api/v1/vms/{vm.pk}/configure", {"title": "x"}, headers={"If-Match": tag})
    assert (answer.status_code, answer.json()["field"]) == (400, "If-Match")


def test_a_weak_tag_and_a_thing_without_tags_never_match(api: APIClient, vm: Vm) -> None:
    tag = api.get(f"/api/v1/vms/{vm.pk}").headers["ETag"]
    weak = api.post(f"/api/v1/vms/{vm.pk}/configure", {"title": "x"}, headers={"If-Match": f"W/{tag}"})
    assert weak.status_code == 412
    new = api.post("/api/v1/vms", {"name": "web2", "image": "small"}, headers={"If-Match": tag})
    assert new.status_code == 412


def test_another_s_vm_is_absent_whatever_matches(api_as_user: APIClient, node: Node, admin: User) -> None:
    other = make_vm(node, admin, "other")
    answer = api_as_user.post(f"/api/v1/vms/{other.pk}/start", {}, headers={"If-Match": "*"})
    assert answer.status_code == 404
