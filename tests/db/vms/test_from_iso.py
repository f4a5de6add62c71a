"""VMs that are made with an installer in their drive, and certain addresses of new VMs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from nodeagent.protocol import host
from nodeagent.protocol.host import EMPTY
from nodeagent.storage import place
from nodeagent.xml.describe import domain_of
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import AlreadyExists, OperationFailed
from panel.doctor.services import look
from panel.images.models import Image, Iso
from panel.images.services import ensure_flavors
from panel.monitoring import services
from panel.network.models import Address, Network
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Installation, InstallStage, Vm
from panel.vms.selectors import get_vm
from tests.db.conftest import make_network, run_task
from tests.db.monitoring.messages import event
from tests.db.tasks.scenarios import ask_install
from tests.db.tasks.strikes import Died, Strike, die_and_go_on
from tests.db.tasks.world import world
from tests.db.vms.test_devices import make_iso
from tests.refs import ref
from vmwatch import wire

ORDER = {"name": "web1", "iso": "installer", "flavor": "tiny"}


@pytest.fixture
def iso(node: Node, image: Image) -> Iso:
    """An ISO image of all, and a node that takes VMs."""
    ensure_flavors()
    return make_iso("installer", None, image)


def spec_of(vm: Vm) -> host.DomainSpec:
    """What the node's libvirt was told of the VM last."""
    return fake.node(vm.node_id).domains[str(vm.uuid)].spec


def make(by: User, **raw: Any) -> Vm:
    """A VM that runs an installer."""
    task = run_task(registry.get("vm.create").submit(by, {**ORDER, **raw}))
    assert task.status == Status.DONE, task.error
    return get_vm(by, int(task.object_id or 0))


def test_a_vm_starts_from_the_iso_with_an_empty_disk_and_is_being_installed(user: User, iso: Iso, node: Node) -> None:
    vm = make(user)
    spec, files = spec_of(vm), fake.node(node.pk).files
    assert (spec.iso, spec.boot_iso, spec.cdroms) == (ref(f"{vm.pool.where}/images/{iso.sha256}.img"), True, [])
    assert spec.iso and place(spec.iso) in files and files[place(spec.disks[0].volume)].virtual_bytes == 1024**3
    assert (vm.status, vm.installed, vm.installing, vm.image) == ("running", True, True, None)
    assert "<on_reboot>destroy</on_reboot>" in domain_of(spec).to_xml()


def test_an_installer_that_is_done_is_ejected_and_the_disk_started(
    user: User, iso: Iso, node: Node, run_tasks: Callable[[], None]
) -> None:
    vm = make(user)
    fake.node(node.pk).domains[str(vm.uuid)].state = "shut off"
    services.take_messages([event(vm, wire.SHUT_OFF, 1, detail="stopped:shutdown")])
    run_tasks()
    vm, spec = get_vm(user, vm.pk), spec_of(vm)
    assert (vm.iso, vm.boot_iso, vm.installing, vm.status) == (None, False, False, "running")
    assert (spec.iso, spec.boot_iso, spec.ends_at_reboot) == (EMPTY, False, False)
    assert Installation.objects.get().stage == InstallStage.DONE


def test_a_guest_that_was_asked_to_stop_is_not_taken_for_installed(
    user: User, iso: Iso, node: Node, run_tasks: Callable[[], None]
) -> None:
    vm = make(user)
    run_task(registry.get("vm.stop").submit(user, {}, object_id=vm.pk))
    services.take_messages([event(vm, wire.SHUT_OFF, 1, detail="stopped:shutdown")])
    run_tasks()
    vm = get_vm(user, vm.pk)
    assert vm.installing and vm.boot_iso and vm.status == "shut off"


@pytest.mark.parametrize(
    ("name", "raw"), [("vm.suspend", {}), ("vm.rescue", {"image": "small", "password": "a secret"})]
)
def test_an_installer_that_the_panel_shuts_down_for_another_reason_has_not_come_to_its_end(
    admin: User, iso: Iso, name: str, raw: dict[str, Any]
) -> None:
    vm = make(admin)
    task = registry.get(name).submit(admin, raw, object_id=vm.pk)
    services.take_messages([event(vm, wire.SHUT_OFF, 1, detail="stopped:shutdown")])
    assert Installation.objects.get().stage == InstallStage.INSTALLING
    run_task(task)


