"""What is done with a VM's guest and identity, on a node in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from nodeagent.protocol.guest import GuestConfigure
from nodeagent.storage import place
from panel.accounts.models import Level, User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import LibvirtFailure
from panel.doctor.services import look
from panel.images.models import Customization, Image
from panel.tasks.models import Task, TaskLog
from panel.vms.models import AuxiliaryDisk, Purpose, Vm, VmStatus
from panel.vms.operations.clone import HELD_STILL, NOT_HELD_STILL
from tests.db.conftest import run_task
from tests.db.web.buttons import buttons

GOOD = {"name": "web1", "image": "small", "flavor": "small", "password": "correct horse"}
RunTasks = Callable[[], None]


@pytest.fixture
def vm(api: APIClient, node: Node, image: Image, run_tasks: RunTasks) -> Vm:
    """A running VM of the administrator's."""
    created = api.post("/api/v1/vms", GOOD).json()
    run_tasks()
    return Vm.objects.get(pk=created["vm"])


def do(api: APIClient, vm: Vm, verb: str, **raw: Any) -> Task:
    """The operation's task at its end."""
    answer = api.post(f"/api/v1/vms/{vm.pk}/{verb}", raw)
    assert answer.status_code == 202, answer.json()
    return run_task(Task.objects.get(pk=answer.json()["task"]["id"]))


def refused(api: APIClient, vm: Vm, verb: str, **raw: Any) -> tuple[int, str, str | None]:
    """Status, code and field with which the operation is refused."""
    answer = api.post(f"/api/v1/vms/{vm.pk}/{verb}", raw)
    return answer.status_code, answer.json()["code"], answer.json().get("field")


def test_a_running_vm_and_a_taken_name_are_not_renamed(api: APIClient, vm: Vm, run_tasks: RunTasks) -> None:
    assert refused(api, vm, "rename", name="web2") == (409, "wrong_state", "id")
    do(api, vm, "force-off")
    api.post("/api/v1/vms", {**GOOD, "name": "web2"})
    assert refused(api, vm, "rename", name="web2") == (409, "already_exists", "name")
    assert refused(api, vm, "rename", name="a/b") == (400, "invalid_value", "name")


def test_a_name_that_was_taken_meanwhile_leaves_the_vm_with_its_own(api: APIClient, vm: Vm, node: Node) -> None:
    do(api, vm, "force-off")
    answer = api.post(f"/api/v1/vms/{vm.pk}/rename", {"name": "web2"})
    Vm.objects.create(
        name="web2", cluster=vm.cluster, node=vm.node, owner=vm.owner, pool=vm.pool, memory_mib=64, vcpus=1
    )
    task = run_task(Task.objects.get(pk=answer.json()["task"]["id"]))

    assert (task.status, (task.error or {})["code"]) == ("failed", "already_exists")
    vm.refresh_from_db()
    [domain] = fake.node(node.pk).domains.values()
    [(_, told)] = fake.node(node.pk).seeds.values()
    assert (vm.name, domain.spec.name, told.hostname) == ("web1", "web1", "web1")


def test_a_renaming_that_waited_for_another_goes_back_to_what_that_made(api: APIClient, vm: Vm, node: Node) -> None:
    do(api, vm, "force-off")
    first, second = (
        Task.objects.get(pk=api.post(f"/api/v1/vms/{vm.pk}/rename?queue=1", {"name": name}).json()["task"]["id"])
        for name in ("web2", "web3")
    )
    assert run_task(first).status == "done"
    fake.node(node.pk).fail("seed_change", refusal("seed_change"))
    assert run_task(second).status == "failed"
    vm.refresh_from_db()
    [domain] = fake.node(node.pk).domains.values()
    [(_, told)] = fake.node(node.pk).seeds.values()
    assert (vm.name, domain.spec.name, told.hostname) == ("web2", "web2", "web2")


def test_a_renaming_of_what_runs_by_now_leaves_the_name_that_somebody_gave_the_domain(
    api: APIClient, vm: Vm, node: Node
) -> None:
    do(api, vm, "force-off")
    task = Task.objects.get(pk=api.post(f"/api/v1/vms/{vm.pk}/rename", {"name": "web2"}).json()["task"]["id"])
    [domain] = fake.node(node.pk).domains.values()
    domain.spec, domain.state = replace(domain.spec, name="mine"), VmStatus.RUNNING
    assert run_task(task).status == "failed"
    assert domain.spec.name == "mine"


