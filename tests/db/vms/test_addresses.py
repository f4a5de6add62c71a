"""An interface has none to many addresses of both versions; what reads them speaks of all."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from nodeagent.protocol.guest import GuestAddresses
from panel.accounts.models import Limits, User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import CommandFailed, WrongState
from panel.doctor.services import look
from panel.images.models import Image
from panel.network.models import Address, AddressTerm, Network
from panel.tasks import registry
from panel.tasks.models import Task
from panel.vms.addresses import hold
from panel.vms.limits import Resources
from panel.vms.models import Interface, Vm
from panel.vms.spec import domain_spec, guest_network
from panel.vms.usage import shapes
from tests.db.conftest import make_network, run_task
from tests.db.tasks.scenarios import ask_create
from tests.db.web.test_pages import signed_in

MORE = ("2001:db8::11", "10.77.0.99", "2001:db8::12")
CREATE = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}
ALL = ["10.77.0.10", "2001:db8::11", "10.77.0.99", "2001:db8::12"]


@pytest.fixture
def vm(admin: User, node: Node, image: Image) -> Vm:
    """A VM whose interface has four addresses."""
    vm = Vm.objects.get(pk=run_task(ask_create(admin)).object_id)
    interface = vm.interfaces.get()
    hold(interface, [Address.objects.create(network=interface.network, ip=ip) for ip in MORE])
    return vm


def test_all_doors_speak_of_all_the_primary_ones_first(admin: User, api: APIClient, vm: Vm) -> None:
    assert vm.interfaces.get().ips == vm.interfaces.with_ips().get().ips == ALL
    (told,) = api.get(f"/api/v1/vms/{vm.pk}").json()["interfaces"]
    assert (told["address"], told["addresses"]) == (ALL[0], ALL)
    assert api.get("/api/v1/vms").json()["results"][0]["interfaces"] == [told]
    assert domain_spec(vm).interfaces[0].addresses == ALL
    assert (Resources.of(vm).addresses, shapes(Vm.objects.all())[0].addresses) == (4, 4)
    for page in ("/vms", f"/vms/{vm.pk}"):
        text = signed_in(admin).get(page).content.decode()
        assert all(f"<code>{ip}</code>" in text for ip in ALL)


def test_the_filter_and_the_guest_are_told_of_all(admin: User, node: Node, vm: Vm) -> None:
    assert {each.code for each in look()} == {"guard_missing", "usage_differs"}
    run_task(registry.get("node.check").submit(admin, {}, object_id=node.pk))
    (filters,) = fake.node(node.pk).guards.values()
    assert filters[0].addresses == sorted(ALL)
    assert {each.code for each in look()} == {"usage_differs"}
    told = guest_network(vm)
    assert [each.address for each in told.every_interface()[0].addresses] == ALL
    # A kind without IPv6 cannot have the subnet that these lie in: each stands alone.
    assert [(each.prefix, each.gateway) for each in told.every_interface()[0].addresses] == [
        (24, "10.77.0.1"),
        (128, ""),
        (24, "10.77.0.1"),
        (128, ""),
    ]


def test_in_another_network_all_of_them_are_free(admin: User, vm: Vm) -> None:
    make_network(vm.cluster, "other", "vmbr-other", "10.78.0.0/24", [("10.78.0.40", "10.78.0.50")])
    asked = {"interface": vm.interfaces.get().mac, "network": "other"}
    run_task(registry.get("vm.change-interface").submit(admin, asked, object_id=vm.pk))
    assert vm.interfaces.get().ips == ["10.78.0.40"]
    assert list(Address.objects.values_list("ip", flat=True)) == ["10.78.0.40"]


def test_an_interface_may_have_none(admin: User, api: APIClient, vm: Vm) -> None:
    interface = vm.interfaces.get()
    interface.held.all().delete()
    (told,) = api.get(f"/api/v1/vms/{vm.pk}").json()["interfaces"]
    assert (told["address"], told["addresses"]) == (None, [])
    assert domain_spec(vm).interfaces[0].addresses == []
    with pytest.raises(WrongState):
        guest_network(vm)
    assert signed_in(admin).get("/").status_code == 200


def test_each_version_has_one_primary_address(vm: Vm) -> None:
    held = Interface.objects.get(vm=vm).held_addresses()
    assert [(each.address.ip, each.primary) for each in held] == list(zip(ALL, (4, 6, None, None), strict=True))


def do(api: APIClient, vm: Vm, verb: str, **body: object) -> Task:
    """Ask for it and have it done."""
    answer = api.post(f"/api/v1/vms/{vm.pk}/{verb}", body, format="json")
    assert answer.status_code == 202, answer.json()
    task = run_task(Task.objects.get(pk=answer.json()["task"]["id"]))
    assert task.status == "done", task.error
    return task


def filtered(vm: Vm) -> list[str]:
    """What the node lets through of the VM's first interface."""
    return fake.node(vm.node_id).guards[str(vm.uuid)][0].addresses


