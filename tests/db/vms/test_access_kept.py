"""A new system lets in whom the old one did, unless others are asked for; and a guest is told of its network anew."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from nodeagent.protocol.identity import GuestIdentity
from nodeagent.storage import place
from panel.accounts.models import SshKey, User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.images.models import Customization, Image
from panel.network.models import Network
from panel.tasks.models import Task, TaskLog, TaskStep
from panel.vms.models import Vm
from tests.db.conftest import make_network, run_task
from tests.db.vms.test_guests import do, refused

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKept me"


def make(api: APIClient, **access: Any) -> Vm:
    """A running VM of the administrator's."""
    answer = api.post("/api/v1/vms", {"name": "web1", "image": "small", "flavor": "small", **access}).json()
    assert run_task(Task.objects.get(pk=answer["task"]["id"])).status == "done"
    return Vm.objects.get(pk=answer["vm"])


@pytest.fixture
def vm(api: APIClient, node: Node, image: Image) -> Vm:
    """One with a password and a key."""
    return make(api, password="correct horse", ssh_keys=[KEY])


def told(vm: Vm) -> GuestIdentity:
    """What the VM's seed says."""
    vm.refresh_from_db()
    return fake.node(vm.node_id).seeds[place(vm.seed_ref)][1]


def said(vm: Vm) -> str:
    """All that tasks have logged."""
    return "\n".join(TaskLog.objects.filter(task__object_id=vm.pk).values_list("text", flat=True))


def test_a_reinstallation_keeps_password_and_keys_where_none_are_asked_for(api: APIClient, vm: Vm) -> None:
    before = told(vm)
    assert before.password_hash and before.ssh_keys == [KEY]
    assert do(api, vm, "reinstall").status == "done"
    assert (told(vm).password_hash, told(vm).ssh_keys) == (before.password_hash, [KEY])
    assert do(api, vm, "reinstall", password="another horse").status == "done"
    changed = told(vm)
    assert changed.password_hash not in ("", before.password_hash) and changed.ssh_keys == [KEY]
    assert do(api, vm, "reinstall", ssh_keys=[f"{KEY}2"]).status == "done"
    assert (told(vm).password_hash, told(vm).ssh_keys) == (changed.password_hash, [f"{KEY}2"])
    rows = [*Task.objects.values_list("params", "result"), *TaskStep.objects.values_list("output")]
    assert changed.password_hash not in str(rows) and before.password_hash not in str(rows) + said(vm)


def test_a_rescue_system_lets_in_whom_the_vm_does(api: APIClient, vm: Vm) -> None:
    assert do(api, vm, "rescue", image="small").status == "done"
    auxiliary_disk = vm.auxiliary_disks.get()
    rescue = fake.node(vm.node_id).seeds[place(auxiliary_disk.seed_ref)][1]
    assert (rescue.password_hash, rescue.ssh_keys) == (told(vm).password_hash, [KEY])


def test_a_new_system_that_nobody_could_enter_is_refused_and_the_vm_stays_as_it_is(
    api: APIClient, node: Node, image: Image, admin: User
) -> None:
    vm = make(api)
    before = (told(vm), vm.disks.get().volume_id)
    task = do(api, vm, "reinstall")
    assert task.status == "failed" and "nobody could enter" in (task.error or {})["message"]
    assert (told(vm), vm.disks.get().volume_id) == before
    Image.objects.update(customization=Customization.VIRT_CUSTOMIZE)
    other = Image.objects.get()
    other.pk, other.name, other.customization = None, "other", Customization.CLOUD_INIT
    other.save()
    assert refused(api, vm, "reinstall", image="other") == (400, "missing_value", "password")
    SshKey.objects.create(user=admin, name="mine", public_key=KEY)
    assert do(api, vm, "reinstall", image="other").status == "done"


def test_what_a_former_owner_knows_lets_nobody_into_a_new_system(api: APIClient, vm: Vm, user: User) -> None:
    assert do(api, vm, "change-owner", owner="anna").status == "done"
    assert refused(api, vm, "reinstall") == (400, "missing_value", "password")
    assert do(api, vm, "reinstall", ssh_keys=[f"{KEY}2"]).status == "done"
    assert (told(vm).password_hash, told(vm).ssh_keys) == ("", [f"{KEY}2"])
    assert do(api, vm, "reinstall").status == "done"
    assert told(vm).ssh_keys == [f"{KEY}2"]