def test_a_new_owner_sees_the_vm_and_its_tasks_and_the_old_one_does_not(
    api: APIClient, api_as_user: APIClient, user: User, vm: Vm
) -> None:
    assert api_as_user.get(f"/api/v1/vms/{vm.pk}").status_code == 404
    task = do(api, vm, "change-owner", owner="anna")
    assert task.status == "done"
    assert api_as_user.get(f"/api/v1/vms/{vm.pk}").json()["owner"] == "anna"
    operations = [each["operation"] for each in api_as_user.get("/api/v1/tasks").json()["results"]]
    assert operations == ["vm.change-owner", "vm.create"]

    User.objects.create_user("otto", "correct horse")
    do(api, vm, "change-owner", owner="otto")
    assert api_as_user.get(f"/api/v1/vms/{vm.pk}").status_code == 404
    assert api_as_user.get("/api/v1/tasks").json()["results"] == []


def test_only_an_administrator_gives_vms_away_and_only_to_who_may_have_some(
    api: APIClient, api_as_user: APIClient, user: User, vm: Vm
) -> None:
    do(api, vm, "change-owner", owner="anna")
    assert refused(api_as_user, vm, "change-owner", owner="admin")[:2] == (403, "access_denied")
    User.objects.create_user("idle", is_active=False)
    User.objects.create_user("never", may_create_vms=False)
    User.objects.create_user("reader", level=Level.READONLY)
    assert refused(api, vm, "change-owner", owner="nobody") == (404, "not_found", "owner")
    for name in ("idle", "never", "reader"):
        assert refused(api, vm, "change-owner", owner=name) == (400, "invalid_value", "owner")


def test_an_agent_that_answers_makes_the_change_at_once_and_the_seed_says_the_same(
    api: APIClient, vm: Vm, node: Node
) -> None:
    memory = fake.node(node.pk)
    memory.domains[str(vm.uuid)].has_agent = True
    task = do(api, vm, "configure-guest", hostname="inside", ssh_keys=["ssh-ed25519 AAAA"])
    assert task.result == {"applied": "now"}
    [asked] = [call for call in memory.calls if isinstance(call, GuestConfigure)]
    assert (asked.change.hostname, asked.change.ssh_keys, asked.change.password_hash) == (
        "inside",
        ["ssh-ed25519 AAAA"],
        None,
    )
    # cloud-init would do it all again for an instance that it does not know.
    [(instance, told)] = memory.seeds.values()
    assert (instance, told.hostname) == (str(vm.uuid), "inside")


def test_without_an_agent_the_seed_is_that_of_a_new_instance(api: APIClient, vm: Vm, node: Node) -> None:
    [(_, before)] = fake.node(node.pk).seeds.values()
    task = do(api, vm, "configure-guest", password="another horse")
    assert task.result == {"applied": "at next start"}
    [(instance, told)] = fake.node(node.pk).seeds.values()
    assert instance == f"{vm.uuid}-{task.pk}"
    assert told.password_hash not in ("", before.password_hash)
    assert (told.hostname, told.ssh_keys) == (before.hostname, before.ssh_keys)


def test_a_seed_that_somebody_deleted_is_made_again_by_the_next_change(api: APIClient, vm: Vm, node: Node) -> None:
    memory = fake.node(node.pk)
    [(path, (_, before))] = memory.seeds.items()
    for verb, raw in (("configure-guest", {"ssh_keys": ["ssh-ed25519 AAAA"]}), ("rename", {"name": "other"})):
        if verb == "rename":
            do(api, vm, "force-off")
        memory.files.pop(path)
        memory.seeds.pop(path)
        task = do(api, vm, verb, **raw)
        [(instance, told)] = memory.seeds.values()
        assert instance == f"{vm.uuid}-{task.pk}"
        assert (told.address, told.mac, told.login) == (before.address, before.mac, before.login)
        assert (told.keeps_password, told.password_hash, told.ssh_keys) == (True, "", raw.get("ssh_keys", []))
    assert told.hostname == "other"


