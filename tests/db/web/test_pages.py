"""What stands on the pages, and for whom."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import Level, User
from panel.cluster.models import Node
from panel.core import live
from panel.images.models import Image
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Sighting, StatusChange, Vm, VmStatus
from panel.web import console, events, listing, vm_page
from tests.db.conftest import make_node
from tests.db.web.buttons import buttons

GOOD = {"name": "web1", "image": "small", "flavor": "tiny"}


def signed_in(user: User) -> Client:
    """A browser of that user."""
    client = Client()
    client.force_login(user)
    return client


def _row(page: str, mark: str) -> str:
    """The table row that bears the mark."""
    return page[page.index(mark) :].partition("</tr>")[0]


def _text(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path, secure=True)
    assert answer.status_code == status, path
    return answer.content.decode()


@pytest.fixture
def vm(api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]) -> int:
    """A running VM of the administrator's."""
    made: int = api.post("/api/v1/vms", GOOD).json()["vm"]
    run_tasks()
    return made


def test_the_buttons_come_from_the_registry_and_the_dangerous_last(admin: User, vm: int) -> None:
    page = _text(signed_in(admin), f"/vms/{vm}")
    places = [list(buttons(page)).index(verb) for verb in ("stop", "start", "force-off", "delete")]
    assert places == sorted(places)
    assert "10.77.0.10" in page and "Console" in page


def test_a_vms_devices_stand_in_rows_each_with_what_can_be_done_with_it(
    api: APIClient, admin: User, vm: int, run_tasks: Callable[[], None]
) -> None:
    client = signed_in(admin)
    page = _text(client, f"/vms/{vm}")
    assert f"/vms/{vm}/devices" in page and "/add-disk" not in page
    page = _text(client, f"/vms/{vm}/devices")
    for verb in ("add-disk", "grow-disk", "change-disk", "add-interface", "change-interface", "remove-interface"):
        assert buttons(page)[verb] is False
    # It has one disk, from which it starts, and there is no ISO image.
    assert "remove-disk" not in page and "mount-iso" not in page

    api.post(f"/api/v1/vms/{vm}/add-disk", {"size_gib": 3, "bus": "scsi", "cache": "writeback"})
    assert buttons(_text(client, f"/vms/{vm}/devices"))["add-disk"]
    assert "disabled" in _row(_text(client, f"/vms/{vm}/devices"), 'data-disk="vda"')
    run_tasks()
    limits = {"disk": "sdc", "read_bytes_sec": 10 * 1024**2, "write_iops_sec": 100}
    api.post(f"/api/v1/vms/{vm}/change-disk", limits)
    run_tasks()
    row = _row(_text(client, f"/vms/{vm}/devices"), 'data-disk="sdc"')
    for said in ("local", "3 GiB", "SCSI", "Write back", "read 10 MiB/s", "write 100 requests/s", "remove-disk"):
        assert said in row
    assert "disabled" not in row
    dialog = _text(client, f"/vms/{vm}/do/remove-disk?disk=sdc")
    assert "What is on it cannot be brought back." in dialog


def test_a_customer_is_not_asked_for_what_limits_and_filters_him(user: User, vm: int) -> None:
    Vm.objects.update(owner=user)
    page = _text(signed_in(user), f"/vms/{vm}/devices")
    _text(signed_in(User.objects.create_user("ben", "correct horse")), f"/vms/{vm}/devices", 404)
    assert "change-interface" in page and "add-disk" in page
    for verb, field in (("change-interface", "guarded"), ("change-disk", "read_iops_sec")):
        dialog = _text(signed_in(user), f"/vms/{vm}/do/{verb}")
        assert f'name="{field}"' not in dialog and "<select" in dialog


def test_the_page_of_devices_makes_the_same_queries_for_few_and_many(
    api: APIClient, admin: User, vm: int, run_tasks: Callable[[], None]
) -> None:
    client = signed_in(admin)
    _text(client, f"/vms/{vm}/devices")
    with CaptureQueriesContext(connection) as few:
        _text(client, f"/vms/{vm}/devices")
    for _ in range(2):
        api.post(f"/api/v1/vms/{vm}/add-disk", {"size_gib": 1})
        run_tasks()
        api.post(f"/api/v1/vms/{vm}/add-interface", {})
        run_tasks()
    with CaptureQueriesContext(connection) as many:
        _text(client, f"/vms/{vm}/devices")
    assert len(many) == len(few)


