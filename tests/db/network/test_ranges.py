"""Whose addresses are: ranges for users, nodes and plans, what is excluded, reserved, waits, or comes from a list."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.core.errors import CapacityError
from panel.doctor.services import look
from panel.images.models import Image
from panel.network.models import Address, Network
from panel.network.periodic import purge
from panel.network.places import place_of
from panel.network.ranges import Taker, free_by_version
from panel.network.services import allocate
from panel.tasks import registry
from panel.vms.models import Vm
from panel.vms.operations.move_checks import choose_target
from tests.db.conftest import make_node, run_task

WEB = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}
FIRST, SECOND, THIRD = "10.210.0.10-10.210.0.19", "10.210.0.20-10.210.0.29", "10.210.0.30-10.210.0.39"


@pytest.fixture
def network(admin: User, node: Node) -> Network:
    """A network with three ranges of ten addresses."""
    raw = {"name": "lan", "kind": "isolated", "subnet": "10.210.0.0/24", "ranges": [FIRST, SECOND, THIRD]}
    return Network.objects.get(pk=run_task(registry.get("network.add").submit(admin, raw)).object_id)


def do(admin: User, network: Network, verb: str, **raw: Any) -> Any:
    """Have the operation done; its result."""
    task = run_task(registry.get(f"network.{verb}").submit(admin, raw, object_id=network.pk))
    assert task.status == "done", task.error
    return task.result


def take(network: Network, taker: Taker) -> str:
    """The address that the taker is given."""
    with transaction.atomic():
        return allocate(network, None, taker)[0].ip


def made(admin: User, **raw: Any) -> Vm:
    """A VM."""
    task = run_task(registry.get("vm.create").submit(admin, {**WEB, "network": "lan", **raw}))
    assert task.status == "done", task.error
    return Vm.objects.get(pk=task.object_id)


def test_ranges_are_for_whom_they_are_and_the_narrowest_comes_first(
    admin: User, user: User, node: Node, image: Image, network: Network
) -> None:
    other = make_node("fake2")
    do(admin, network, "change-range", range=SECOND, owner="anna", purpose="public")
    do(admin, network, "change-range", range=THIRD, node="fake2", flavor="small")
    assert take(network, Taker(admin.pk, node.pk)) == "10.210.0.10"
    assert take(network, Taker(user.pk, node.pk)) == "10.210.0.20"
    assert take(network, Taker(admin.pk, other.pk, "small")) == "10.210.0.30"
    assert take(network, Taker(user.pk, purpose="private")) == "10.210.0.11"
    assert take(network, Taker(user.pk, purpose="public")) == "10.210.0.21"
    with pytest.raises(CapacityError):
        take(network, Taker(admin.pk, purpose="public"))
    bound = made(admin, node="fake2")
    assert bound.interfaces.get().ip == "10.210.0.31"
    with pytest.raises(CapacityError, match="an address of the VM is for “fake2” alone"):
        choose_target(bound, "fake1")
    assert made(admin, name="web2", node="fake1").interfaces.get().ip == "10.210.0.12"
    assert made(admin, name="web3", owner="anna", purpose="public").interfaces.get().ip == "10.210.0.22"
    task = registry.get("network.change-subnet")
    run_task(task.submit(admin, {"subnet": "10.210.0.0/24", "ranges": [FIRST, SECOND, THIRD]}, object_id=network.pk))
    assert network.subnets.get().ranges.get(first="10.210.0.20").owner == user


def test_what_is_excluded_is_given_to_nobody_and_not_counted(admin: User, api: APIClient, network: Network) -> None:
    subnet = {"subnet": "10.210.0.0/24"}
    do(admin, network, "change-subnet", **subnet, excluded=["10.210.0.10-10.210.0.12", "10.210.0.14", "10.210.0.35"])
    assert [take(network, Taker()) for _ in range(2)] == ["10.210.0.13", "10.210.0.15"]
    assert free_by_version(network) == {4: 23} and "23" in str(api.get(f"/api/v1/networks/{network.pk}").content)
    ranges = api.get(f"/api/v1/networks/{network.pk}").json()["subnets"][0]["ranges"]
    assert [(each["size"], each["used"], each["purpose"]) for each in ranges] == [
        (6, 2, "private"),
        (10, 0, "private"),
        (9, 0, "private"),
    ]
    do(admin, network, "change-range", range=FIRST, choice="random")
    found = {take(network, Taker()) for _ in range(4)}
    assert found == {"10.210.0.16", "10.210.0.17", "10.210.0.18", "10.210.0.19"}
    do(admin, network, "change-subnet", **subnet, excluded=[])
    assert free_by_version(network) == {4: 24}


def test_a_large_range_of_ipv6_gives_any_address_and_costs_no_rows(admin: User, network: Network) -> None:
    do(admin, network, "add-subnet", cidr="2001:db8::/64")
    do(admin, network, "change-range", range="2001:db8::100-2001:db8::ffff:ffff:ffff:ffff", choice="random")
    with transaction.atomic():
        made = [allocate(network)[1].ip for _ in range(5)]
    assert len(set(made)) == 5 and all(place_of(ip) - place_of("2001:db8::") > 2**32 for ip in made)
    assert Address.objects.count() == 10


def test_an_address_that_a_vm_had_waits_and_is_nobody_elses_meanwhile(
    admin: User, user: User, node: Node, image: Image, network: Network, api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "address_wait_hours", 24)
    vm = made(admin, owner="anna")
    assert vm.interfaces.get().ip == "10.210.0.10"
    run_task(registry.get("vm.delete").submit(admin, {}, object_id=vm.pk))
    (row,) = api.get("/api/v1/ipam/addresses").json()["results"]
    assert (row["owner"], row["vm"], row["reserved"]) == ("anna", None, False) and row["waits_until"]
    assert not [each for each in look() if each.code == "address_left"]
    assert made(admin, name="web2").interfaces.get().ip == "10.210.0.11"
    refused = api.post(
        "/api/v1/vms", {**WEB, "name": "web3", "network": "lan", "address": "10.210.0.10"}, format="json"
    )
    assert (refused.status_code, refused.json()["field"]) == (409, "address")
    assert made(admin, name="web3", owner="anna", address="10.210.0.10").interfaces.get().ip == "10.210.0.10"
    assert Address.objects.get(ip="10.210.0.10").waits_until is None

    interface = Vm.objects.get(name="web3").interfaces.get()
    do_vm = registry.get("vm.remove-interface")
    run_task(do_vm.submit(admin, {"interface": interface.mac}, object_id=interface.vm_id))
    assert free_by_version(network) == {4: 28}
    Address.objects.filter(ip="10.210.0.10").update(waits_until=timezone.now())
    assert free_by_version(network) == {4: 29} and take(network, Taker(admin.pk)) == "10.210.0.10"
    do_vm = registry.get("vm.delete")
    run_task(do_vm.submit(admin, {}, object_id=Vm.objects.get(name="web2").pk))
    do(admin, network, "release-address", address="10.210.0.11")
    assert not Address.objects.filter(ip="10.210.0.11").exists()


def test_a_reservation_ends_by_itself_and_a_comment_stays(
    admin: User, user: User, image: Image, network: Network
) -> None:
    reserved = do(admin, network, "reserve-address", owner="anna", comment="order 17", days=3)
    assert reserved["expires_at"] and reserved["address"] == "10.210.0.10"
    do(admin, network, "change-address", address="10.210.0.10", comment="order 18", owner="")
    found = Address.objects.get()
    assert (found.comment, found.owner) == ("order 18", None)
    Address.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    purge()
    assert not Address.objects.exists()


def test_a_list_of_addresses_is_taken_whole_or_refused_by_its_line(
    admin: User, user: User, network: Network, api: APIClient
) -> None:
    lines = ['10.210.0.10, anna, "order 17, paid"', "10.210.0.200", "10.210.0.11,,router"]
    assert do(admin, network, "import-addresses", lines=lines) == {"reserved": 3, "left": 0}
    assert do(admin, network, "import-addresses", lines=["10.210.0.200,anna", " ", "10.210.0.12"]) == {
        "reserved": 1,
        "left": 1,
    }
    kept = Address.objects.order_by("place").values_list("ip", "owner__name", "comment")
    assert kept[0] == ("10.210.0.10", "anna", "order 17, paid") and len(kept) == 4
    assert take(network, Taker(user.pk)) == "10.210.0.13"
    for lines, said in (
        (["10.210.0.15", "10.99.0.1"], "Line 2"),
        (["10.210.0.15", "10.210.0.15"], "Line 2"),
        (["x"], "Line 1"),
        (["10.210.0.15,nobody"], "Line 1"),
        ([], "lines"),
        (["", '10.210.0.13,,"open'], "Line 2"),
        (["10.210.0.13\n10.210.0.14"], "control characters"),
        ([","], "Line 1"),
    ):
        answer = api.post(f"/api/v1/networks/{network.pk}/import-addresses", {"lines": lines}, format="json")
        assert answer.status_code == 400 and answer.json()["field"] == "lines" and said in answer.json()["detail"]


def test_a_billing_system_gets_an_address_before_there_is_a_vm(
    admin: User, user: User, image: Image, network: Network, api: APIClient, api_as_user: APIClient
) -> None:
    do(admin, network, "change-range", range=SECOND, purpose="public", owner="anna")
    asked = {"purpose": "public", "owner": "anna", "comment": "order 17", "days": 7}
    made = api.post("/api/v1/ipam/addresses", asked, format="json")
    assert made.status_code == 202 and made.json()["address"] == "10.210.0.20", made.json()
    (row,) = api_as_user.get("/api/v1/ipam/addresses?ip=10.210.0.20").json()["results"]
    assert (row["comment"], row["vm"], row["network"]) == ("order 17", None, "lan") and row["expires_at"]
    assert made_vm(admin, user).interfaces.get().ip == "10.210.0.20"
    for body, told in (
        ({"purpose": "public"}, (409, "network")),
        ({"address": "192.0.2.7"}, (400, "address")),
        ({"network": "none"}, (404, "network")),
    ):
        refused = api.post("/api/v1/ipam/addresses", body, format="json")
        assert (refused.status_code, refused.json()["field"]) == told
    assert api_as_user.post("/api/v1/ipam/addresses", {}, format="json").status_code == 403
    assert api_as_user.delete(f"/api/v1/ipam/addresses/{row['id']}").status_code == 403
    assert api.delete(f"/api/v1/ipam/addresses/{row['id']}").status_code == 202
    assert not Address.objects.get(ip="10.210.0.20").reserved


def made_vm(admin: User, owner: User) -> Vm:
    """A VM of the owner, in the network and with the address that was reserved for him."""
    raw = {**WEB, "owner": owner.name, "address": "10.210.0.20"}
    task = run_task(registry.get("vm.create").submit(admin, raw))
    assert task.status == "done", task.error
    return Vm.objects.get(pk=task.object_id)
