"""Disks, ISO images and interfaces of VMs: what is refused, what is promised, what is freed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from nodeagent.protocol import host
from nodeagent.protocol.host import EMPTY
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import AlreadyExists, InvalidValue, LibvirtFailure, NotFound, OperationFailed
from panel.doctor.services import look
from panel.images.models import Image, Iso
from panel.images.services import register_iso
from panel.network.models import Address, Network
from panel.storage.models import NodePool, Volume
from panel.tasks import engine
from panel.tasks.models import Status, Task, TaskLog, TaskStep
from panel.vms.addresses import ids_of
from panel.vms.devices import SLOTS
from panel.vms.models import Disk, Interface, Vm, VmStatus
from panel.vms.operations.interfaces import MOST_INTERFACES
from tests.db.at_once import ask_at_once
from tests.db.conftest import make_network, run_task
from tests.refs import ref

Ask = Callable[..., dict[str, Any]]
CDROM_STAYS = LibvirtFailure(node="fake1", command="cdrom_change", text="no", libvirt_code=1)


@pytest.fixture
def vm(api: APIClient, node: Node, image: Image, run_tasks: Callable[[], None]) -> Vm:
    """A running VM of the administrator's."""
    answer = api.post("/api/v1/vms", {"name": "web1", "image": "small", "flavor": "small"})
    run_tasks()
    return Vm.objects.get(pk=answer.json()["vm"])


@pytest.fixture
def ask(api: APIClient, vm: Vm, run_tasks: Callable[[], None]) -> Ask:
    """Asks for an operation on the VM and carries it out; answers its task, or the refusal."""

    def ask(verb: str, **raw: Any) -> dict[str, Any]:
        answer = api.post(f"/api/v1/vms/{vm.pk}/{verb}", raw).json()
        if "task" not in answer:
            return dict(answer)
        run_tasks()
        return dict(api.get(f"/api/v1/tasks/{answer['task']['id']}").json())

    return ask


def spec_of(vm: Vm) -> host.DomainSpec:
    """What the node's libvirt was told of the VM last."""
    return fake.node(vm.node_id).domains[str(vm.uuid)].spec


def now_of(vm: Vm) -> host.DomainSpec:
    """What the running guest has."""
    return fake.node(vm.node_id).domains[str(vm.uuid)].now


def other_network(vm: Vm) -> Network:
    """A second network with two addresses."""
    return make_network(vm.cluster, "other", "vmbr1", "10.78.0.0/24", [("10.78.0.10", "10.78.0.11")])


def test_a_new_disk_is_live_and_stays(vm: Vm, ask: Ask) -> None:
    assert ask("add-disk", size_gib=5, bus="scsi", cache="writeback")["result"] == {
        "disk": "sdc",
        "at_next_start": False,
    }
    for spec in (spec_of(vm), now_of(vm)):
        assert [(disk.target, disk.bus, disk.cache) for disk in spec.disks][1:] == [("sdc", "scsi", "writeback")]