def network_told(vm: Vm) -> tuple[str, str, str]:
    """MAC, address and gateway of the VM's seed."""
    seed = told(vm)
    return seed.mac, seed.address, seed.gateway


def first(vm: Vm) -> tuple[str, str, str]:
    """The same of its first interface."""
    interface = vm.interfaces.select_related("network").order_by("position")[0]
    return interface.mac, interface.ip, interface.network.gateway


@pytest.fixture
def other_network(node: Node) -> Network:
    """Another network with free addresses."""
    return make_network(node.cluster, "other", "vmbr-b", "10.9.0.0/24", [("10.9.0.10", "10.9.0.20")])


def test_whatever_changes_its_network_is_told_to_the_guest(api: APIClient, vm: Vm, other_network: Network) -> None:
    before = told(vm)
    [interface] = vm.interfaces.all()
    changes: list[dict[str, Any]] = [
        {"mac": "52:54:00:11:22:33"},
        {"network": "other"},
        {"mac": "52:54:00:11:22:44", "network": "nat"},
    ]
    for change in changes:
        if "network" in change and change["network"] == "nat":
            change["network"] = Network.objects.exclude(pk=other_network.pk).get().name
        task = do(api, vm, "change-interface", interface=interface.mac, **change)
        assert task.status == "done", task.error
        interface.refresh_from_db()
        assert network_told(vm) == first(vm)
    assert "when it is shut down and started" in said(vm)
    do(api, vm, "remove-interface", interface=interface.mac)
    assert do(api, vm, "add-interface").status == "done"
    assert network_told(vm) == first(vm)
    do(api, vm, "add-interface", network="other")
    assert network_told(vm) == first(vm)
    # Of its others it is told as well.
    macs = list(vm.interfaces.order_by("position").values_list("mac", flat=True))
    assert [each.mac for each in told(vm).every_interface()] == macs
    assert [each.address for each in told(vm).interfaces[0].addresses] == ["10.9.0.10"]
    do(api, vm, "remove-interface", interface=first(vm)[0])
    assert network_told(vm) == first(vm) and told(vm).interfaces == []
    do(api, vm, "add-interface")
    do(api, vm, "remove-interface", interface=vm.interfaces.order_by("position")[1].mac)
    assert network_told(vm) == first(vm) and told(vm).interfaces == []
    after = told(vm)
    assert (after.password_hash, after.ssh_keys, after.hostname) == (
        before.password_hash,
        before.ssh_keys,
        before.hostname,
    )


def test_a_change_that_is_undone_leaves_the_seed_as_it_was(api: APIClient, vm: Vm) -> None:
    before = network_told(vm)
    from panel.core.errors import CommandFailed

    refusal = CommandFailed(node="fake1", command="seed_change", agent_code="internal", text="no")
    fake.node(vm.node_id).fail("seed_change", refusal)
    task = do(api, vm, "change-interface", interface=before[0], mac="52:54:00:11:22:33")
    assert task.status == "failed"
    assert network_told(vm) == first(vm) == before


def test_a_guest_without_cloud_init_is_told_in_its_disk_or_its_user_what_it_needs(api: APIClient, vm: Vm) -> None:
    Image.objects.update(customization=Customization.VIRT_CUSTOMIZE)
    do(api, vm, "change-interface", interface=first(vm)[0], mac="52:54:00:11:22:33")
    mac, address, gateway = first(vm)
    assert f"must be told by hand: interface {mac}, address {address}/24, gateway {gateway}" in said(vm)
    do(api, vm, "force-off")
    memory = fake.node(vm.node_id)
    memory.calls.clear()
    do(api, vm, "change-interface", interface=mac, mac="52:54:00:11:22:44")
    (change,) = [each.change.network for each in memory.calls if each.COMMAND == "volume_reconfigure"]  # type: ignore[attr-defined]
    assert change is not None and change.mac == "52:54:00:11:22:44"
    Image.objects.all().delete()
    do(api, vm, "change-interface", interface="52:54:00:11:22:44", mac="52:54:00:11:22:55")
    assert "interface 52:54:00:11:22:55" in said(vm)


def test_a_stale_seed_is_mended_by_the_next_change_of_the_guest(api: APIClient, vm: Vm) -> None:
    vm.interfaces.update(mac="52:54:00:11:22:33")
    do(api, vm, "configure-guest", hostname="inside")
    assert network_told(vm) == first(vm)