def test_without_an_agent_and_cloud_init_the_guest_must_be_off(api: APIClient, vm: Vm, node: Node) -> None:
    Image.objects.update(customization=Customization.VIRT_CUSTOMIZE)
    task = do(api, vm, "configure-guest", password="another horse")
    assert (task.status, (task.error or {})["code"]) == ("failed", "wrong_state")
    do(api, vm, "force-off")
    assert do(api, vm, "configure-guest", password="another horse").status == "done"
    assert fake.node(node.pk).calls[-1].COMMAND == "volume_reconfigure"


def test_something_must_be_named_that_a_guest_shall_have(api: APIClient, vm: Vm) -> None:
    assert refused(api, vm, "configure-guest") == (400, "missing_value", "password")
    assert refused(api, vm, "configure-guest", ssh_keys=["not a key"]) == (400, "invalid_value", "ssh_keys")
    assert refused(api, vm, "configure-guest", password="short") == (400, "invalid_value", "password")


def test_a_vm_without_interface_gets_no_new_system(api: APIClient, vm: Vm) -> None:
    [interface] = vm.interfaces.all()
    do(api, vm, "force-off")
    waiting = api.post(f"/api/v1/vms/{vm.pk}/remove-interface", {"interface": interface.mac}).json()["task"]["id"]
    behind = api.post(f"/api/v1/vms/{vm.pk}/reinstall?queue=1", {}).json()["task"]["id"]
    assert run_task(Task.objects.get(pk=waiting)).status == "done"
    # It was asked for while there was an interface.
    task = run_task(Task.objects.get(pk=behind))
    assert (task.status, (task.error or {})["code"]) == ("failed", "wrong_state")
    assert refused(api, vm, "reinstall") == (409, "wrong_state", "id")
    assert refused(api, vm, "rescue", image="small") == (409, "wrong_state", "id")
    assert not look()


def test_a_new_system_is_told_of_the_first_interface_that_is_left(api: APIClient, vm: Vm, node: Node) -> None:
    [first] = vm.interfaces.all()
    do(api, vm, "add-interface")
    do(api, vm, "remove-interface", interface=first.mac)
    [left] = vm.interfaces.all()
    assert do(api, vm, "reinstall").status == "done"
    [(_, told)] = fake.node(node.pk).seeds.values()
    assert (told.mac, told.address) == (left.mac, left.ip)


@pytest.mark.parametrize("verb", ["reinstall", "configure-guest", "rescue"])
def test_a_guest_s_new_password_stands_in_no_row(api: APIClient, vm: Vm, verb: str) -> None:
    raw = {"image": "small"} if verb == "rescue" else {}
    do(api, vm, verb, password="a very secret word", **raw)
    with connection.cursor() as cursor:
        for table, columns in (
            ("tasks_task", "params, result"),
            ("tasks_taskstep", "output"),
            ("tasks_tasklog", "text"),
        ):
            cursor.execute(f"SELECT {columns} FROM {table}")
            assert "secret word" not in str(cursor.fetchall())
        cursor.execute("SELECT COUNT(*) FROM tasks_tasksecret")
        assert cursor.fetchone() == (0,)


def test_a_reinstalled_vm_has_the_new_image_and_nothing_of_the_old_system(
    api: APIClient, vm: Vm, node: Node, image: Image
) -> None:
    other = Image.objects.get(pk=image.pk)
    other.pk, other.name, other.title, other.login = None, "other", "Other OS", "admin"
    other.save()
    before = set(fake.node(node.pk).files)
    for _ in range(2):
        assert do(api, vm, "reinstall", image="other", password="another horse").status == "done"
    shown = api.get(f"/api/v1/vms/{vm.pk}").json()
    after = set(fake.node(node.pk).files)

    assert (shown["image"], shown["name"], shown["status"]) == ("other", "web1", "running")
    assert len(after) == len(before) and not {path for path in before & after if "/images/" not in path}
    [(_, told)] = fake.node(node.pk).seeds.values()
    assert (told.login, told.hostname) == ("admin", "web1")
    assert not AuxiliaryDisk.objects.exists()
    assert look() == set()
    assert do(api, vm, "delete").status == "done"
    assert [path for path in fake.node(node.pk).files if "/images/" not in path] == []


