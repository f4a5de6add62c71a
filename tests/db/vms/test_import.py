"""A domain that somebody else defined becomes a VM as it is, or is refused with every reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from nodeagent.protocol import host
from nodeagent.storage import place
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import OperationFailed
from panel.doctor.services import look
from panel.images.models import Image
from panel.network.models import Address, Network
from panel.storage.models import Pool, Volume
from panel.tasks import registry
from panel.vms.models import StatusChange, UnmanagedDomain, Vm
from tests.contract.subjects import make_spec
from tests.db.conftest import GIB, run_task
from tests.refs import ref

MAC = "52:54:00:aa:bb:01"
ASKED = {"owner": "anna", "addresses": {MAC: "10.77.0.200"}}


@pytest.fixture
def define(node: Node, admin: User) -> Callable[..., str]:
    """Define a domain behind the panel's back and have the node checked; answers its UUID."""

    def run(**changes: Any) -> str:
        memory, pool = fake.node(node.pk), Pool.objects.get()
        path = f"{pool.where}/volumes/{changes.get('name', 'legacy')}.qcow2"
        memory.files[path] = fake.FakeVolume("qcow2", changes.pop("size", 2 * GIB))
        values: dict[str, Any] = {
            "name": "legacy",
            "cdroms": [],
            "disks": [host.DiskSpec(ref(path), "qcow2", "vda", cache="writeback", read_iops_sec=100)],
            "interfaces": [host.InterfaceSpec(mac=changes.pop("mac", MAC), bridge=Network.objects.get().bridge)],
        }
        state = changes.pop("state", "running")
        spec = make_spec(pool.where, **{**values, **changes})
        memory.call(host.HostCreate(spec=spec))
        memory.domains[spec.uuid].state = state
        assert run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk)).status == "done"
        return spec.uuid

    return run


def ask(api: APIClient, node: Node, uuid: str, **raw: Any) -> Any:
    """Ask for it; answers the response."""
    return api.post(f"/api/v1/nodes/{node.pk}/take-over", {"domain": uuid, **ASKED, **raw}, format="json")


