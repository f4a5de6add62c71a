"""VMs over the classic API: an order's life as a billing module leads it."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from panel.cluster import fake
from panel.core.errors import LimitExceeded
from panel.images import isos
from panel.images.models import Iso
from panel.mgrapi.functions import FUNCTIONS
from panel.tasks.models import Task
from panel.vms.addresses import hold
from panel.vms.models import Interface, Vm, VmStatus
from tests.db.images.test_isos import iso_file
from tests.db.mgrapi.classic import World, doc_of, error_of, rows_of, values_of
from tests.db.monitoring.messages import make_vm

NEW = {
    "sok": "ok",
    "name": "blog",
    "user": "anna",
    "preset": "small",
    "vmi": "ISPsystem__small",
    "installtype": "installtemplate",
    "hostnode": "20",
    "family": "ipv4",
    "iptype": "nat",
    "domain": "blog.example.com",
    "password": "a secret word",
    "confirm": "a secret word",
    "vsize": "20000",
}
LISTS = [
    "vm",
    "vmmini",
    "iplist",
    "ippool",
    "vmhostnode",
    "osmgr",
    "iso",
    "preset",
    "task",
    "user",
    "snapshot",
    "volume",
]
MOST_QUERIES = 10


def test_an_order_is_created_suspended_resized_restarted_and_deleted(
    world: World, run_tasks: Callable[[], None]
) -> None:
    made = values_of(world.call("admin", "vm.edit", **NEW, inbound="1024", outbound="512", cputune="300"))
    assert made["id"] == made["elid"]
    assert [task.operation for task in Task.objects.filter(object_id=made["id"])] == ["vm.create"]
    waiting = next(row for row in rows_of(world.call("anna", "vm")) if row["id"] == made["id"])
    assert (waiting["ip"], waiting["installos"], waiting["vdsize"]) == (made["ip"], "on", "20480")
    run_tasks()
    vm = Vm.objects.get(pk=made["id"])
    spec = fake.node(vm.node_id).domains[str(vm.uuid)].spec
    assert (vm.owner.name, vm.status, spec.memory_mib) == ("anna", VmStatus.RUNNING, 1024)
    assert (spec.interfaces[0].inbound_kibps, spec.interfaces[0].outbound_kibps) == (1024, 512)
    assert spec.settings.cpu_weight == 300
    assert "installos" not in next(row for row in rows_of(world.call("anna", "vm")) if row["id"] == made["id"])

    elid = {"elid": made["elid"]}
    form = values_of(world.call("admin", "vm.edit", **elid))
    assert (form["mem"], form["vsize"], form["inbound"], form["blocked"]) == ("1024", "20480", "1024", "off")
    world.call("admin", "vm.edit", sok="ok", **elid, blocked="on")
    run_tasks()
    assert error_of(world.call("anna", "vm.start", **elid)) == ("state", "elid")
    world.call("admin", "vm.edit", sok="ok", **elid, blocked="off")
    run_tasks()
    world.call("admin", "vm.edit", sok="ok", **elid, mem="2048", user="bert")
    run_tasks()
    vm.refresh_from_db()
    assert (vm.status, vm.memory_mib, vm.owner.name) == (VmStatus.RUNNING, 2048, "bert")
    for func in ("vm.restart", "vm.stop", "vm.delete"):
        doc_of(world.call("bert", func, **elid))
    run_tasks()
    assert not Vm.objects.filter(pk=vm.pk).exists()


def test_a_form_that_comes_back_unchanged_asks_for_nothing(world: World) -> None:
    form = values_of(world.call("admin", "vm.edit", elid="237"))
    doc_of(world.call("admin", "vm.edit", **form, sok="ok"))
    assert not Task.objects.exists()


def test_all_of_a_change_is_refused_where_a_part_is(world: World) -> None:
    refused = world.call("admin", "vm.edit", sok="ok", elid="237", mem="256", user="nobody")
    assert error_of(refused) == ("missed", "user")
    assert not Task.objects.exists() and Vm.objects.get(pk=237).memory_mib == 128


@pytest.mark.parametrize(
    ("wrong", "refused"),
    [
        ({"name": ""}, ("missed", "name")),
        ({"name": "a b"}, ("value", "name")),
        ({"name": "shop"}, ("exists", "vm")),
        ({"vmi": "no__such"}, ("missed", "vmi")),
        ({"preset": "99"}, ("missed", "preset")),
        ({"preset": "", "mem": "x"}, ("value", "mem")),
        ({"preset": "", "vcpu": "1"}, ("missed", "mem")),
        ({"hostnode": "99"}, ("missed", "hostnode")),
        ({"user": "nobody"}, ("missed", "user")),
        ({"family": "ipv6"}, ("value", "family")),
        ({"family": "no such network"}, ("missed", "family")),
        ({"iptype": "moon"}, ("value", "iptype")),
        ({"family": "special"}, ("missed", "ip")),
        ({"ip": "10.77.1.99"}, ("value", "ip")),
        ({"ip": "ten"}, ("value", "ip")),
        ({"ip": "10.77.0.10"}, ("exists", "ip")),
        ({"domain": "-"}, ("value", "domain")),
        ({"recipe": "wordpress"}, ("value", "recipe")),
        ({"installtype": "netinstall"}, ("value", "installtype")),
        ({"installtype": "installiso"}, ("missed", "iso")),
        ({"installtype": "installiso", "iso": "none"}, ("missed", "iso")),
        ({"installtype": "installiso", "iso": "99"}, ("missed", "iso")),
        ({"confirm": "another word"}, ("value", "password")),
        ({"password": "short", "confirm": ""}, ("value", "password")),
        ({"cputune": "1"}, ("value", "cputune")),
        ({"cpu_mode": "fast"}, ("value", "cpu_mode")),
        ({"clock_offset": "moon"}, ("value", "clock_offset")),
        ({"vsize": "1073741824"}, ("value", "vsize")),
        ({"sshpubkey": "no key"}, ("value", "sshpubkey")),
    ],
)
def test_what_is_wrong_with_a_new_vm_is_named_and_nothing_is_made(
    world: World, wrong: dict[str, str], refused: tuple[str, str]
) -> None:
    assert error_of(world.call("admin", "vm.edit", **{**NEW, **wrong})) == refused
    assert Vm.objects.count() == 1 and not Task.objects.exists()


@pytest.mark.parametrize("iso", ["rescue", "40"])
def test_an_order_is_installed_from_an_iso_with_the_address_it_asked_for(
    world: World, run_tasks: Callable[[], None], iso: str
) -> None:
    Iso.objects.update(file_name=world.image.file_name, sha256=world.image.sha256)
    order = {**NEW, "installtype": "installiso", "iso": iso, "ip": "10.77.0.40", "sshpubkey": "no key"}
    made = values_of(world.call("admin", "vm.edit", **order))
    assert made["ip"] == "10.77.0.40"
    run_tasks()
    row = next(row for row in rows_of(world.call("anna", "vm")) if row["id"] == made["id"])
    assert (row["vmstatus"], row["ip"], row["installing"]) == ("running", "10.77.0.40", "on")
    assert "installos" not in row


def test_everybody_sees_the_iso_images_of_all_and_their_own(world: World) -> None:
    Iso.objects.create(owner=world.users["anna"], name="mine", title="Mine", file_name="isos/x.iso", size_bytes=1)
    for who, names in (("anna", ["mine", "rescue"]), ("bert", ["rescue"]), ("admin", ["mine", "rescue"])):
        rows = rows_of(world.call(who, "iso"))
        assert sorted(row["name"] for row in rows) == names
    assert [row["user"] for row in rows_of(world.call("anna", "iso")) if "user" in row] == ["anna"]


def test_iso_limits_of_user_edit_hold(world: World) -> None:
    world.call("admin", "user.edit", sok="ok", elid="anna", isolimitsize="1", isolimitnum="1")
    anna = world.users["anna"]
    with pytest.raises(LimitExceeded):
        isos.bring_in(anna, {"name": "large"}, io.BytesIO(bytes(2**20 + 1)), 2**20 + 1)
    isos.bring_in(anna, {"name": "small"}, io.BytesIO(iso_file(2**20)), None)
    with pytest.raises(LimitExceeded):
        isos.bring_in(anna, {"name": "second"}, io.BytesIO(iso_file()), 1)
    isos.delete_iso(anna, Iso.objects.get(name="small"))


def test_a_list_of_vms_is_asked_for_at_once_or_not_at_all(world: World) -> None:
    second = make_vm(world.node, world.users["anna"], "second")
    assert error_of(world.call("anna", "vm.stop", elid=f"{second.pk}, 99999")) == ("missed", "vm")
    assert not Task.objects.exists()
    doc_of(world.call("anna", "vm.stop", elid=f"{second.pk}, 237"))
    assert sorted(Task.objects.values_list("object_id", flat=True)) == sorted([second.pk, 237])
    assert error_of(world.call("anna", "vm.stop", elid=",".join(map(str, range(101))))) == ("value", "elid")


def test_the_first_list_of_a_reinstall_is_that_of_the_systems(world: World) -> None:
    lists = doc_of(world.call("anna", "vm.reinstall", elid="237")).findall("slist")
    assert lists[0].get("name") == "vmi"
    assert [val.get("key") for val in lists[0]] == ["vmpanel__small"]


@pytest.mark.parametrize("func", LISTS)
def test_a_list_makes_the_same_few_queries_however_long_it_is(world: World, func: str) -> None:
    with CaptureQueriesContext(
        connection,
    ) as few:
        world.call("admin", func)
    for number in range(20):
        vm = make_vm(world.node, world.users["anna"], f"more{number}", image=world.image)
        address = world.network.addresses.create(ip=f"10.77.0.{100 + number}")
        made = Interface.objects.create(vm=vm, network=world.network, mac=f"52:54:00:00:01:{number:02x}")
        hold(made, [address])
        Task.objects.create(operation="vm.start", title="Start", owner=world.users["anna"])
    with CaptureQueriesContext(connection) as many:
        world.call("admin", func)
    assert len(many) == len(few) <= MOST_QUERIES, [each["sql"] for each in many]


def test_every_list_is_counted() -> None:
    assert set(LISTS) | {"userrights", "recipemgr", "reportvm"} <= set(FUNCTIONS)


def test_who_is_its_owner_now_is_so_again_when_that_was_asked_for_last(
    world: World, run_tasks: Callable[[], None]
) -> None:
    # A wish equal to the present is compared with the last one that waits.
    elid = {"elid": values_of(world.call("admin", "vm.edit", **NEW))["elid"], "sok": "ok"}
    run_tasks()
    world.call("admin", "vm.edit", **elid, user="admin")
    world.call("admin", "vm.edit", **elid, user="anna")
    asked = Task.objects.filter(operation="vm.change-owner").order_by("pk")
    assert [task.params["owner"] for task in asked] == ["admin", "anna"]
    run_tasks()
    assert Vm.objects.get(pk=elid["elid"]).owner.name == "anna"
    # Nothing waits any more: what is as it is wanted is not asked for.
    world.call("admin", "vm.edit", **elid, user="anna")
    assert asked.count() == 2


def test_a_speed_that_it_has_while_another_waits_is_not_passed_over(
    world: World, run_tasks: Callable[[], None]
) -> None:
    elid = {"elid": values_of(world.call("admin", "vm.edit", **NEW, inbound="1024"))["elid"], "sok": "ok"}
    run_tasks()
    world.call("admin", "vm.edit", **elid, inbound="2048")
    # Two changes of one interface do not wait for each other: it is said, and can be asked for again.
    assert error_of(world.call("admin", "vm.edit", **elid, inbound="1024")) is not None
    run_tasks()
    world.call("admin", "vm.edit", **elid, inbound="1024")
    run_tasks()
    assert Interface.objects.get(vm=elid["elid"]).inbound_kibps == 1024


def test_settings_and_speeds_of_a_vm_change_by_one_task(world: World, run_tasks: Callable[[], None]) -> None:
    elid = {"elid": values_of(world.call("admin", "vm.edit", **NEW))["elid"]}
    run_tasks()
    made = Task.objects.latest("pk").pk
    form = values_of(world.call("admin", "vm.edit", **elid))
    changes = {"mem": "2048", "cputune": "300", "inbound": "1024", "outbound": "512"}
    doc_of(world.call("admin", "vm.edit", **{**form, **changes}, sok="ok"))
    assert [task.operation for task in Task.objects.filter(pk__gt=made)] == ["vm.configure"]
    run_tasks()
    form = values_of(world.call("admin", "vm.edit", **elid))
    assert {name: form[name] for name in changes} == changes
    # Another right, and another operation.
    doc_of(world.call("admin", "vm.edit", **elid, mem="1024", inbound="0", user="bert", blocked="on", sok="ok"))
    asked = [task.operation for task in Task.objects.filter(pk__gt=made).order_by("pk")]
    assert asked == ["vm.configure", "vm.configure", "vm.change-owner", "vm.suspend"]


def test_a_size_that_waits_and_one_that_was_before_are_both_asked_for(
    world: World, run_tasks: Callable[[], None]
) -> None:
    elid = {"elid": values_of(world.call("admin", "vm.edit", **NEW))["elid"], "sok": "ok"}
    run_tasks()
    for mem in ("2048", "1024"):
        world.call("admin", "vm.edit", **elid, mem=mem)
    run_tasks()
    vm = Vm.objects.get(pk=elid["elid"])
    assert vm.memory_mib == fake.node(vm.node_id).domains[str(vm.uuid)].spec.memory_mib == 1024