def test_a_reinstallation_leaves_the_disks_alone_that_the_vm_does_not_start_from(api: APIClient, vm: Vm) -> None:
    # Its name comes before that of the first disk.
    assert do(api, vm, "add-disk", size_gib=20, bus="scsi").result["disk"] == "sdc"
    before = dict(vm.disks.values_list("target", "volume"))
    assert do(api, vm, "reinstall", password="another horse").status == "done"
    after = dict(vm.disks.values_list("target", "volume"))
    assert after["sdc"] == before["sdc"]
    assert after["vda"] != before["vda"]
    assert look() == set()


def test_a_reinstallation_into_a_vm_that_is_too_small_is_refused(api: APIClient, vm: Vm) -> None:
    Image.objects.update(min_disk_gib=100)
    assert refused(api, vm, "reinstall") == (400, "invalid_value", "image")
    Image.objects.update(min_disk_gib=1, min_memory_mib=100000)
    assert refused(api, vm, "reinstall") == (400, "invalid_value", "image")
    assert refused(api, vm, "reinstall", image="nothing") == (404, "not_found", "image")


@pytest.mark.parametrize("queue", ["", "?queue=1"])
def test_a_second_reinstallation_is_told_of_the_first(api: APIClient, vm: Vm, queue: str) -> None:
    first = api.post(f"/api/v1/vms/{vm.pk}/reinstall", {"password": "another horse"}).json()["task"]
    answer = api.post(f"/api/v1/vms/{vm.pk}/reinstall{queue}", {"password": "another horse"})
    assert (answer.status_code, answer.json()["code"], answer.json()["task"]) == (409, "busy", first["id"])


def test_a_disk_that_grows_before_the_reinstallation_has_its_turn_stays_as_large(api: APIClient, vm: Vm) -> None:
    growing, anew = (
        Task.objects.get(pk=api.post(f"/api/v1/vms/{vm.pk}/{verb}?queue=1", raw).json()["task"]["id"])
        for verb, raw in (("grow-disk", {"disk": "vda", "size_gib": 20}), ("reinstall", {"password": "another horse"}))
    )
    assert [run_task(task).status for task in (growing, anew)] == ["done", "done"]
    assert vm.disks.get().volume.size_gib == 20
    assert look() == set()


def test_when_the_old_system_cannot_be_deleted_the_vm_gets_it_back(api: APIClient, vm: Vm, node: Node) -> None:
    before = sorted(fake.node(node.pk).files)
    fake.node(node.pk).fail("volume_delete", refusal("volume_delete"))
    disk = vm.disks.get().volume_id
    assert do(api, vm, "reinstall", password="another horse").status == "failed"
    assert vm.disks.get().volume_id == disk
    [domain] = fake.node(node.pk).domains.values()
    assert [place(each.volume) for each in domain.spec.disks] == [vm.disks.get().volume.place]
    assert (domain.state, sorted(fake.node(node.pk).files)) == ("running", before)
    assert look() == set()


def test_when_the_old_system_is_deleted_in_part_the_vm_keeps_the_new_one(api: APIClient, vm: Vm, node: Node) -> None:
    old = vm.disks.get().volume
    fake.node(node.pk).fail("seed_delete", refusal("seed_delete"))
    assert do(api, vm, "reinstall", password="another horse").status == "failed"

    memory = fake.node(node.pk)
    assert old.place not in memory.files
    new = vm.disks.get().volume
    [domain] = memory.domains.values()
    assert ([place(each.volume) for each in domain.spec.disks], domain.state) == ([new.place], "running")
    assert not AuxiliaryDisk.objects.exists()
    assert look() == set()


def refusal(command: str) -> LibvirtFailure:
    """What a node answers that cannot do it."""
    return LibvirtFailure(node="fake1", command=command, text="no", libvirt_code=1)


