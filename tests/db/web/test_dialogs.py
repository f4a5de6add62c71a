"""What is asked for by dialogs and forms of pages: checked, told at its field, done with the viewer's rights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from panel.accounts.models import Level, User
from panel.cluster.models import Node
from panel.core import kinds
from panel.images.models import Image
from panel.network.models import Network
from panel.tasks import registry
from panel.tasks.models import Task
from panel.tasks.operation import Operation
from panel.vms.models import Vm
from panel.web import presets, words
from panel.web.operation_form import OperationForm
from tests.db.web.test_pages import signed_in, vm

__all__ = ["vm"]
EVERY = list(registry.every())
HTMX = {"HX-Request": "true"}


def _post(client: Client, path: str, body: dict[str, Any], target: str = "dialog-content") -> Any:
    return client.post(path, body, secure=True, headers={**HTMX, "HX-Target": target})


@pytest.mark.parametrize("operation", EVERY, ids=lambda each: each.name)
def test_every_parameter_has_a_label_and_a_field(admin: User, vm: int, operation: Operation[Any]) -> None:
    kind = kinds.get(operation.object_type)
    objects: dict[str, Any] = {"vm": Vm.objects.get(pk=vm), "network": Network.objects.latest("pk")}
    obj = None if operation.creates else objects.get(kind.name)
    form = OperationForm(operation, admin, obj)
    assert set(form.fields) == set(operation.params.model_fields)
    assert not [name for name in form.fields if name not in words.PARAMETERS]
    assert not re.search(r'value="(None|\[\])"|>\s*(None|\[\])\s*</textarea>', str(form.as_p()))


def test_what_asks_nothing_is_asked_for_by_its_button(admin: User, vm: int) -> None:
    answer = _post(signed_in(admin), f"/vms/{vm}/do/stop", {})
    task = Task.objects.latest("pk")
    assert (answer.status_code, task.operation) == (204, "vm.stop")
    said = json.loads(answer.headers["HX-Trigger"])["say"]
    assert said["to"] == f"/tasks/{task.pk}"


def test_what_is_refused_is_told_at_its_field_and_what_is_gone_as_a_text(admin: User, vm: int) -> None:
    client, before = signed_in(admin), Task.objects.count()
    answer = _post(client, f"/vms/{vm}/do/rename", {"dialog": "1", "name": "no name"})
    assert answer.status_code == 422 and "use a-z" in answer.content.decode()
    assert 'id="id_name-error"' in answer.content.decode()
    assert Task.objects.count() == before
    _post(client, f"/vms/{vm}/do/stop", {})
    answer = _post(client, f"/vms/{vm}/do/pause", {})
    assert (answer.status_code, answer.headers["Content-Type"]) == (409, "text/plain; charset=utf-8")
    assert "held by task" in answer.content.decode() and Task.objects.count() == before + 1


def test_a_vm_is_deleted_only_by_who_types_its_name(admin: User, vm: int) -> None:
    client = signed_in(admin)
    dialog = client.get(f"/vms/{vm}/do/delete", secure=True).content.decode()
    assert "Disk vda" in dialog and "10.77.0.10" in dialog
    for typed, status in (("", 422), ("web2", 422), ("web1", 204)):
        assert _post(client, f"/vms/{vm}/do/delete", {"dialog": "1", "typed_name": typed}).status_code == status


def test_a_dialog_shows_the_plan_for_what_is_filled_in(admin: User, vm: int) -> None:
    client, before = signed_in(admin), Task.objects.count()
    answer = _post(client, f"/vms/{vm}/do/grow-disk", {"disk": "vda", "size_gib": "50"}, target="plan")
    assert "<li>" in answer.content.decode()
    answer = _post(client, f"/vms/{vm}/do/rename", {"name": "no name"}, target="plan")
    assert "use a-z" in answer.content.decode()
    assert Task.objects.count() == before


@pytest.mark.parametrize("path", ["do/stop", "do/rename", "settings", "console/link"])
def test_another_s_vm_is_as_absent(user: User, vm: int, path: str) -> None:
    assert _post(signed_in(user), f"/vms/{vm}/{path}", {"name": "mine"}).status_code == 404
    auditor = User.objects.create_user("auditor", "correct horse", level=Level.READONLY)
    assert _post(signed_in(auditor), f"/vms/{vm}/{path}", {"name": "mine"}).status_code == 404
    assert not Task.objects.exclude(operation="vm.create").exists()


def test_nothing_is_done_for_another_site(admin: User, vm: int) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    for path in (f"/vms/{vm}/do/stop", f"/vms/{vm}/settings", "/vms/new", "/vms/group/stop", "/theme"):
        assert _post(client, path, {"ids": str(vm)}).status_code == 403, path


def test_a_group_asks_only_for_what_is_possible_and_tells_the_rest(
    admin: User, api: APIClient, vm: int, run_tasks: Callable[[], None]
) -> None:
    other = api.post("/api/v1/vms", {"name": "web2", "image": "small", "flavor": "tiny"}).json()["vm"]
    run_tasks()
    Vm.objects.filter(pk=other).update(status="shut off")
    client = signed_in(admin)
    ids = f"{vm},{other},4711"
    shown = client.get(f"/vms/group/restart?ids={ids}", secure=True).content.decode()
    assert shown.count("Possible") == 1 and "web2" in shown
    answer = _post(client, "/vms/group/restart", {"ids": ids}).content.decode()
    assert answer.count("Asked for") == 1
    assert list(Task.objects.filter(operation="vm.restart").values_list("object_id", flat=True)) == [vm]


def test_settings_are_changed_by_their_form_and_a_title_is_taken_away(
    admin: User, vm: int, run_tasks: Callable[[], None]
) -> None:
    client, path = signed_in(admin), f"/vms/{vm}/settings"
    operation = registry.get("vm.configure")

    def filled(**values: Any) -> dict[str, Any]:
        now = presets.of(operation, admin, Vm.objects.get(pk=vm), {})
        return {name: value for name, value in {**now, **values}.items() if value is not None}

    answer = _post(client, path, filled(vcpus=400), target="settings")
    assert answer.status_code == 422 and 'id="id_vcpus-error"' in answer.content.decode()
    for title in ("The shop", ""):
        answer = _post(client, path, filled(title=title), target="settings")
        assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, f"/vms/{vm}")
        run_tasks()
        assert Vm.objects.get(pk=vm).title == title


def test_a_vm_is_created_by_the_page_which_tells_before_what_will_be_done(
    admin: User, node: Node, image: Image, run_tasks: Callable[[], None]
) -> None:
    client = signed_in(admin)
    body = {"name": "by hand", "image": "small", "flavor": "tiny", "password": "correct horse"}
    answer = _post(client, "/vms/new", body, target="create")
    assert answer.status_code == 422 and "use a-z" in answer.content.decode()
    body["name"] = "byhand"
    plan = _post(client, "/vms/new", body, target="plan").content.decode()
    assert node.name in plan and "<li>" in plan
    assert not Vm.objects.exists()
    answer = _post(client, "/vms/new", body, target="create")
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, f"/vms/{Vm.objects.get().pk}")
    run_tasks()
    assert Vm.objects.get().name == "byhand"
