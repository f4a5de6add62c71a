"""Orders as the common billing modules of VMmanager place them: which network, address and system they mean."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from panel.config import parse
from panel.core.errors import ConfigError
from panel.images.models import Image
from panel.vms.models import Interface, Vm
from tests.db.conftest import make_network
from tests.db.mgrapi.classic import World, error_of, values_of
from tests.kinds import memory_network_panel

ORDER = {
    "sok": "ok",
    "name": "blog",
    "user": "11",
    "preset": "small",
    "hostnode": "auto",
    "vmi": "ISPsystem__small",
    "family": "ipv4",
    "iptype": "public",
    "password": "a secret word",
    "confirm": "a secret word",
    "domain": "blog.example.com",
    "recipe": "null",
}
NAT, OFFICE, WORLD = "10.77.0.", "10.88.0.", "5.9.0."
SPECIAL = {"family": "special", "ip": "10.88.0.20", "iptype": "nat"}


@pytest.fixture
def networks(world: World) -> None:
    """Two more networks, the last one of public addresses."""
    for name, kind, start in (("office", "nat", OFFICE), ("world", memory_network_panel.MemoryNetworkKind.name, WORLD)):
        ranges = [(f"{start}10", f"{start}200")]
        make_network(world.vm.cluster, name, name, f"{start}0/24", ranges, kind=kind)


def config_of(text: str) -> dict[str, str]:
    """The option as the configuration file has it."""
    return parse(f"ClassicIpTypes={text}").classic_ip_types


@pytest.mark.parametrize(
    ("asked", "option", "address"),
    [
        ({"iptype": "public"}, "", WORLD),
        ({"iptype": "private"}, "", NAT),
        ({"iptype": "public"}, "public:office", OFFICE),
        ({"iptype": "nat"}, "public:office", NAT),
        ({"family": "office"}, "public:world", OFFICE),
        ({"family": "10.88.0.0/24"}, "", OFFICE),
        ({"family": "10.88.0.7/24", "iptype": "nat"}, "nat:private", OFFICE),
        (SPECIAL, "nat:private", OFFICE),
        ({"ip": "10.88.0.20"}, "", OFFICE),
    ],
)
def test_an_order_gets_an_address_of_the_network_that_it_means(
    world: World,
    networks: None,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    asked: dict[str, str],
    option: str,
    address: str,
) -> None:
    monkeypatch.setattr(settings.CONFIG, "classic_ip_types", config_of(option), raising=False)
    made = values_of(world.call("admin", "vm.edit", **{**ORDER, **asked}))
    assert made["ip"].startswith(address) and asked.get("ip") in (None, made["ip"])
    interface = Interface.objects.get(vm=made["id"])
    assert (made["ip"], made["family"]) == (interface.ip, interface.network.name)
    # The same for one more address.
    one_more = {**SPECIAL, "ip": "10.88.0.21"} if asked is SPECIAL else {**asked, "ip": "auto"}
    more = values_of(world.call("admin", "iplist.edit", sok="ok", plid="237", **{"iptype": "public", **one_more}))
    assert more["ip"].startswith(WORLD if list(asked) == ["ip"] else address) and more["ip"] != made["ip"]


@pytest.mark.parametrize("iptype", ["public", "private", "nat"])
def test_where_no_network_is_so_an_order_takes_the_first_and_says_which_it_became(world: World, iptype: str) -> None:
    made = values_of(world.call("admin", "vm.edit", **{**ORDER, "iptype": iptype}))
    assert (made["ip"], made["iptype"], made["family"]) == ("10.77.0.11", "nat", "private")


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ({"family": "special"}, ("missed", "ip")),
        ({"family": "special", "ip": "203.0.113.9"}, ("value", "ip")),
        ({"family": "special", "ip": "10.77.0.10"}, ("exists", "ip")),
        ({"family": "203.0.113.0/24"}, ("missed", "family")),
        ({"family": "ipv6"}, ("value", "family")),
        ({"iptype": "martian"}, ("value", "iptype")),
    ],
)
@pytest.mark.parametrize("func", ["vm.edit", "iplist.edit"])
def test_a_network_that_is_not_there_is_named(
    world: World, func: str, asked: dict[str, str], refused: tuple[str, str]
) -> None:
    about = {"plid": "237"} if func == "iplist.edit" else {}
    assert error_of(world.call("admin", func, **{**ORDER, **about, **asked})) == refused
    assert Vm.objects.count() == 1 and Interface.objects.count() == 1


def test_the_option_names_a_network_that_is_there(world: World, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(settings.CONFIG, "classic_ip_types", {"public": "gone"}, raising=False)
    assert error_of(world.call("admin", "vm.edit", **ORDER)) == ("value", "iptype")
    for wrong in ("public", "martian:x", "public:", "public:a, public:b"):
        with pytest.raises(ConfigError):
            config_of(wrong)


def test_an_order_may_leave_its_system_out_where_one_goes_without_saying(
    world: World, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    order = {name: value for name, value in ORDER.items() if name not in ("vmi", "preset")}
    order |= {"family": "10.77.0.0/24", "mem": "256", "vcpu": "1", "vsize": "2048"}
    with transaction.atomic():
        made = values_of(world.call("admin", "vm.edit", **order))
        assert Vm.objects.get(pk=made["id"]).image == world.image
        transaction.set_rollback(True)
    world.image.pk, world.image.name = None, "other"
    world.image.save()
    assert error_of(world.call("admin", "vm.edit", **order)) == ("missed", "vmi")
    monkeypatch.setattr(settings.CONFIG, "classic_image", "other", raising=False)
    made = values_of(world.call("admin", "vm.edit", **order))
    assert Vm.objects.get(pk=made["id"]).image == Image.objects.get(name="other")