def test_in_rescue_mode_the_vm_boots_the_rescue_system_with_its_disks_behind(
    api: APIClient, vm: Vm, node: Node
) -> None:
    own = vm.disks.get().volume.place
    do(api, vm, "rescue", image="small", password="another horse")
    auxiliary_disk = AuxiliaryDisk.objects.select_related("volume__pool", "vm__pool").get()
    [domain] = fake.node(node.pk).domains.values()
    assert [(place(each.volume), each.target) for each in domain.spec.disks] == [
        (auxiliary_disk.volume.place, "vda"),
        (own, "vdb"),
    ]
    assert domain.spec.cdroms == [auxiliary_disk.seed_ref]
    assert api.get(f"/api/v1/vms/{vm.pk}").json()["in_rescue"] is True
    for verb, raw in (("rescue", {"image": "small"}), ("reinstall", {}), ("configure-guest", {"hostname": "a"})):
        assert refused(api, vm, verb, **raw)[1] == "wrong_state"
    do(api, vm, "stop")
    do(api, vm, "end-rescue")
    [domain] = fake.node(node.pk).domains.values()
    # It was stopped, so it stays off.
    assert ([place(each.volume) for each in domain.spec.disks], domain.state) == ([own], "shut off")
    assert api.get(f"/api/v1/vms/{vm.pk}").json()["in_rescue"] is False
    assert look() == set()


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_rescue_that_waits_its_turn_is_in_no_description_before_it(
    api: APIClient, vm: Vm, node: Node, cancelled: bool
) -> None:
    """With a disk that is not there yet the VM could not start; after a cancelled rescue never again."""
    disk, rescue = (
        Task.objects.get(pk=api.post(f"/api/v1/vms/{vm.pk}/{path}?queue=1", raw).json()["task"]["id"])
        for path, raw in (("add-disk", {"size_gib": 1}), ("rescue", {"image": "small"}))
    )
    assert run_task(disk).status == "done"
    own = [each.volume.place for each in vm.disks.order_by("position").select_related("volume__pool")]
    [domain] = fake.node(node.pk).domains.values()
    assert [place(each.volume) for each in domain.spec.disks] == own
    assert api.get(f"/api/v1/vms/{vm.pk}").json()["in_rescue"] is False
    if cancelled:
        assert api.post(f"/api/v1/tasks/{rescue.pk}/cancel").status_code == 202
    assert run_task(rescue).status == ("cancelled" if cancelled else "done")
    [domain] = fake.node(node.pk).domains.values()
    assert [place(each.volume) for each in domain.spec.disks][-2:] == own
    assert len(domain.spec.disks) == (2 if cancelled else 3)
    assert api.get(f"/api/v1/vms/{vm.pk}").json()["in_rescue"] is not cancelled
    assert look() == set()


def test_a_rescue_needs_an_image_named_or_set(api: APIClient, vm: Vm, settings: Any) -> None:
    assert refused(api, vm, "rescue") == (400, "missing_value", "image")
    settings.CONFIG.rescue_image = "small"
    try:
        assert do(api, vm, "rescue").status == "done"
    finally:
        settings.CONFIG.rescue_image = ""


def test_what_is_left_of_a_rescue_is_found_and_goes_with_the_next_try(api: APIClient, vm: Vm, node: Node) -> None:
    do(api, vm, "rescue", image="small")
    fake.node(node.pk).fail("seed_delete", refusal("seed_delete"))
    assert do(api, vm, "end-rescue").status == "failed"
    assert AuxiliaryDisk.objects.get().purpose == Purpose.LEFT
    assert {finding.code for finding in look()} == {"volume_left"}
    assert do(api, vm, "end-rescue").status == "done"
    assert look() == set()


def test_a_clone_is_the_owner_s_and_both_vms_are_held_meanwhile(
    api: APIClient, vm: Vm, user: User, node: Node, run_tasks: RunTasks
) -> None:
    do(api, vm, "change-owner", owner="anna")
    do(api, vm, "force-off")
    answer = api.post(f"/api/v1/vms/{vm.pk}/clone", {"name": "web2"})
    clone = Vm.objects.get(pk=answer.json()["vm"])
    for each in (vm, clone):
        assert refused(api, each, "start")[:2] == (409, "busy")
    run_tasks()

    clone.refresh_from_db()
    assert (clone.owner, clone.status, clone.installed) == (user, "running", True)
    assert clone.uuid != vm.uuid
    assert clone.interfaces.get().mac != vm.interfaces.get().mac
    assert {told.hostname for _, told in fake.node(node.pk).seeds.values()} == {"web1", "web2"}
    assert look() == set()


