"""An interface has none to many addresses of both versions; what reads them speaks of all."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import WrongState
from panel.doctor.services import look
from panel.images.models import Image
from panel.network.models import Address
from panel.tasks import registry
from panel.vms.addresses import hold
from panel.vms.limits import Resources
from panel.vms.models import Interface, Vm
from panel.vms.spec import domain_spec, guest_network
from panel.vms.usage import shapes
from tests.db.conftest import make_network, run_task
from tests.db.tasks.scenarios import ask_create
from tests.db.web.test_pages import signed_in

MORE = ("2001:db8::11", "10.77.0.99", "2001:db8::12")
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
