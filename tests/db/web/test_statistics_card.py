"""The card of a VM's page that statistics.js draws its curves into."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.test import Client
from rest_framework.test import APIClient

import panel.web
from panel.accounts.models import Level, User
from panel.cluster.models import Node
from panel.monitoring.models import VmUsage
from panel.monitoring.models.statistics import kept_since, slot
from panel.monitoring.statistics.selectors import PERIODS, STEPS, Period
from panel.web import assets, curves
from tests.db.conftest import make_node
from tests.db.monitoring.messages import make_vm

SCRIPT = Path(panel.web.__file__).parent / "static/web/statistics.js"


def test_the_card_names_its_vm_and_the_periods_and_the_script_is_the_panels_own(user: User, node: Node) -> None:
    vm = make_vm(node, user, "web1")
    client = Client()
    client.force_login(user)
    page = client.get(f"/vms/{vm.pk}", secure=True).content.decode()
    assert re.search(rf'id="statistics" data-address="/api/v1/vms/{vm.pk}/statistics"\s+data-cpus="1"', page)
    assert set(re.findall(r"\bwords\.(\w+)", SCRIPT.read_text(encoding="utf-8"))) == curves.words().keys()
    assert re.findall(r'<option value="(\w+)" data-step', page) == ["day", "week", "month", "year"]
    assert f'<script type="module" src="{assets.address("web/statistics.js")}"></script>' in page


@pytest.mark.parametrize("period", PERIODS, ids=lambda period: period.name)
def test_every_period_is_one_that_the_api_answers_whole(
    api_as_user: APIClient, user: User, node: Node, period: Period
) -> None:
    vm = make_vm(node, user, "web1")
    until = datetime.now(UTC)
    since = until - timedelta(seconds=period.seconds)
    length = STEPS[period.step]
    times = [slot(since, length) + timedelta(seconds=length) * number for number in range(1, period.seconds // length)]
    VmUsage.objects.bulk_create([VmUsage(vm=vm, step=length, at=at, seconds=length) for at in times])
    # As the script asks.
    query = {"step": period.step, "from": since.isoformat(), "to": until.isoformat()}
    answer = api_as_user.get(f"/api/v1/vms/{vm.pk}/statistics", query)
    assert answer.status_code == 200
    assert len(answer.json()) == len(times) > 100
    # And such rows are still there by default.
    assert kept_since(length, until) <= since


def test_the_script_reads_only_fields_that_the_api_has(api_as_user: APIClient, user: User, node: Node) -> None:
    vm = make_vm(node, user, "web1")
    VmUsage.objects.create(vm=vm, step=STEPS["10m"], at=slot(datetime.now(UTC)), seconds=600)
    [row] = api_as_user.get(f"/api/v1/vms/{vm.pk}/statistics").json()
    read = set(re.findall(r"\brow\.(\w+)", SCRIPT.read_text(encoding="utf-8")))
    assert {"at", "seconds", "cpu_ns", "rx_bytes"} <= read <= set(row)


def test_a_nodes_rows_are_the_sums_of_the_vms_that_it_has(api: APIClient, user: User, node: Node) -> None:
    other = make_node("fake2")
    at = slot(datetime.now(UTC))
    for number, place in enumerate((node, node, other)):
        vm = make_vm(place, user, f"web{number}")
        VmUsage.objects.create(vm=vm, step=STEPS["10m"], at=at, seconds=600, cpu_ns=5, rss_kib=7, rx_bytes=11)
    [row] = api.get(f"/api/v1/nodes/{node.pk}/statistics").json()
    assert (row["seconds"], row["cpu_ns"], row["rss_kib"], row["rx_bytes"]) == (600, 10, 14, 22)
    client = Client()
    client.force_login(User.objects.create_user("root2", level=Level.ADMIN))
    assert (
        f'data-address="/api/v1/nodes/{node.pk}/statistics"'
        in client.get(f"/nodes/{node.pk}", secure=True).content.decode()
    )
