"""What clients read of forms and reports besides the values that they send back."""

from __future__ import annotations

import json
import re

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.mgrapi import sessions
from panel.monitoring.models import VmCounters
from panel.tasks.models import Task
from panel.vms.models import Vm, VmStatus
from tests.db.mgrapi.classic import ADDRESS, World, doc_of, error_of, rows_of, values_of

PASSWORD = {"password": "a secret word", "confirm": "a secret word"}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (VmStatus.RUNNING, "running"),
        (VmStatus.SHUT_OFF, "down"),
        (VmStatus.SAVED, "down"),
        (VmStatus.UNKNOWN, "unknown"),
    ],
)
def test_a_form_of_a_vm_says_whether_it_runs_and_where_its_vnc_is_not(
    world: World, status: VmStatus, state: str
) -> None:
    Vm.objects.update(status=status)
    form = values_of(world.call("anna", "vm.edit", elid="237"))
    assert (form["state"], form["osinstalled"]) == (state, "on")
    assert [form[f"vnc{each}"] for each in ("host", "port", "password")] == ["", "", ""]


def test_a_system_that_is_being_installed_is_not_installed(world: World) -> None:
    doc_of(world.call("anna", "vm.reinstall", elid="237", sok="ok", vmi="ISPsystem__small", **PASSWORD))
    assert values_of(world.call("anna", "vm.edit", elid="237"))["osinstalled"] == "off"
    Task.objects.all().update(status="done")
    assert values_of(world.call("anna", "vm.edit", elid="237"))["osinstalled"] == "on"
    Vm.objects.update(installed=False)
    assert values_of(world.call("anna", "vm.edit", elid="237"))["osinstalled"] == "off"


def test_the_name_of_a_system_is_what_an_order_takes_behind_its_repository(world: World) -> None:
    (row,) = json.loads(world.call("admin", "osmgr", out="json"))["doc"]["elem"]
    name = row["name"]["$"]
    order = {"sok": "ok", "name": "blog", "preset": "small", **PASSWORD}
    made = values_of(world.call("admin", "vm.edit", vmi=f"ISPsystem__{name}", **order))
    assert Vm.objects.get(pk=made["id"]).image == world.image
    assert values_of(world.call("admin", "osmgr.edit", elid=name))["name"] == name


@pytest.mark.parametrize(
    ("asked", "has_password"),
    [({"new_password": "off"}, False), ({"new_password": "on"}, True), ({}, True)],
)
def test_a_reinstallation_keeps_the_password_where_no_new_one_is_wanted(
    world: World, asked: dict[str, str], has_password: bool
) -> None:
    doc_of(world.call("anna", "vm.reinstall", elid="237", sok="ok", **PASSWORD, **asked))
    task = Task.objects.get(operation="vm.reinstall")
    assert hasattr(task, "secret") is has_password
    assert error_of(world.call("anna", "vm.reinstall", elid="237", sok="ok", new_password="on")) == (
        "missed",
        "password",
    )


def test_what_is_known_of_a_node_comes_in_rows_with_the_memory_that_is_promised(world: World) -> None:
    info = json.loads(world.call("admin", "vmhostnode.info", elid="20", out="json"))["doc"]
    (paid,) = [item for item in info["elem"] if item["type"]["$orig"] == "paid_mem"]
    number = re.search(r"\d+", paid["info"]["$"])
    assert number is not None and int(number.group()) == 128
    rows = {row["type"]: row["info"] for row in rows_of(world.call("admin", "vmhostnode.info", elid="20"))}
    assert (rows["name"], rows["mem"], rows["cpu"]) == ("fake1", "65536 MiB", "16")


def test_the_interfaces_of_a_running_vm_are_named_as_on_its_node(world: World) -> None:
    assert "interfaces" not in values_of(world.call("anna", "vm.sysinfo", elid="237"))
    reading = {"interfaces": {"vnet3": [1, 1, 1, 1], "vnet4": [1, 1, 1, 1]}}
    VmCounters.objects.create(vm=world.vm, node_id=20, run=1, at=timezone.now(), reading=reading)
    assert re.findall(r"vnet\d+", world.call("anna", "vm.sysinfo", elid="237")) == ["vnet3", "vnet4"]
    Vm.objects.update(status=VmStatus.SHUT_OFF)
    assert "interfaces" not in values_of(world.call("anna", "vm.sysinfo", elid="237"))


def active(world: World, **about: str) -> list[str]:
    """The functions that the customer may call."""
    return [row["name"] for row in rows_of(world.call("admin", "userrights", **about)) if row.get("active") == "on"]


def change_rights(world: World, func: str, names: str) -> None:
    """Suspend or resume rights of the customer, who signs in anew."""
    doc_of(world.call("admin", f"userrights.{func}", plid="anna", elid=names))
    world.sessions["anna"] = sessions.begin(User.objects.get(name="anna"), ADDRESS)


def test_rights_are_listed_for_a_user_named_either_way_and_narrowed_to_what_is_below_a_function(world: World) -> None:
    assert active(world, elid="11") == active(world, plid="anna") == active(world, elid="anna")
    assert active(world, plid="anna", elid="vm.novnc") == []
    assert set(active(world, plid="anna", elid="vm")) == {
        each for each in active(world, elid="11") if each[:3] == "vm."
    }
    assert error_of(world.call("admin", "userrights")) == ("missed", "elid")
    assert error_of(world.call("admin", "userrights", elid="nobody")) == ("missed", "user")


def test_a_right_that_is_suspended_leaves_its_neighbour_at_every_door(world: World) -> None:
    change_rights(world, "suspend", "vm.stop")
    assert "vm.stop" not in active(world, elid="anna") and {"vm.start", "vm.restart"} < set(active(world, elid="anna"))
    assert error_of(world.call("anna", "vm.stop", elid="237")) == ("access", "vm.stop")
    api = APIClient()
    api.force_authenticate(User.objects.get(name="anna"))
    for action in ("stop", "force-off"):
        assert api.post(f"/api/v1/vms/237/{action}", {}, format="json").status_code == 403
        assert api.post(f"/api/v1/vms/237/{action}?plan=1", {}, format="json").status_code == 403
    doc_of(world.call("anna", "vm.restart", elid="237"))
    role = User.objects.get(name="anna").role
    assert role is not None
    browser = Client()
    browser.force_login(world.users["admin"])
    assert b"<code>vm.force-off, vm.stop</code>" in browser.get(f"/roles/{role.pk}", secure=True).content
    change_rights(world, "resume", "vm.stop")
    doc_of(world.call("anna", "vm.stop", elid="237"))


def test_a_billing_module_suspends_all_rights_but_the_console(world: World) -> None:
    rights = [row["name"] for row in rows_of(world.call("admin", "userrights", elid="11"))]
    for name in list(rights):
        rights += [row["name"] for row in rows_of(world.call("admin", "userrights", plid="anna", elid=name))]
    rights.remove("vm.novnc")
    change_rights(world, "suspend", ", ".join(rights))
    assert active(world, elid="11") == ["vm.novnc"]
    doc_of(world.call("anna", "vm.novnc", elid="237"))
    assert error_of(world.call("anna", "novnc", elid="237")) == ("access", "novnc")
    for func in ("vm.stop", "vm.delete"):
        assert error_of(world.call("anna", func, elid="237")) == ("access", func)
    # One comes back, and not those that need the same right.
    change_rights(world, "resume", "vm.start")
    assert set(active(world, elid="11")) == {"vm.novnc", "vm.start"}
    assert error_of(world.call("anna", "vm.restart", elid="237")) == ("access", "vm.restart")
