"""The list of VMs: its filters, for whom they are, and what its rows say."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from panel.accounts.models import Level, User
from panel.core.wording import Text
from panel.images.models import Image
from panel.notices.services import close_problem, open_problem
from panel.vms.models import Installation, Vm
from tests.db.conftest import make_node
from tests.db.web.test_pages import signed_in, vm

__all__ = ["vm"]


@pytest.fixture
def vms(vm: int, user: User) -> dict[str, int]:
    """Three VMs that differ in all that the list is filtered by."""
    first = Vm.objects.get(pk=vm)
    image = Image.objects.create(name="large", title="Large <OS>", os_family="test", file_name="l", size_bytes=1,
                                 virtual_bytes=1, sha256="0" * 64, min_memory_mib=1, min_disk_gib=1)  # fmt: skip
    common = {"cluster": first.cluster, "pool": first.pool, "installed": True}
    second = Vm.objects.create(
        name="web2",
        node=make_node("fake2"),
        owner=user,
        image=image,
        memory_mib=999,
        vcpus=7,
        status="shut off",
        **common,
    )
    third = Vm.objects.create(
        name="mail", node=first.node, owner=user, memory_mib=999, vcpus=1, status="running", **common
    )
    open_problem("vm:x", Text("Something about {vm}", {"vm": "mail"}), object_type="vm", object_id=third.pk)
    open_problem("vm:y", Text("Something that ended"), object_type="vm", object_id=second.pk)
    close_problem("vm:y")
    return {each.name: each.pk for each in (first, second, third)}


def _names(client: Client, query: str) -> list[str]:
    answer = client.get(f"/vms?{query}", secure=True, headers={"HX-Request": "true", "HX-Target": "rows"})
    assert answer.status_code == 200
    return re.findall(r'<a href="/vms/\d+">([^<]*)</a>', answer.content.decode())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["mail", "web1", "web2"]),
        ("status=running", ["mail", "web1"]),
        ("node=fake2", ["web2"]),
        ("image=large", ["web2"]),
        ("plan=tiny", ["web1"]),
        ("plan=nothing", ["mail", "web1", "web2"]),
        ("problem=yes", ["mail"]),
        ("problem=no", ["web1", "web2"]),
        ("owner=anna", ["mail", "web2"]),
        ("owner=AN", ["mail", "web2"]),
        ("owner=nobody", []),
        ("address=10.77.0.", ["web1"]),
        ("address=10.78.", []),
        ("status=running&owner=ann&problem=yes", ["mail"]),
    ],
)
def test_the_list_is_filtered_by_what_its_address_says(
    admin: User, vms: dict[str, int], query: str, names: list[str]
) -> None:
    assert _names(signed_in(admin), query) == names


def test_a_customer_is_not_offered_filters_by_others_and_by_the_cluster(user: User, vms: dict[str, int]) -> None:
    client = signed_in(user)
    page = client.get("/vms", secure=True).content.decode()
    assert 'name="plan"' in page and 'name="address"' in page
    assert not any(f'name="{each}"' in page for each in ("owner", "problem", "node"))
    assert _names(client, "owner=admin&problem=yes&node=fake2") == ["mail", "web2"]
    auditor = User.objects.create(name="auditor", password="!", level=Level.READONLY)
    assert 'name="owner"' in signed_in(auditor).get("/vms", secure=True).content.decode()


def test_a_row_says_what_is_known_of_its_vm_and_names_from_outside_are_escaped(
    admin: User, vms: dict[str, int]
) -> None:
    Vm.objects.filter(name="web2").update(
        suspended_at="2026-01-01T00:00:00Z", suspension_reason='"><b>', seen_elsewhere=True
    )
    Installation.objects.create(vm_id=vms["web2"])
    page = signed_in(admin).get("/vms", secure=True).content.decode()
    row = page[page.index(f'id="vm-{vms["web2"]}"') :].partition("</tr>")[0]
    for said in ("Large &lt;OS&gt;", "&quot;&gt;&lt;b&gt;", ">suspended<", ">installing<", ">on two nodes<",
                 ">fake2</a>", ">anna<", "Shut off", 'aria-label="Choose web2"'):  # fmt: skip
        assert said in row, said
    assert "<b>" not in row and "<OS>" not in row