def test_a_reinstallation_waits_for_the_end_of_the_first(api_as_user: APIClient, user: User, iso: Iso) -> None:
    vm = make(user)
    refused = api_as_user.post(f"/api/v1/vms/{vm.pk}/reinstall", {"image": "small"})
    assert (refused.status_code, refused.json()["state"]) == (409, "being installed")


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        ({"iso": "none"}, "not_found", "iso"),
        ({"iso": "bertas"}, "not_found", "iso"),
        ({"image": "small"}, "invalid_value", "iso"),
        ({"iso": None}, "missing_value", "image"),
        ({"password": "correct horse"}, "invalid_value", "password"),
        ({"ssh_keys": ["ssh-ed25519 AAAA"]}, "invalid_value", "ssh_keys"),
        ({"address": "10.77.0.1"}, "invalid_value", "address"),
        ({"address": "10.78.0.99"}, "invalid_value", "address"),
        ({"address": "fe80::1"}, "invalid_value", "address"),
        ({"address": "ten"}, "invalid_value", "address"),
        ({"address": "10.77.0.20"}, "already_exists", "address"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_touched(
    api_as_user: APIClient, user: User, iso: Iso, image: Image, raw: dict[str, Any], code: str, field: str
) -> None:
    make_iso("bertas", User.objects.create(name="berta"), image)
    Address.objects.create(network=Network.objects.get(), ip="10.77.0.20")
    for path in ("/api/v1/vms?plan=1", "/api/v1/vms"):
        told = api_as_user.post(path, {**ORDER, **raw}).json()
        assert (told["code"], told["field"]) == (code, field)
    assert not Vm.objects.exists() and not Task.objects.exists() and Address.objects.count() == 1


def test_a_plan_says_what_an_installer_changes(api_as_user: APIClient, iso: Iso) -> None:
    steps = {each["name"]: each["changes"] for each in api_as_user.post("/api/v1/vms?plan=1", ORDER).json()["steps"]}
    assert steps["place_image"] == "ISO image “installer”, if the node has no copy"
    assert steps["copy_image"].endswith(", empty")
    assert steps["wait_for_guest"] == "nothing: the installer is left to itself"


def test_an_owner_s_own_iso_is_installed_whoever_asks(admin: User, user: User, iso: Iso, image: Image) -> None:
    own = make_iso("installer", user, image)
    assert make(admin, owner=user.name).iso == own
    assert make(admin, name="web2").iso == iso


def test_a_vm_gets_the_address_that_was_asked_for_and_its_network(user: User, iso: Iso, node: Node) -> None:
    other = make_network(node.cluster, "other", "vmbr1", "10.78.0.0/24", [("10.78.0.10", "10.78.0.11")])
    vm = make(user, address="10.78.0.11")
    assert [(each.network, each.ip) for each in vm.interfaces.all()] == [(other, "10.78.0.11")]


def test_an_address_is_given_to_one_of_two_who_ask_for_it(user: User, iso: Iso) -> None:
    registry.get("vm.create").submit(user, {**ORDER, "address": "10.77.0.30"})
    with pytest.raises(AlreadyExists):
        registry.get("vm.create").submit(user, {**ORDER, "name": "web2", "address": "10.77.0.30"})
    assert Vm.objects.count() == Address.objects.count() == 1


STEPS = [step.name for step in registry.get("vm.create").steps if not step.inline]


@pytest.mark.parametrize("step", STEPS)
def test_a_failing_step_leaves_nothing_behind(admin: User, node: Node, image: Image, step: str) -> None:
    before = world()
    ended = run_task(ask_install(admin), Strike(step, "ran", OperationFailed("It was meant to fail.", step=step)))
    assert ended.status == Status.FAILED
    assert world() == before and not Installation.objects.exists() and not Vm.objects.exists()


@pytest.mark.parametrize("moment", ["ran", "stored"])
@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_dies_is_made_up_for(admin: User, node: Node, image: Image, step: str, moment: str) -> None:
    ended = die_and_go_on(ask_install(admin), Strike(step, moment, Died()))
    assert ended.status == Status.DONE, ended.error
    assert Installation.objects.get().stage == InstallStage.INSTALLING and not list(look())