def test_a_running_domain_becomes_a_vm_as_it_is(
    api: APIClient, user: User, node: Node, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    uuid = define(vcpus=3, memory_mib=768)
    before = fake.node(node.pk).domains[uuid].spec
    answer = ask(api, node, uuid)
    assert answer.status_code == 202, answer.json()
    run_tasks()

    vm = Vm.objects.get(uuid=uuid)
    assert answer.json()["vm"] == vm.pk
    assert (vm.name, vm.owner, vm.node, vm.vcpus, vm.memory_mib) == ("legacy", user, node, 3, 768)
    assert (vm.status, vm.wanted, vm.installed) == ("running", "running", True)
    disk, interface = vm.disks.get(), vm.interfaces.get()
    assert (disk.volume.place, disk.volume.size_gib, disk.cache) == (
        place(before.disks[0].volume),
        2,
        "writeback",
    )
    assert disk.read_iops_sec == 100
    assert (interface.mac, interface.ip, interface.guarded) == (MAC, "10.77.0.200", False)
    change = StatusChange.objects.get(vm=vm)
    assert (change.status, change.cause, change.task_id) == ("running", "task", answer.json()["task"]["id"])
    domain = fake.node(node.pk).domains[uuid]
    assert (domain.spec, domain.state) == (before, "running")
    assert not UnmanagedDomain.objects.exists()
    # It differs in what the panel gives each VM, which is shown; nothing else is wrong.
    assert {each.code for each in look()} == {"domain_differs"}


def test_what_the_panel_would_say_otherwise_is_in_the_plan_and_drift_afterwards(
    api: APIClient, user: User, node: Node, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    uuid = define(machine="isapc")
    steps = api.post(f"/api/v1/nodes/{node.pk}/take-over?plan=1", {"domain": uuid, **ASKED}, format="json").json()
    difference = {step["name"]: step["difference"] for step in steps["steps"]}["compare"]
    assert "-machine: isapc\n" in difference and "+machine: q35\n" in difference
    assert not Vm.objects.exists()
    ask(api, node, uuid)
    run_tasks()
    vm = Vm.objects.get()
    assert {each["field"] for each in vm.drift} == {"machine", "cdrom sdf"}
    assert api.post(f"/api/v1/vms/{vm.pk}/repair", {}).status_code == 202
    run_tasks()
    vm.refresh_from_db()
    assert vm.drift == []


def test_settings_that_a_vm_can_have_are_imported(
    api: APIClient, user: User, node: Node, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    settings = dataclasses.replace(make_spec("/srv/pool").settings, clock="localtime", firmware="uefi")
    ask(api, node, define(settings=settings, machine="pc", title="Old shop"))
    run_tasks()
    vm = Vm.objects.get()
    assert (vm.clock, vm.firmware, vm.machine, vm.title) == ("localtime", "uefi", "pc", "Old shop")


def test_everything_that_cannot_be_described_is_named(
    api: APIClient, user: User, node: Node, define: Callable[..., str]
) -> None:
    uuid = define(
        disks=[host.DiskSpec(ref("/srv/old.img"), "vmdk", "hda", bus="ide")],
        interfaces=[host.InterfaceSpec(mac=MAC, bridge="br9")],
    )
    answer = ask(api, node, uuid)
    assert (answer.status_code, answer.json()["field"]) == (409, "domain")
    text = answer.json()["detail"]
    for said in ("/srv/old.img) lies in no storage", "the bus “ide”", "the format “vmdk”", "joined to br9"):
        assert said in text, text
    assert not Vm.objects.exists()


def test_a_disk_of_two_domains_and_a_mac_of_a_vm_are_refused(
    api: APIClient, user: User, node: Node, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    first = define()
    shared = fake.node(node.pk).domains[first].spec.disks
    second = define(name="other", disks=shared, mac="52:54:00:aa:bb:02")
    assert "belongs to another domain too" in ask(api, node, first).json()["detail"]
    del fake.node(node.pk).domains[second]
    again = define(name="third")
    UnmanagedDomain.objects.filter(uuid=second).delete()
    assert ask(api, node, first).status_code == 202
    run_tasks()
    assert (
        f"another VM has the MAC address {MAC}"
        in ask(api, node, again, addresses={MAC: "10.77.0.201"}).json()["detail"]
    )


@pytest.mark.parametrize(
    ("raw", "field", "status"),
    [
        ({"owner": "nobody"}, "owner", 404),
        ({"domain": "no-uuid"}, "domain", 404),
        ({"addresses": {}}, "addresses", 400),
        ({"addresses": {MAC: "10.77.0.1"}}, "addresses", 400),
        ({"addresses": {MAC: "10.78.0.9"}}, "addresses", 400),
        ({"addresses": {MAC: "somewhere"}}, "addresses", 400),
        ({"addresses": {MAC: "10.77.0.9", "52:54:00:00:00:99": "10.77.0.8"}}, "addresses", 400),
        ({"name": "Not a name"}, "name", 400),
        ({"name": "other"}, "name", 409),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    api: APIClient, user: User, node: Node, define: Callable[..., str], raw: dict[str, Any], field: str, status: int
) -> None:
    answer = ask(api, node, define(), **raw)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.json()
    assert (Vm.objects.count(), Address.objects.count(), Volume.objects.count()) == (0, 0, 0)


def test_names_and_addresses_in_use_are_refused(
    api: APIClient, user: User, node: Node, image: Image, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    made = api.post("/api/v1/vms", {"name": "legacy", "image": "small", "flavor": "small", "password": "x" * 9})
    uuid = define(name="legacy2", state="shut off")
    run_tasks()
    assert ask(api, node, uuid, name="legacy").json()["field"] == "name"
    taken = ask(api, node, uuid, addresses={MAC: made.json()["address"]})
    assert (taken.status_code, taken.json()["field"]) == (409, "addresses")


def test_a_domain_that_is_off_may_get_another_name(
    api: APIClient, user: User, node: Node, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    uuid = define(name="Old_Name", state="shut off")
    assert ask(api, node, uuid).json()["field"] == "name"
    ask(api, node, uuid, name="shop")
    run_tasks()
    assert fake.node(node.pk).domains[uuid].spec.name == Vm.objects.get().name == "shop"
    assert {each.code for each in look()} == {"domain_differs"}


def test_a_disk_of_a_broken_size_ends_it_and_leaves_nothing(
    api: APIClient, user: User, node: Node, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    uuid = define(size=GIB + 512)
    task = ask(api, node, uuid).json()["task"]["id"]
    run_tasks()
    shown = api.get(f"/api/v1/tasks/{task}").json()
    assert shown["status"] == "failed" and "whole GiB" in shown["error"]["message"]
    assert (Vm.objects.count(), Address.objects.count(), Volume.objects.count()) == (0, 0, 0)
    assert uuid in fake.node(node.pk).domains and UnmanagedDomain.objects.get().name == "legacy"


def test_a_import_that_fails_gives_the_domain_its_name_back(
    api: APIClient, user: User, node: Node, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    uuid = define(name="Old_Name", state="shut off")
    ask(api, node, uuid, name="shop")
    fake.node(node.pk).fail("hosts_audit", OperationFailed("no", step="compare"))
    run_tasks()
    assert fake.node(node.pk).domains[uuid].spec.name == "Old_Name"
    assert not Vm.objects.exists()


def test_a_vm_that_was_imported_is_deleted_with_its_files(
    api: APIClient, user: User, node: Node, define: Callable[..., str], run_tasks: Callable[[], None]
) -> None:
    ask(api, node, define())
    run_tasks()
    assert api.delete(f"/api/v1/vms/{Vm.objects.get().pk}").status_code == 202
    run_tasks()
    memory = fake.node(node.pk)
    assert memory.domains == {} and not [path for path in memory.files if "/volumes/" in path]


def test_only_administrators_see_the_button_and_may_do_it(
    api_as_user: APIClient, admin: User, node: Node, define: Callable[..., str]
) -> None:
    uuid = define()
    assert ask(api_as_user, node, uuid).status_code in (403, 404)
    client = Client()
    client.force_login(admin)
    page = client.get(f"/nodes/{node.pk}", secure=True).content.decode()
    assert f"/nodes/{node.pk}/do/take-over?domain={uuid}" in page