@pytest.mark.parametrize(
    ("verb", "status", "has_agent", "told"),
    [
        (None, "running", True, HELD_STILL),
        (None, "running", False, NOT_HELD_STILL),
        ("pause", "paused", True, NOT_HELD_STILL),
    ],
)
def test_a_vm_that_runs_is_cloned_and_goes_on_as_it_was(
    api: APIClient, vm: Vm, node: Node, run_tasks: RunTasks, verb: str | None, status: str, has_agent: bool, told: str
) -> None:
    fake.node(node.pk).domains[str(vm.uuid)].has_agent = has_agent
    if verb is not None:
        do(api, vm, verb)
    plan = api.post(f"/api/v1/vms/{vm.pk}/clone?plan=1", {"name": "web2"}).json()["steps"]
    changes = {step["name"]: step["changes"] for step in plan}
    assert changes["copy_disks"] == "1 disk of “web1”, as of one moment while it goes on"
    task = do(api, vm, "clone", name="web2")
    vm.refresh_from_db()
    assert (vm.status, fake.node(node.pk).domains[str(vm.uuid)].state) == (status, status)
    assert Vm.objects.get(name="web2").status == "running"
    lines = list(TaskLog.objects.filter(task=task, step="copy_disks").values_list("text", flat=True))
    assert lines == [told]
    assert look() == set()


def test_a_vm_that_runs_must_be_off_where_its_node_is_too_old(api: APIClient, vm: Vm, node: Node) -> None:
    memory = fake.node(node.pk)
    memory.copies_running = False
    # The panel has not heard of it yet: the node says so, and nothing is left.
    before = (Vm.objects.count(), sorted(memory.files))
    error = do(api, vm, "clone", name="web2").error or {}
    assert (error["code"], "Shut the VM down first." in error["message"]) == ("wrong_state", True)
    assert (Vm.objects.count(), sorted(memory.files)) == before
    node.refresh_from_db()
    Node.objects.filter(pk=node.pk).update(facts={**node.facts, "copies_running": False})
    answer = api.post(f"/api/v1/vms/{vm.pk}/clone", {"name": "web2"})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "wrong_state", "id")
    assert "too old" in answer.text
    do(api, vm, "force-off")
    do(api, vm, "clone", name="web2")


def test_a_vm_of_which_nothing_is_known_is_not_cloned(api: APIClient, vm: Vm) -> None:
    Vm.objects.filter(pk=vm.pk).update(status="unknown")
    assert refused(api, vm, "clone", name="web2") == (409, "wrong_state", "id")


def test_a_clone_is_refused_its_source_s_name_and_more_than_the_node_has(api: APIClient, vm: Vm, node: Node) -> None:
    do(api, vm, "force-off")
    assert refused(api, vm, "clone", name="web1") == (409, "already_exists", "name")
    node.pools.update(free_bytes=1)
    assert refused(api, vm, "clone", name="web2")[:2] == (409, "no_capacity")


def test_the_guest_s_page_has_a_form_for_each_and_the_vm_s_page_no_buttons_for_them(
    api: APIClient, client: Client, admin: User, user: User, vm: Vm
) -> None:
    client.force_login(admin)
    forms = ("configure-guest", "rescue", "reinstall", "rename", "clone", "change-owner")
    page = client.get(f"/vms/{vm.pk}/guest", secure=True).content.decode()
    offered = buttons(page)
    assert set(forms) <= set(offered)
    assert not set(forms) & set(buttons(client.get(f"/vms/{vm.pk}", secure=True).content.decode()))
    # It runs: that is no obstacle to a clone, as it is to another name.
    assert (offered["clone"], offered["rename"]) == (False, True)
    assert "Shut the VM down first." in page
    do(api, vm, "rescue", image="small")
    assert "end-rescue" in buttons(client.get(f"/vms/{vm.pk}", secure=True).content.decode())
    assert buttons(client.get(f"/vms/{vm.pk}/guest", secure=True).content.decode())["rescue"]
    client.force_login(user)
    assert client.get(f"/vms/{vm.pk}/guest", secure=True).status_code == 404