def test_addresses_come_and_go_while_a_vm_runs(admin: User, node: Node, image: Image, api: APIClient) -> None:
    raw = {"name": "wire", "kind": "isolated", "subnet": "10.210.0.0/24"}
    wire = Network.objects.get(pk=run_task(registry.get("network.add").submit(admin, raw)).object_id)
    subnet = {"cidr": "2001:db8::/64", "gateway": "2001:db8::1", "ranges": ["2001:db8::5-2001:db8::ffff"]}
    run_task(registry.get("network.add-subnet").submit(admin, subnet, object_id=wire.pk))
    vm = Vm.objects.get(pk=run_task(registry.get("vm.create").submit(admin, {**CREATE, "network": "wire"})).object_id)
    memory = fake.node(node.pk)
    memory.domains[str(vm.uuid)].has_agent = True
    assert vm.interfaces.get().ips == ["10.210.0.1", "2001:db8::5"]

    task = do(api, vm, "add-address")
    assert task.result["addresses"] == ["10.210.0.1", "2001:db8::5", "10.210.0.2"]
    do(api, vm, "add-address", version=6)
    do(api, vm, "add-address", address="2001:db8::00ff", interface=vm.interfaces.get().mac.upper())
    every = ["10.210.0.1", "2001:db8::5", "10.210.0.2", "2001:db8::6", "2001:db8::ff"]
    assert vm.interfaces.get().ips == every and filtered(vm) == sorted(every)
    asked = [call for call in memory.calls if isinstance(call, GuestAddresses)]
    assert [each.address for each in asked[-1].network.every_interface()[0].addresses] == every
    [(instance, told)] = memory.seeds.values()
    assert [each.address for each in told.every_interface()[0].addresses] == every and instance == str(vm.uuid)
    assert AddressTerm.objects.filter(vm_id=vm.pk, until=None).count() == shapes(Vm.objects.all())[0].addresses == 5

    # The primary one goes: the other of its version is what the guest is reached by.
    do(api, vm, "remove-address", address="10.210.0.1")
    left = ["10.210.0.2", *every[1:2], *every[3:]]
    assert vm.interfaces.get().ips == left and filtered(vm) == sorted(left)
    asked = [call for call in memory.calls if isinstance(call, GuestAddresses)]
    assert [(each.address, each.prefix) for each in asked[-1].gone] == [("10.210.0.1", 24)]
    [(_, told)] = memory.seeds.values()
    assert told.address == "10.210.0.2" and not Address.objects.filter(ip="10.210.0.1").exists()
    assert AddressTerm.objects.get(ip="10.210.0.1").until and not list(look())


@pytest.mark.parametrize("agent", [True, False])
def test_an_address_whose_guest_is_not_told_is_taken_back(api: APIClient, vm: Vm, agent: bool) -> None:
    memory = fake.node(vm.node_id)
    memory.domains[str(vm.uuid)].has_agent = agent
    memory.fail("seed_change", CommandFailed("No room."))
    answer = api.post(f"/api/v1/vms/{vm.pk}/add-address", {}, format="json")
    task = run_task(Task.objects.get(pk=answer.json()["task"]["id"]))
    assert task.status == "failed" and vm.interfaces.get().ips == ALL
    assert filtered(vm) == sorted(ALL)
    assert not Address.objects.filter(ip="10.77.0.11").exists()


def test_what_cannot_be_added_or_removed_is_refused_at_its_field(
    admin: User, user: User, api: APIClient, api_as_user: APIClient, vm: Vm
) -> None:
    def refused(verb: str, client: APIClient = api, **body: object) -> tuple[int, str | None]:
        answer = client.post(f"/api/v1/vms/{vm.pk}/{verb}", body, format="json")
        return answer.status_code, answer.json().get("field")

    assert refused("add-address", api_as_user)[0] == 404
    assert refused("add-address", address="10.77.0.10") == (409, "address")
    assert refused("add-address", address="192.0.2.1") == (400, "address")
    assert refused("add-address", version=6) == (409, "network")
    assert refused("add-address", interface="52:54:00:00:00:77") == (404, "interface")
    assert refused("remove-address", address="10.77.0.77") == (404, "address")
    Limits.objects.update_or_create(user=vm.owner, defaults={"addresses": 4})
    assert refused("add-address")[0] == 403
    vm.interfaces.get().held.exclude(address__ip="10.77.0.10").delete()
    assert refused("remove-address", address="10.77.0.10") == (409, "address")
