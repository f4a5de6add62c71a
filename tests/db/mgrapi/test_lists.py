"""Lists: each column is a filter, `p_sort` sorts, and pages stay within their limits."""

from __future__ import annotations

import json

import pytest

from panel.vms.addresses import hold
from panel.vms.models import Interface, Snapshot, Vm, VmStatus
from tests.db.mgrapi.classic import World, doc_of, error_of, rows_of
from tests.db.monitoring.messages import make_vm

LISTS = (
    "vm",
    "vmmini",
    "iplist",
    "ippool",
    "vmhostnode",
    "osmgr",
    "iso",
    "preset",
    "user",
    "volume",
    "snapshot",
    "task",
)
REPORTS = ("reportvm", "userrights", "vmhostnode.info")
ABOUT = {
    "reportvm": {"server": "237"},
    "userrights": {"plid": "anna"},
    "vmhostnode.info": {"elid": "20"},
    "snapshot": {"plid": "237"},
    "volume": {"plid": "237"},
}
"""What lists about one object say besides."""


@pytest.fixture
def vms(world: World) -> None:
    """Three more VMs."""
    for name, memory, status in (
        ("a10", 256, VmStatus.SHUT_OFF),
        ("a9", 1024, VmStatus.RUNNING),
        ("Zoo", 64, VmStatus.PAUSED),
    ):
        vm = make_vm(world.node, world.users["bert"], name, image=world.image)
        Vm.objects.filter(pk=vm.pk).update(memory_mib=memory, status=status)


def names(world: World, func: str = "vm", **asked: str) -> list[str]:
    """The names in the list."""
    return [row["name"] for row in rows_of(world.call("admin", func, **asked))]


@pytest.mark.parametrize("func", [*LISTS, *REPORTS])
def test_each_column_that_a_list_shows_is_a_filter(world: World, func: str) -> None:
    Snapshot.objects.create(vm=world.vm, name="one", description="first")
    doc_of(world.call("admin", "vm.restart", elid="237"))
    about = ABOUT.get(func, {})
    row = rows_of(world.call("admin", func, **about))[0]
    assert row
    for column in row.keys() - about.keys():
        found = rows_of(world.call("admin", func, filter="on", **about, **{column: row[column]}))
        assert row in found or not row[column], column
        assert rows_of(world.call("admin", func, filter="on", **about, **{column: "987654"})) == [], column
        assert rows_of(world.call("admin", func, p_sort=f"-{column}", p_cnt="1", **about)), column


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"mem": "256"}, ["a10"]),
        ({"vmstatus": "stopped"}, ["a10"]),
        ({"vmstatus": "Running", "user": "bert"}, ["a9"]),
        ({"osname": "SMA", "name": "a"}, ["a10", "a9"]),
        ({"blocked": "on"}, []),
        ({"blocked": "off", "mem": "64"}, ["Zoo"]),
        ({"lang": "en", "no such": "x", "mem": "64"}, ["Zoo"]),
    ],
)
def test_a_list_is_filtered_by_what_is_computed_too(
    world: World, vms: None, wanted: dict[str, str], found: list[str]
) -> None:
    assert names(world, filter="on", **wanted) == found
    assert len(names(world, **wanted)) == 4


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"p_sort": "mem"}, ["Zoo", "shop", "a10", "a9"]),
        ({"p_sort": "-mem"}, ["a9", "a10", "shop", "Zoo"]),
        ({"p_sort": "name"}, ["a10", "a9", "shop", "Zoo"]),
        ({"p_sort": "name", "p_order": "desc", "p_cnt": "2"}, ["Zoo", "shop"]),
        ({"p_sort": "name", "p_num": "2", "p_cnt": "3"}, ["Zoo"]),
        ({"p_sort": "name", "p_num": "3", "p_cnt": "3"}, []),
        ({"p_sort": "mem", "filter": "on", "user": "bert", "p_cnt": "1"}, ["Zoo"]),
    ],
)
def test_a_list_is_sorted_by_a_column_before_it_is_cut(
    world: World, vms: None, asked: dict[str, str], found: list[str]
) -> None:
    assert names(world, **asked) == found


def test_addresses_are_sorted_as_numbers(world: World) -> None:
    for number in (29, 120, 31):
        address = world.network.addresses.create(ip=f"10.77.0.{number}")
        made = Interface.objects.create(vm=world.vm, network=world.network, mac=f"52:54:00:00:02:{number:02x}")
        hold(made, [address])
    found = rows_of(world.call("admin", "iplist", p_sort="ip"))
    assert [row["ip"] for row in found] == ["10.77.0.10", "10.77.0.29", "10.77.0.31", "10.77.0.120"]


@pytest.mark.parametrize(("size", "count"), [("0", 4), ("-1", 4), ("undefined", 4), ("99999999999", 4), ("3", 3)])
def test_pages_beyond_the_limits_are_clamped(world: World, size: str, count: int) -> None:
    assert len(names(world, "preset", p_cnt=size)) == count
    assert len(names(world, "preset", p_cnt=size, p_num="0")) == count


def test_what_is_no_number_and_no_column_is_said(world: World) -> None:
    for name in ("p_cnt", "p_num"):
        assert error_of(world.call("anna", "preset", **{name: "x"})) == ("value", name)
    assert error_of(world.call("anna", "preset", p_sort="colour")) == ("value", "p_sort")


def test_a_translated_cell_has_its_value_before_its_words(world: World) -> None:
    text = world.call("anna", "vmmini", out="json")
    assert '"vmstatus": {"$orig": "running", "$": "Running"}' in text and json.loads(text)
