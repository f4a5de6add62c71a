"""What programs are answered that name no `out`, or `sfrom=ajax`, as the old pages did."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from panel.tasks.models import Task
from panel.vms.models import Vm, VmStatus
from tests.db.mgrapi.classic import ADDRESS, BROWSER, World, call


def asked(world: World, who: str, method: str = "get", headers: dict[str, str] | None = None, **params: str) -> Any:
    """The JSON that a program gets."""
    return json.loads(call(method, headers=headers, auth=world.sessions[who], **params))


def test_a_list_has_cells_with_their_value_and_whether_a_vm_is_on(world: World) -> None:
    (row,) = asked(world, "anna", func="vm")["content"]
    assert (row["id"], row["ip"], row["mem"], row["vdsize"]) == (
        {"v": "237"},
        {"v": "10.77.0.10"},
        {"v": "128"},
        {"v": "10240"},
    )
    assert row["status"] == {"props": [{"n": "running", "t": "Running"}, {"v": "on"}]}
    assert row["vmstatus"] == {"v": "Running", "orig": "running"}
    assert asked(world, "bert", func="vm") == {"content": []}


@pytest.mark.parametrize(
    ("status", "on"), [(VmStatus.SHUT_OFF, "off"), (VmStatus.PAUSED, "on"), (VmStatus.UNKNOWN, "unknown")]
)
def test_what_is_not_known_is_neither_on_nor_off(world: World, status: VmStatus, on: str) -> None:
    Vm.objects.update(status=status)
    assert asked(world, "anna", func="vm")["content"][0]["status"]["props"][1] == {"v": on}


def test_a_script_of_a_page_says_that_it_is_none(world: World) -> None:
    answer = asked(world, "anna", headers=BROWSER, func="vm", sfrom="ajax")
    assert answer["content"][0]["name"] == {"v": "shop"}


def test_an_action_says_what_became_of_it(world: World) -> None:
    assert asked(world, "anna", func="vm.restart", elid="237") == {"ok": True}
    form = {"password": "a secret word", "confirm": "a secret word", "sok": "ok", "sfrom": "ajax"}
    assert asked(world, "anna", "post", func="vm.chpasswd", elid="237", clicked_button="ok", **form) == {"ok": True}
    assert [task.operation for task in Task.objects.order_by("pk")] == ["vm.restart", "vm.configure-guest"]


@pytest.mark.parametrize("func", ["vm.stop", "vm.delete", "user.delete", "vm.chpasswd", "vm.reinstall"])
def test_an_action_that_is_about_nothing_is_an_error(world: World, func: str) -> None:
    (message,) = asked(world, "admin", func=func, sok="ok")["message"]
    assert (message["status"], message["type"], message["object"]) == ("error", "missed", "elid")


def test_a_refusal_is_a_message_and_a_warning_for_each_that_was_named(world: World) -> None:
    answer = asked(world, "bert", func="vm.stop", elid="237")
    (message,) = answer["message"]
    assert (message["type"], message["object"]) == ("missed", "vm")
    assert answer["warning"] == {"237": {"msg": message["msg"]}}
    nobody = json.loads(call(func="vm"))
    assert nobody["message"][0]["type"] == "auth"


def test_a_form_is_a_row_with_its_choices_and_a_session_is_told(world: World) -> None:
    answer = asked(world, "anna", func="vm.reinstall", elid="237")
    assert answer["content"][0]["name"] == {"v": "shop"}
    assert answer["lists"]["vmi"] == [{"k": "vmpanel__small", "v": "Small OS"}]
    signed_in = json.loads(call("post", func="auth", username="anna", password="correct horse"))
    assert signed_in["ok"] and signed_in["level"] == "16"
    answer = Client(REMOTE_ADDR=ADDRESS).get("/vmmgr", {"func": "vm", "auth": signed_in["auth"]}, secure=True)
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
