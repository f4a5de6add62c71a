"""What Ctrl-K finds, and for whom."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from panel.accounts.models import User
from panel.core import kinds
from panel.core.wording import Text
from panel.notices.services import open_problem
from panel.tasks.models import Task
from panel.vms.models import Vm
from tests.db.web.test_pages import signed_in, vm

__all__ = ["vm"]


def _found(client: Client, text: str) -> str:
    headers = {"HX-Request": "true", "HX-Target": "found"}
    return client.get("/search", {"q": text}, secure=True, headers=headers).content.decode()


@pytest.mark.parametrize("text", ["web", "WEB1", "10.77.0.1", "uuid"])
def test_a_vm_is_found_by_name_address_or_uuid_and_what_can_be_done_with_it_is_offered(
    admin: User, vm: int, text: str
) -> None:
    found = _found(signed_in(admin), str(Vm.objects.get().uuid) if text == "uuid" else text)
    assert f'href="/vms/{vm}"' in found and f"/vms/{vm}/do/stop" in found and f"/vms/{vm}/console" in found


def test_tasks_are_found_by_number_and_request_users_nodes_and_pages_by_name(admin: User, user: User, vm: int) -> None:
    client, task = signed_in(admin), Task.objects.get()
    for text, page in (
        (str(task.pk), f"/tasks/{task.pk}"),
        (task.request_id, f"/tasks/{task.pk}"),
        (user.name, f"/users/{user.pk}"),
        (Vm.objects.get().node.name, f"/nodes/{Vm.objects.get().node_id}"),
        ("journ", "/journal"),
        ("create", "/vms/new"),
    ):
        assert f'href="{page}"' in _found(client, text), text
    assert "Nothing fits" in _found(client, "nothing like it")


def test_others_objects_are_as_absent_in_it(user: User, vm: int) -> None:
    client = signed_in(user)
    node = Vm.objects.get().node
    for text in ("web1", node.name, "admin", str(Task.objects.get().pk), "10.77.0.1"):
        found = _found(client, text)
        assert "/vms/" not in found.replace("/vms/new", "") and f"/nodes/{node.pk}" not in found
        assert "/users/" not in found and "/tasks/" not in found


def test_each_kind_that_is_found_has_a_page_and_the_search_makes_few_queries(admin: User, vm: int) -> None:
    assert all(kind.page for kind in kinds.every() if list(kind.search(admin, "e")))
    client = signed_in(admin)
    _found(client, "e1")
    with CaptureQueriesContext(connection) as captured:
        _found(client, "fake")
    assert len(captured) <= 16


def _here(client: Client, path: str, text: str = "") -> list[str]:
    """What the palette has first, when it is opened on a page."""
    headers = {"HX-Request": "true", "HX-Target": "found", "HX-Current-URL": f"https://panel.example{path}"}
    found = client.get("/search", {"q": text}, secure=True, headers=headers).content.decode()
    return re.findall(r'(?:hx-get|hx-post|href)="([^"]*)"', found)


def test_what_can_be_done_with_the_object_of_the_page_stands_first(admin: User, user: User, vm: int) -> None:
    client = signed_in(admin)
    found = _here(client, f"/vms/{vm}/devices")
    assert found[:3] == [f"/vms/{vm}/do/stop", f"/vms/{vm}/do/restart", f"/vms/{vm}/console"]
    # By a part of what it is called also what is in the menu, but nothing that is not possible now.
    assert _here(client, f"/vms/{vm}", "pau")[0] == f"/vms/{vm}/do/pause"
    assert f"/vms/{vm}/do/start" not in _here(client, f"/vms/{vm}", "start")
    node = Vm.objects.get().node_id
    assert _here(client, f"/nodes/{node}")[0] == f"/nodes/{node}/do/check"
    for elsewhere in ("/vms", "/no/such/page", f"/vms/{vm + 1}", "/[", "/nodes/99999999999999999999"):
        assert not [each for each in _here(client, elsewhere) if "/do/" in each], elsewhere
    assert not [each for each in _here(signed_in(user), f"/vms/{vm}") if "/do/" in each]


@pytest.mark.parametrize(
    ("language", "text"), [("en", "cannot be"), ("ru", "недоступ"), ("en", "WEB1"), ("ru", "web1"), ("en", "disk full")]
)
def test_problems_are_found_in_their_readers_language_with_the_name_of_their_object(
    admin: User, user: User, vm: int, language: str, text: str
) -> None:
    User.objects.update(language=language)
    node = Vm.objects.get().node
    reason = "The node “{node}” cannot be reached: {reason}"
    open_problem("node:1", Text(reason, {"node": "fake1", "reason": "no"}), object_type="node", object_id=node.pk)
    open_problem("vm:1", Text("disk full"), object_type="vm", object_id=vm)
    found = _found(signed_in(admin), text)
    of_vm = text.casefold() in ("web1", "disk full")
    assert ("disk full" in found) is of_vm
    assert (">web1<" if of_vm else ">fake1<") in found
    assert f'href="/vms/{vm}"' in found if of_vm else f'href="/nodes/{node.pk}"' in found
    assert "disk full" not in _found(signed_in(user), text)
    # So does the list of problems.
    rows = signed_in(admin).get("/problems", {"search": text}, secure=True).content.decode().partition("<tbody>")[2]
    if text.casefold() != "web1":
        assert (
            f'href="/{"vms" if of_vm else "nodes"}/{vm if of_vm else node.pk}">{"web1" if of_vm else "fake1"}</a>'
            in rows
        )