def test_a_readonly_administrator_sees_all_and_has_no_button(admin: User, vm: int, node: Node) -> None:
    client = signed_in(User.objects.create_user("auditor", "correct horse", level=Level.READONLY))
    assert "web1" in _text(client, "/vms")
    assert not buttons(_text(client, f"/vms/{vm}"))
    # Nor to cancel what others have asked for, or to have it tried again.
    task = registry.get("vm.pause").submit(admin, {}, object_id=vm)
    for status, button in ((Status.QUEUED, "cancel"), (Status.STUCK, "retry-undo")):
        Task.objects.filter(pk=task.pk).update(status=status)
        for path in (f"/vms/{vm}", f"/tasks/{task.pk}"):
            shown = _text(client, path)
            assert "data-action" not in shown and f"/tasks/{task.pk}/{button}" not in shown
        assert (f"/tasks/{task.pk}/{button}" in _text(signed_in(admin), f"/vms/{vm}")) is (status == Status.QUEUED)
        assert f"/tasks/{task.pk}/{button}" in _text(signed_in(admin), f"/tasks/{task.pk}")
    assert "/nodes/new" not in _text(client, "/nodes")
    for path in ("/vms/new", "/nodes/new", f"/vms/{vm}/console"):
        _text(client, path, status=404)


def test_a_customer_sees_nothing_of_others_and_of_the_cluster(user: User, vm: int, node: Node) -> None:
    client = signed_in(user)
    assert "web1" not in _text(client, "/vms")
    for path in (
        f"/vms/{vm}",
        f"/vms/{vm}/console",
        "/nodes",
        f"/nodes/{node.pk}",
        "/nodes/new",
        "/problems",
        "/tasks/1",
    ):
        _text(client, path, status=404)
    assert node.name not in _text(client, "/vms/new")


@pytest.mark.parametrize("path", ["/", "/vms", "/nodes", "/tasks"])
def test_a_page_makes_the_same_queries_for_few_and_many(
    api: APIClient, admin: User, node: Node, image: Image, run_tasks: Callable[[], None], path: str
) -> None:
    client = signed_in(admin)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            _text(client, path)
        return len(captured)

    for number in range(3):
        api.post("/api/v1/vms", {**GOOD, "name": f"few{number}"})
    few = queries()
    for number in range(20):
        api.post("/api/v1/vms", {**GOOD, "name": f"many{number}"})
    make_node("fake2")
    assert queries() == few
    assert few <= 14


def test_a_long_list_has_pages_and_no_row_is_out_of_reach(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 3)
    for number in range(7):
        make_node(f"fake{number}")
    client = signed_in(admin)
    pages = [_text(client, f"/nodes?page={number}") for number in (1, 2, 3)]
    assert [sum(f">fake{number}<" in page for number in range(7)) for page in pages] == [3, 3, 1]
    assert 'href="?page=2"' in pages[0] and 'href="?page=3"' in pages[1] and 'rel="next"' not in pages[2]
    # Further than there is: the last page, as after rows have gone.
    assert ">fake6<" in _text(client, "/nodes?page=99")


def test_a_vm_on_two_nodes_can_be_settled_from_its_page(admin: User, user: User, vm: int) -> None:
    other = make_node("fake2")
    Sighting.objects.create(vm_id=vm, node=other, status="running", seen_at=timezone.now())
    Vm.objects.filter(pk=vm).update(seen_elsewhere=True)
    page = _text(signed_in(admin), f"/vms/{vm}")
    assert "node=fake2" in page and "Which copy is right?" in page
    Vm.objects.filter(pk=vm).update(owner=user)
    assert "Which copy is right?" not in _text(signed_in(user), f"/vms/{vm}")


def test_a_vms_history_is_a_line_with_what_libvirt_and_the_request_called_it(admin: User, vm: int) -> None:
    StatusChange.objects.create(
        vm_id=vm, status="crashed", detail="stopped:crashed", at=timezone.now(), cause="outside", request_id="req-4711"
    )
    page = _text(signed_in(admin), f"/vms/{vm}")
    assert 'class="timeline"' in page and '<rect data-status="crashed"' in page
    assert "stopped:crashed" in page and "req-4711" in page