def test_a_disk_that_could_not_be_plugged_in_leaves_nothing(vm: Vm, ask: Ask, node: Node) -> None:
    memory = fake.node(node.pk)
    before = (spec_of(vm), now_of(vm), sorted(memory.files))
    memory.fail(
        "disk_attach", LibvirtFailure(node="fake1", command="disk_attach", text="no more slots", libvirt_code=1)
    )
    task = ask("add-disk", size_gib=5)
    assert (task["status"], task["error"]["code"]) == ("failed", "libvirt_failure")
    assert (spec_of(vm), now_of(vm), sorted(memory.files)) == before
    assert (Disk.objects.count(), Volume.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("verb", "raw", "code", "field"),
    [
        ("add-disk", {"size_gib": 401}, "no_capacity", "size_gib"),
        ("add-disk", {"size_gib": 0}, "invalid_value", "size_gib"),
        ("add-disk", {"size_gib": 1, "bus": "ide"}, "invalid_value", "bus"),
        ("add-disk", {"size_gib": 1, "pool": "none"}, "not_found", "pool"),
        ("grow-disk", {"disk": "vda", "size_gib": 1000}, "no_capacity", "size_gib"),
        ("grow-disk", {"disk": "vda", "size_gib": 9}, "invalid_value", "size_gib"),
        ("grow-disk", {"disk": "vdx", "size_gib": 20}, "not_found", "disk"),
        ("remove-disk", {"disk": "vda"}, "invalid_value", "disk"),
        ("change-disk", {"disk": "vda"}, "missing_value", "bus"),
        ("mount-iso", {"iso": "none"}, "not_found", "iso"),
        ("add-interface", {"network": "none"}, "not_found", "network"),
        ("remove-interface", {"interface": "52:54:00:00:00:00"}, "not_found", "interface"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_touched(
    vm: Vm, ask: Ask, node: Node, verb: str, raw: dict[str, Any], code: str, field: str
) -> None:
    calls = len(fake.node(node.pk).calls)
    refused = ask(verb, **raw)
    assert (refused.get("code"), refused.get("field")) == (code, field)
    assert len(fake.node(node.pk).calls) == calls
    assert (Disk.objects.count(), Address.objects.count()) == (1, 1)


def test_a_running_vm_without_a_free_slot_takes_no_more(vm: Vm, ask: Ask, node: Node) -> None:
    for number in range(9):
        volume = Volume.objects.create(pool=vm.pool, node=vm.node, size_gib=1)
        Disk.objects.create(vm=vm, volume=volume, target=f"vd{chr(ord('b') + number)}", position=number + 1)
    for verb, raw in (("add-disk", {"size_gib": 1}), ("add-interface", {})):
        assert ask(verb, **raw)["code"] == "no_capacity"
    # SCSI has a controller of its own, and a VM that is off gets as many slots as it needs.
    assert ask("add-disk", size_gib=1, bus="scsi")["status"] == "done"
    ask("force-off")
    assert ask("add-disk", size_gib=1)["status"] == "done"


def test_room_is_that_of_the_vm_s_own_node(vm: Vm, ask: Ask) -> None:
    NodePool.objects.filter(node=vm.node).update(free_bytes=3 * 1024**3)
    refused = ask("add-disk", size_gib=4)
    assert refused["candidates"] == {"fake1": "3072 MiB of storage free, 4096 MiB needed"}
    assert ask("add-disk", size_gib=3)["status"] == "done"


def test_a_disk_on_sata_leaves_only_when_the_vm_is_off(vm: Vm, ask: Ask) -> None:
    assert ask("add-disk", size_gib=1, bus="sata")["result"]["at_next_start"]
    assert ask("remove-disk", disk="sdc")["code"] == "wrong_state"
    ask("force-off")
    assert ask("remove-disk", disk="sdc")["status"] == "done"
    assert (Disk.objects.count(), Volume.objects.count()) == (1, 1)


def test_the_first_disk_is_started_from_whatever_the_others_are_called(vm: Vm, ask: Ask) -> None:
    ask("add-disk", size_gib=1, bus="scsi")
    assert [disk.target for disk in spec_of(vm).disks] == ["vda", "sdc"]
    ask("change-disk", disk="vda", bus="scsi")
    assert [disk.target for disk in spec_of(vm).disks] == ["sdd", "sdc"]
    assert ask("remove-disk", disk="sdd")["code"] == "invalid_value"


def test_a_missing_vm_has_no_devices_to_change(vm: Vm, ask: Ask) -> None:
    Vm.objects.update(status=VmStatus.MISSING)
    for verb, raw in (("add-disk", {"size_gib": 1}), ("add-interface", {}), ("eject-iso", {})):
        assert ask(verb, **raw)["code"] == "wrong_state"


def test_customers_change_their_devices_but_not_what_limits_and_filters_them(
    api_as_user: APIClient, user: User, vm: Vm
) -> None:
    Vm.objects.update(owner=user)
    mac = vm.interfaces.get().mac
    path = f"/api/v1/vms/{vm.pk}"
    for raw in ({"guarded": False}, {"outbound_kibps": 0}, {"mac": "52:54:00:00:00:09"}):
        refused = api_as_user.post(f"{path}/change-interface", {"interface": mac, **raw}).json()
        assert refused["code"] == "access_denied"
    assert api_as_user.post(f"{path}/change-disk", {"disk": "vda", "read_iops_sec": 0}).status_code == 403
    assert api_as_user.post(f"{path}/change-disk", {"disk": "vda", "cache": "writeback"}).status_code == 202


@pytest.fixture
def rescue_iso(image: Image) -> Iso:
    """An ISO image for all."""
    return Iso.objects.create(
        name="rescue", title="Rescue", file_name=image.file_name, sha256=image.sha256, size_bytes=image.size_bytes
    )


def test_a_mounted_iso_lies_in_the_drive_until_it_is_ejected(vm: Vm, ask: Ask, rescue_iso: Iso) -> None:
    path = ref(f"{vm.pool.where}/images/{rescue_iso.sha256}.img")
    assert ask("mount-iso", iso="rescue", boot=True)["result"] == {"at_next_start": False}
    assert (spec_of(vm).iso, spec_of(vm).boot_iso, now_of(vm).iso) == (path, True, path)
    assert ask("eject-iso")["status"] == "done"
    assert (spec_of(vm).iso, spec_of(vm).boot_iso, now_of(vm).iso) == (EMPTY, False, EMPTY)


def test_a_start_from_an_iso_once_waits_for_the_panel_s_next_start_and_is_over_with_it(
    vm: Vm, ask: Ask, api: APIClient, rescue_iso: Iso
) -> None:
    def shown() -> tuple[bool, bool]:
        told = api.get(f"/api/v1/vms/{vm.pk}").json()
        return told["boot_iso"], told["boot_iso_once"]

    refused = ask("mount-iso", iso="rescue", boot=True, boot_once=True)
    assert (refused["code"], refused["field"]) == ("invalid_value", "boot_once")
    ask("mount-iso", iso="rescue", boot_once=True)
    assert shown() == (False, True) and not spec_of(vm).boot_iso and not now_of(vm).boot_iso
    # That it runs already is no start; what others start is as its description says.
    ask("start")
    domain = fake.node(vm.node_id).domains[str(vm.uuid)]
    for request in (host.HostStop(uuid=str(vm.uuid)), host.HostStart(uuid=str(vm.uuid))):
        fake.node(vm.node_id).call(request)
    assert shown() == (False, True) and not now_of(vm).boot_iso
    assert ask("restart")["status"] == "done"
    assert shown() == (False, False) and now_of(vm).boot_iso and not domain.spec.boot_iso
    ask("restart")
    assert not now_of(vm).boot_iso and now_of(vm).iso


def test_a_start_that_was_from_the_iso_is_known_when_its_worker_is_lost_before_it_says_so(
    vm: Vm, ask: Ask, rescue_iso: Iso
) -> None:
    ask("mount-iso", iso="rescue", boot_once=True)
    ask("force-off")
    # What the lost worker's node did.
    fake.node(vm.node_id).call(host.HostStart(uuid=str(vm.uuid), from_iso=True))
    ask("start")
    vm.refresh_from_db()
    assert not vm.boot_iso_once and now_of(vm).boot_iso


def test_ejecting_and_mounting_again_forget_the_start_from_an_iso(vm: Vm, ask: Ask, rescue_iso: Iso) -> None:
    for verb, values in (("eject-iso", {}), ("mount-iso", {"iso": "rescue"})):
        ask("mount-iso", iso="rescue", boot_once=True)
        ask(verb, **values)
        vm.refresh_from_db()
        assert not vm.boot_iso_once
        ask("restart")
        assert not now_of(vm).boot_iso


def test_a_mount_that_fails_leaves_the_start_as_it_was(vm: Vm, ask: Ask, rescue_iso: Iso) -> None:
    ask("mount-iso", iso="rescue", boot_once=True)
    fake.node(vm.node_id).fail(
        "cdrom_change", LibvirtFailure(node="fake1", command="cdrom_change", text="no", libvirt_code=1)
    )
    assert ask("mount-iso", iso="rescue")["status"] == "failed"
    vm.refresh_from_db()
    assert vm.boot_iso_once


def test_a_plan_tells_what_the_next_start_is_from(vm: Vm, ask: Ask, api: APIClient, rescue_iso: Iso) -> None:
    def planned(verb: str, **raw: Any) -> str:
        plan = api.post(f"/api/v1/vms/{vm.pk}/{verb}?plan=1", raw).json()
        return str(plan["steps"][-1]["changes"])

    assert planned("mount-iso", iso="rescue", boot_once=True).startswith("the next start is from it")
    assert planned("restart") == "from what its settings say"
    ask("mount-iso", iso="rescue", boot_once=True)
    assert planned("restart") == "from “rescue”, this once"


def test_an_iso_is_registered_by_its_file() -> None:
    folder = Path(settings.CONFIG.images_dir)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "installer.iso"
    file.write_bytes(b"one")
    iso = register_iso(file, title="Installer")
    assert (iso.name, iso.title, iso.size_bytes, iso.path) == ("installer", "Installer", 3, file)
    file.write_bytes(b"other")
    assert register_iso(file).sha256 != iso.sha256
    with pytest.raises(NotFound):
        register_iso(folder / "absent.iso")
    with pytest.raises(InvalidValue):
        register_iso(Path("/etc/hostname"), name="hostname")
    with pytest.raises(InvalidValue):
        register_iso(file, name="../x")


def test_an_iso_in_a_drive_is_not_replaced(vm: Vm) -> None:
    file = Path(settings.CONFIG.images_dir) / "used.iso"
    file.write_bytes(b"one")
    Vm.objects.update(iso=register_iso(file))
    register_iso(file)
    file.write_bytes(b"other")
    with pytest.raises(AlreadyExists):
        register_iso(file)


def test_an_address_is_held_exactly_as_long_as_its_interface(vm: Vm, ask: Ask) -> None:
    added = ask("add-interface")["result"]
    assert Address.objects.filter(ip=added["address"]).exists()
    assert [each.addresses for each in spec_of(vm).interfaces][1] == [added["address"]]
    assert all(each.guarded for each in spec_of(vm).interfaces)
    ask("remove-interface", interface=added["interface"])
    assert not Address.objects.filter(ip=added["address"]).exists()
    assert len(now_of(vm).interfaces) == len(spec_of(vm).interfaces) == 1


class Fails(engine.Observer):
    """Each step fails once it was carried out."""

    def ran(self, task: Task, step: TaskStep) -> None:
        """After its function."""
        raise OperationFailed("It was meant to fail.", step=step.name)


def test_a_growth_that_fails_late_leaves_the_disk_as_large_as_its_record_says(api: APIClient, vm: Vm) -> None:
    answer = api.post(f"/api/v1/vms/{vm.pk}/grow-disk", {"disk": "vda", "size_gib": 20}).json()
    assert run_task(Task.objects.get(pk=answer["task"]["id"]), Fails()).status == "failed"
    assert vm.disks.get().volume.size_gib == 20
    assert not look()


def test_a_guest_that_keeps_its_interface_keeps_its_address(vm: Vm, ask: Ask, node: Node) -> None:
    added = ask("add-interface")["result"]
    refusal = LibvirtFailure(node="fake1", command="interface_detach", text="the guest does not let go", libvirt_code=1)
    fake.node(node.pk).fail("interface_detach", refusal)
    assert ask("remove-interface", interface=added["interface"])["status"] == "failed"
    assert Interface.objects.get(mac=added["interface"]).attached
    assert Address.objects.filter(ip=added["address"]).exists()
    assert len(spec_of(vm).interfaces) == 2


def test_another_network_means_another_address_and_the_old_one_is_free(vm: Vm, ask: Ask) -> None:
    other_network(vm)
    before = vm.interfaces.get()
    result = ask("change-interface", interface=before.mac, network="other")["result"]
    assert result["address"] == "10.78.0.10"
    # The seed tells it to the guest at its next start alone.
    assert "10.78.0.10 on the interface" in TaskLog.objects.get(text__contains="shut down and started").text
    assert list(Address.objects.values_list("ip", flat=True)) == ["10.78.0.10"]
    for spec in (spec_of(vm), now_of(vm)):
        assert [(each.bridge, each.addresses) for each in spec.interfaces] == [("vmbr1", ["10.78.0.10"])]


def test_a_change_that_fails_frees_the_new_address_and_keeps_the_old(vm: Vm, ask: Ask, node: Node) -> None:
    other_network(vm)
    before = vm.interfaces.get()
    refusal = LibvirtFailure(node="fake1", command="interface_change", text="no bridge", libvirt_code=1)
    fake.node(node.pk).fail("interface_change", refusal)
    assert ask("change-interface", interface=before.mac, network="other")["status"] == "failed"
    assert list(Address.objects.values_list("pk", flat=True)) == ids_of(before)
    assert spec_of(vm).interfaces[0].bridge == now_of(vm).interfaces[0].bridge == "vmbr-nat0"


def test_a_mac_address_is_one_interface_s(vm: Vm, ask: Ask) -> None:
    added, first = ask("add-interface")["result"], vm.interfaces.get(position=0).mac
    refused = ask("change-interface", interface=added["interface"], mac=first.upper())
    assert (refused["code"], refused["field"]) == ("already_exists", "mac")
    assert ask("change-interface", interface=first, mac="01:00:5e:00:00:01")["field"] == "mac"
    assert ask("change-interface", interface=first, mac="52:54:00:AA:BB:CC")["status"] == "done"
    assert [each.mac for each in now_of(vm).interfaces if each.addresses != [added["address"]]] == ["52:54:00:aa:bb:cc"]


def test_deleting_a_vm_deletes_all_its_disks_and_frees_all_its_addresses(vm: Vm, ask: Ask, node: Node) -> None:
    ask("add-disk", size_gib=1)
    ask("add-interface")
    ask("delete")
    assert (Disk.objects.count(), Volume.objects.count(), Address.objects.count()) == (0, 0, 0)
    assert [path for path in fake.node(node.pk).files if "/volumes/" in path] == []


def make_iso(name: str, owner: User | None, image: Image) -> Iso:
    """An ISO image whose file is there."""
    shared = name if owner is None else None
    return Iso.objects.create(
        owner=owner, name=name, shared_name=shared, title=name, file_name=image.file_name, sha256=image.sha256,
        size_bytes=image.size_bytes,
    )  # fmt: skip


def test_the_owner_s_iso_images_count_whoever_mounts_one(vm: Vm, ask: Ask, image: Image, user: User) -> None:
    make_iso("rescue", None, image)
    theirs = make_iso("rescue", user, image)
    make_iso("other", User.objects.create(name="berta"), image)
    Vm.objects.update(owner=user)
    assert ask("mount-iso", iso="other")["code"] == "not_found"
    assert ask("mount-iso", iso="rescue")["status"] == "done"
    assert Vm.objects.get().iso == theirs


def test_an_iso_in_a_drive_is_not_deleted(api: APIClient, vm: Vm, ask: Ask, image: Image) -> None:
    iso = make_iso("rescue", None, image)
    ask("mount-iso", iso="rescue")
    refused = api.delete(f"/api/v1/isos/{iso.pk}")
    assert (refused.status_code, refused.json()["code"], refused.json()["state"]) == (409, "wrong_state", "mounted")
    ask("eject-iso")
    assert api.delete(f"/api/v1/isos/{iso.pk}").status_code == 204


def test_an_iso_that_was_deleted_before_it_was_mounted_leaves_the_drive_as_it_was(
    api: APIClient, vm: Vm, image: Image, run_tasks: Callable[[], None]
) -> None:
    iso = make_iso("rescue", None, image)
    asked = api.post(f"/api/v1/vms/{vm.pk}/mount-iso", {"iso": "rescue"}).json()
    assert api.delete(f"/api/v1/isos/{iso.pk}").status_code == 204
    run_tasks()
    assert api.get(f"/api/v1/tasks/{asked['task']['id']}").json()["status"] == "failed"
    assert Vm.objects.get().iso is None and spec_of(vm).iso == EMPTY


def test_what_lay_in_the_drive_and_was_deleted_does_not_hold_up_the_undo(
    api: APIClient, vm: Vm, ask: Ask, image: Image
) -> None:
    first, second = (make_iso(name, None, image) for name in ("first", "second"))
    ask("mount-iso", iso=first.name)

    class Deletes(engine.Observer):
        def stored(self, task: Task, step: TaskStep) -> None:
            if step.name == "remember_drive" and not task.undoing:
                Vm.objects.update(iso=None)
                first.delete()

    asked = _ask(api, vm, "mount-iso", iso=second.name)
    fake.node(vm.node_id).fail("cdrom_change", CDROM_STAYS)
    assert run_task(asked, Deletes()).status == Status.FAILED
    assert Vm.objects.get().iso is None


def test_an_iso_that_waited_for_another_gives_the_drive_back_to_it(api: APIClient, vm: Vm, image: Image) -> None:
    first, second = (make_iso(name, None, image) for name in ("first", "second"))
    tasks = [_ask(api, vm, "mount-iso", iso=iso.name) for iso in (first, second)]
    assert run_task(tasks[0]).status == Status.DONE
    fake.node(vm.node_id).fail("cdrom_change", CDROM_STAYS)
    assert run_task(tasks[1]).status == Status.FAILED
    found = Vm.objects.select_related("pool", "iso").get()
    assert (found.iso, spec_of(vm).iso) == (first, found.iso_ref)


def test_a_vm_is_not_given_away_with_its_owner_s_iso_in_the_drive(vm: Vm, ask: Ask, image: Image, user: User) -> None:
    make_iso("own", vm.owner, image)
    ask("mount-iso", iso="own")
    assert ask("change-owner", owner=user.name)["state"] == "with an ISO image of its owner's"
    ask("eject-iso")
    assert ask("change-owner", owner=user.name)["status"] == "done"


def test_the_name_that_a_disk_gets_with_its_bus_is_promised_to_it(api: APIClient, vm: Vm, ask: Ask) -> None:
    ask("force-off")
    change = api.post(f"/api/v1/vms/{vm.pk}/change-disk", {"disk": "vda", "bus": "scsi"}).json()
    added = [
        api.post(f"/api/v1/vms/{vm.pk}/add-disk?queue=1", {"size_gib": 1, "bus": bus}).json()["task"]
        for bus in ("scsi", "virtio")
    ]
    for each in (change["task"], *added):
        assert run_task(Task.objects.get(pk=each["id"])).status == Status.DONE
    # Until the change is done it may have to be undone.
    assert [disk.target for disk in spec_of(vm).disks] == ["sdc", "sdd", "vdb"]


def test_of_two_who_add_a_disk_at_once_one_is_told_of_the_other(
    admin: User, vm: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ask_at_once(monkeypatch, admin, "vm.add-disk", [vm.pk] * 2, {"size_gib": 1})
    assert sorted(each.code if each else "taken" for each in answers) == ["busy", "taken"]


@pytest.mark.parametrize(("name", "raw"), [("vm.add-interface", {}), ("vm.add-disk", {"size_gib": 1})])
def test_of_two_who_ask_for_the_last_slot_at_once_one_has_it(
    admin: User, vm: Vm, ask: Ask, monkeypatch: pytest.MonkeyPatch, name: str, raw: dict[str, Any]
) -> None:
    """Also where both are content to wait, so that neither is told to be busy."""
    for _ in range(6):
        assert ask("add-interface")["status"] == "done"
    for _ in range(SLOTS - 1 - 6 - 2):
        assert ask("add-disk", size_gib=1)["status"] == "done"
    answers = ask_at_once(monkeypatch, admin, name, [vm.pk] * 2, raw, queue=True)
    assert sorted(each.code if each else "taken" for each in answers) == ["no_capacity", "taken"]
    assert vm.interfaces.count() + vm.disks.count() == SLOTS


def test_of_two_who_ask_for_the_last_interface_of_a_vm_that_is_off_one_has_it(
    admin: User, vm: Vm, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("force-off")
    for _ in range(MOST_INTERFACES - 2):
        assert ask("add-interface")["status"] == "done"
    answers = ask_at_once(monkeypatch, admin, "vm.add-interface", [vm.pk] * 2, {}, queue=True)
    assert sorted(each.code if each else "taken" for each in answers) == ["no_capacity", "taken"]
    assert vm.interfaces.count() == MOST_INTERFACES


def test_a_second_change_of_the_same_device_is_told_of_the_first(api: APIClient, vm: Vm) -> None:
    """It would go back to what was before both, and free an address that is in use or forgotten."""
    mac = vm.interfaces.get().mac
    assert run_task(_ask(api, vm, "add-disk", size_gib=1)).status == Status.DONE
    disk = _ask(api, vm, "change-disk", disk="vda", cache="writeback")
    interface = _ask(api, vm, "change-interface", interface=mac, guarded=False)
    for verb, raw, first in (
        ("change-disk", {"disk": "vda", "bus": "scsi"}, disk),
        ("change-interface", {"interface": mac, "guarded": True}, interface),
    ):
        answer = api.post(f"/api/v1/vms/{vm.pk}/{verb}?queue=1", raw)
        assert (answer.status_code, answer.json()["code"], answer.json()["task"]) == (409, "busy", first.pk)
    other = _ask(api, vm, "change-disk", disk="vdb", cache="writeback")
    assert [run_task(task).status for task in (disk, interface, other)] == [Status.DONE] * 3
    assert run_task(_ask(api, vm, "change-disk", disk="vda", cache="none")).status == Status.DONE


def _ask(api: APIClient, vm: Vm, verb: str, **raw: Any) -> Task:
    """Ask for it, behind whatever holds the VM."""
    return Task.objects.get(pk=api.post(f"/api/v1/vms/{vm.pk}/{verb}?queue=1", raw).json()["task"]["id"])