def test_names_from_outside_are_escaped(admin: User, node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(facts={"os_name": "<script>alert(1)</script>"})
    page = _text(signed_in(admin), f"/nodes/{node.pk}")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_pages_let_browsers_run_only_the_panels_own_scripts(admin: User) -> None:
    client = signed_in(admin)
    for path in ("/", "/vms/new", "/api/v1/docs", "/login"):
        answer = client.get(path, secure=True)
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy and "unsafe" not in policy
        assert " style=" not in answer.content.decode() and " onclick=" not in answer.content.decode()


def test_an_action_from_another_site_is_refused(admin: User, vm: int) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    answer = client.post(f"/api/v1/vms/{vm}/force-off", {}, content_type="application/json", secure=True)
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")


def test_a_console_link_opens_once_and_for_its_user_alone(admin: User, user: User, vm: int) -> None:
    token = console.make_link(admin.pk, vm)
    assert console.use_link(token, admin.pk) == console.Link(vm)
    assert console.use_link(token, admin.pk) is None
    stolen = console.make_link(admin.pk, vm)
    assert console.use_link(stolen, user.pk) is None
    assert console.use_link(stolen, admin.pk) is None
    assert console.use_link("nothing", admin.pk) is None


def test_events_reach_only_those_whom_they_concern(admin: User, user: User) -> None:
    reader = User.objects.create_user("auditor", "correct horse", level=Level.READONLY)
    theirs = {"topic": "vm", "id": 1, "owner": user.pk}
    others = {"topic": "task", "id": 1, "owner": admin.pk}
    of_cluster = ({"topic": "node", "id": 1}, {"topic": "problem", "id": 1, "owner": user.pk})
    assert events.may_see(user, theirs)
    assert not events.may_see(user, others)
    assert not any(events.may_see(user, event) for event in of_cluster)
    for viewer in (admin, reader):
        assert all(events.may_see(viewer, event) for event in (theirs, others, *of_cluster))


def test_strangers_get_no_events() -> None:
    assert Client().get("/events", secure=True).status_code == 401


def test_a_published_event_arrives_at_the_pages_of_its_owner(user: User) -> None:
    client = AsyncClient()
    client.force_login(user)

    async def listen() -> list[str]:
        answer = await client.get("/events", secure=True)
        assert isinstance(answer, StreamingHttpResponse)
        stream = answer.streaming_content.__aiter__()
        said = [bytes(await anext(stream)).decode()]
        for owner in (user.pk + 1, user.pk):
            await sync_to_async(live.publish)("vm", {"id": owner, "owner": owner, "status": "running"})
        while len(said) < 2:
            line = bytes(await asyncio.wait_for(anext(stream), 5)).decode()
            if not line.startswith(":"):  # a comment, which only keeps the connection up
                said.append(line)
        await stream.aclose()
        return said

    hello, event = async_to_sync(listen)()
    assert hello.startswith("event: hello")
    assert event.startswith("event: vm\n") and f'"owner": "{user.name}"' in event


def test_rare_operations_are_in_the_menu_and_only_while_they_make_sense(
    admin: User, api: APIClient, vm: int, run_tasks: Callable[[], None]
) -> None:
    def rare() -> set[str]:
        operations = {each.verb for each in registry.for_object("vm", admin) if each.rare}
        return operations & set(buttons(_text(signed_in(admin), f"/vms/{vm}")))

    assert rare() == {"pause", "reset", "suspend"}
    api.post(f"/api/v1/vms/{vm}/pause", {})
    run_tasks()
    assert rare() == {"resume", "reset", "suspend"}
    api.post(f"/api/v1/vms/{vm}/suspend", {})
    run_tasks()
    assert rare() == {"unsuspend"}


def _pressable(page: str) -> set[str]:
    """What can be asked for with the page's buttons as they are."""
    return {verb for verb, off in buttons(page).items() if not off}


def test_force_off_can_be_pressed_while_a_shutdown_waits(admin: User, api: APIClient, vm: int) -> None:
    api.post(f"/api/v1/vms/{vm}/stop", {})
    found = buttons(_text(signed_in(admin), f"/vms/{vm}"))
    assert (found["force-off"], found["restart"], found["delete"]) == (False, True, True)


def test_a_suspension_is_shown_with_its_reason_on_page_and_list(
    user: User, api: APIClient, vm: int, run_tasks: Callable[[], None]
) -> None:
    Vm.objects.filter(pk=vm).update(owner=user)
    api.post(f"/api/v1/vms/{vm}/suspend", {"reason": "<not> paid for"})
    run_tasks()
    client = signed_in(user)
    assert "&lt;not&gt; paid for" in _text(client, f"/vms/{vm}")
    assert ">suspended</span>" in _text(client, "/vms")
    assert "suspend" not in buttons(_text(client, f"/vms/{vm}"))


@pytest.mark.parametrize("status", VmStatus.values)
def test_no_page_offers_a_suspended_vm_what_is_refused_for_that(
    admin: User, api: APIClient, vm: int, run_tasks: Callable[[], None], status: str
) -> None:
    api.post(f"/api/v1/vms/{vm}/suspend", {})
    run_tasks()
    Vm.objects.filter(pk=vm).update(status=status)
    found = buttons(_text(signed_in(admin), f"/vms/{vm}"))
    assert {found[verb] for verb in ("start", "stop", "restart", "force-off")} == {True}
    assert not {"pause", "resume", "reset"} & set(found)
    pressable = _pressable(_text(signed_in(admin), f"/vms/{vm}/guest"))
    assert ("configure-guest" in pressable) is (status not in (VmStatus.MISSING, VmStatus.SAVED))
    assert not {"rescue", "reinstall", "clone"} & pressable


def test_snapshots_stand_on_the_page_as_a_tree_with_their_buttons(
    admin: User, api: APIClient, vm: int, run_tasks: Callable[[], None]
) -> None:
    assert 'id="snapshots"' not in _text(signed_in(admin), f"/vms/{vm}")
    for name in ("before", "<after>"):
        api.post(f"/api/v1/vms/{vm}/snapshot", {"name": name})
        run_tasks()
    page = _text(signed_in(admin), f"/vms/{vm}")
    assert page.count('<ul class="tree">') == 2 and "&lt;after&gt;" in page
    assert page.count('data-verb="revert-snapshot"') == 2
    auditor = signed_in(User.objects.create_user("auditor", "correct horse", level=Level.READONLY))
    assert "revert-snapshot" not in _text(auditor, f"/vms/{vm}")


def test_a_suspended_vm_goes_back_to_a_snapshot_without_memory_alone(
    admin: User, api: APIClient, vm: int, run_tasks: Callable[[], None]
) -> None:
    off, running = {"name": "off"}, {"name": "running"}
    for verb, raw in (("force-off", {}), ("snapshot", off), ("start", {}), ("snapshot", running), ("suspend", {})):
        api.post(f"/api/v1/vms/{vm}/{verb}", raw)
        run_tasks()
    shown = _text(signed_in(admin), f"/vms/{vm}").split('data-snapshot="')[1:]
    assert [buttons(each)["revert-snapshot"] for each in shown] == [False, True]
    answers = [
        api.post(f"/api/v1/vms/{vm}/revert-snapshot", {"snapshot": int(each.split('"')[0])}).status_code
        for each in reversed(shown)
    ]
    assert answers == [409, 202]


def test_a_vm_in_rescue_mode_goes_back_to_no_snapshot(
    admin: User, api: APIClient, vm: int, run_tasks: Callable[[], None]
) -> None:
    for verb, raw in (("snapshot", {"name": "before"}), ("rescue", {"image": "small", "password": "another horse"})):
        api.post(f"/api/v1/vms/{vm}/{verb}", raw)
        run_tasks()
    shown = _text(signed_in(admin), f"/vms/{vm}").split('data-snapshot="')[1]
    assert buttons(shown)["revert-snapshot"] and 'title="The VM is in rescue mode. End that first."' in shown
    refused = api.post(f"/api/v1/vms/{vm}/revert-snapshot", {"snapshot": int(shown.split('"')[0])})
    assert refused.json()["detail"] == "The VM is in rescue mode. End that first."


REFUSED_IN_RESCUE = {
    "snapshot": {"name": "after"},
    "migrate": {},
    "clone": {"name": "copy"},
    "reinstall": {"password": "another horse"},
    "rescue": {"image": "small", "password": "another horse"},
    "configure-guest": {"hostname": "inside"},
    "add-disk": {"size_gib": 1},
    "grow-disk": {"disk": "vda", "size_gib": 50},
    "change-disk": {"disk": "vda", "cache": "none"},
    "add-interface": {},
}


def test_no_page_offers_a_vm_in_rescue_mode_what_is_refused_for_that(
    admin: User, api: APIClient, vm: int, run_tasks: Callable[[], None]
) -> None:
    def offered() -> set[str]:
        pages = (f"/vms/{vm}", f"/vms/{vm}/guest", f"/vms/{vm}/devices")
        return set().union(*(_pressable(_text(signed_in(admin), page)) for page in pages))

    assert set(REFUSED_IN_RESCUE) <= offered()
    api.post(f"/api/v1/vms/{vm}/rescue", REFUSED_IN_RESCUE["rescue"])
    run_tasks()
    for verb, raw in REFUSED_IN_RESCUE.items():
        refused = api.post(f"/api/v1/vms/{vm}/{verb}", raw)
        assert (refused.status_code, refused.json().get("state")) == (409, "rescue"), verb
    assert not set(REFUSED_IN_RESCUE) & offered()
    assert {"end-rescue", "stop", "restart", "change-owner"} <= offered()


def test_the_settings_of_a_vm_stand_in_a_form_for_those_who_may_change_them(admin: User, user: User, vm: int) -> None:
    Vm.objects.update(owner=user, cpu_mode="maximum", boot_order=["network", "cdrom"], description="<b>")
    page = _text(signed_in(admin), f"/vms/{vm}/settings")
    assert f'hx-post="/vms/{vm}/settings"' in page
    assert '<option value="maximum" selected>' in page and "&lt;b&gt;</textarea>" in page
    assert '<option value="network\ncdrom" selected>' in page
    assert f"/vms/{vm}/settings" in _text(signed_in(admin), f"/vms/{vm}")
    _text(signed_in(user), f"/vms/{vm}/settings", 404)
    assert f"/vms/{vm}/settings" not in _text(signed_in(user), f"/vms/{vm}")


@pytest.mark.parametrize("reading", ["get_vm", "open_tasks_of"])
def test_a_page_that_is_made_while_a_task_ends_shows_what_the_task_left_or_that_it_is_at_work(
    api: APIClient,
    admin: User,
    vm: int,
    run_tasks: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    reading: str,
) -> None:
    """A page with steps is read again once it hears of events; one without them that missed the end would stay so."""
    api.post(f"/api/v1/vms/{vm}/configure", {"clock": "localtime"})
    read = getattr(vm_page, reading)

    def then_the_task_ends(*arguments: Any) -> Any:
        found = read(*arguments)
        run_tasks()
        return found

    monkeypatch.setattr(vm_page, reading, then_the_task_ends)
    page = _text(signed_in(admin), f"/vms/{vm}")
    assert 'class="steps"' in page or 'id="pending"' in page


def test_what_waits_for_the_next_start_stands_on_the_page(admin: User, vm: int) -> None:
    page = signed_in(admin)
    assert 'id="pending"' not in _text(page, f"/vms/{vm}")
    Vm.objects.update(pending=[{"field": "clock", "now": "utc", "then": "localtime"}])
    shown = _text(page, f"/vms/{vm}")
    assert 'id="pending"' in shown and "<td>localtime</td>" in shown
    # Its operation has a form, so it has no button.
    assert "configure" not in buttons(shown)
    assert "At the next start; now it is: utc." in _text(page, f"/vms/{vm}/settings")


def test_what_waits_for_the_next_start_is_not_told_as_present(admin: User, vm: int) -> None:
    page = signed_in(admin)
    Vm.objects.update(
        vcpus=7,
        memory_mib=3072,
        pending=[{"field": "vcpus", "now": 5, "then": 7}, {"field": "memory_mib", "now": 1024, "then": 3072}],
    )
    shown = re.sub(r"\s+", " ", _text(page, f"/vms/{vm}"))
    assert "<dd>5 <small" in shown and "7 at the next start" in shown
    assert "3 GiB at the next start" in shown and "<dd>1 GiB" in shown
    row = re.sub(r"\s+", " ", _text(page, "/vms"))
    assert ">5</td>" in row and ">1 GiB</td>" in row and ">7</td>" not in row
