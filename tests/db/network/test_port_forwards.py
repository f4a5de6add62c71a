"""Ports of nodes that lead to VMs: who gets which, what nodes are told, and what stays when a VM moves or goes."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from rest_framework.test import APIClient

from nodeagent.protocol.host import Forward
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.core.errors import PanelError
from panel.images.models import Image
from panel.network.models import Network
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import PortForward, Vm
from tests.db.conftest import make_node, run_task

pytestmark = pytest.mark.django_db(transaction=True)


def ask(viewer: User, operation: str, vm: Vm, **raw: Any) -> Task:
    """The ended task of an operation on the VM."""
    return run_task(registry.get(operation).submit(viewer, raw, object_id=vm.pk))


def forward(viewer: User, vm: Vm, **raw: Any) -> int:
    """The port that leads to it from now on."""
    task = ask(viewer, "vm.add-port-forward", vm, **raw)
    assert task.status == Status.DONE, task.error
    return int(task.result["port"])


def refused(viewer: User, vm: Vm, operation: str = "vm.add-port-forward", **raw: Any) -> tuple[str, str | None]:
    """The code and the field of the refusal."""
    with pytest.raises(PanelError) as caught:
        registry.get(operation).submit(viewer, raw, object_id=vm.pk)
    return caught.value.code, caught.value.field


def vm_of(owner: User, name: str = "web1", **more: Any) -> Vm:
    """A VM of theirs."""
    raw = {"name": name, "image": "small", "flavor": "small", "password": "correct horse", **more}
    task = run_task(registry.get("vm.create").submit(owner, raw))
    assert task.status == Status.DONE, task.error
    return Vm.objects.get(pk=task.object_id)


def on_node(vm: Vm) -> list[Forward]:
    """What its node leads to it."""
    vm.refresh_from_db()
    (there,) = fake.node(vm.node_id or 0).ports[str(vm.uuid)]
    return there.forwards


def test_an_owner_gets_the_first_free_port_or_one_of_his_choice(
    user: User, node: Node, image: Image, api_as_user: APIClient
) -> None:
    first, second = vm_of(user), vm_of(user, "web2")
    assert forward(user, first, to_port=22) == 10000
    assert forward(user, second, to_port=22) == 10001
    assert forward(user, second, to_port=22, protocol="udp") == 10000
    assert forward(user, second, to_port=27015, protocol="udp", count=3) == 27015
    assert on_node(first) == [Forward("tcp", 10000, 10000, 22)]
    told = api_as_user.get(f"/api/v1/vms/{second.pk}").json()["interfaces"][0]["port_forwards"]
    assert told == ["udp 10000 → 22", "tcp 10001 → 22", "udp 27015-27017"]
    assert refused(user, first, to_port=80, port=10001) == ("already_exists", "port")
    assert refused(user, first, to_port=27016, count=2, protocol="udp") == ("already_exists", "port")
    ask(user, "vm.remove-port-forward", second, port=10001)
    assert forward(user, first, to_port=80, port=10001) == 10001
    assert refused(user, second, "vm.remove-port-forward", port=10001) == ("not_found", "port")


def test_what_nobody_may_have_is_refused_at_its_field(user: User, node: Node, image: Image, settings: Any) -> None:
    vm = vm_of(user)
    for raw in (
        {"to_port": 22, "port": 22},
        {"to_port": 22, "port": 30000},
        {"to_port": 29999, "count": 2},
        {"to_port": 20000, "port": 20001, "count": 2},
        {"to_port": 0},
        {"to_port": 22, "count": 101},
        {"to_port": 22, "protocol": "icmp"},
    ):
        assert refused(user, vm, **raw)[0] == "invalid_value", raw
    settings.CONFIG = copy(settings.CONFIG)
    settings.CONFIG.port_forwards_last = settings.CONFIG.port_forwards_first
    forward(user, vm, to_port=22)
    assert refused(user, vm, to_port=80) == ("no_capacity", "port")
    settings.CONFIG.port_forwards_of_vm = 1
    assert refused(user, vm, to_port=80) == ("limit_exceeded", "port")
    Network.objects.update(kind="isolated")
    assert refused(user, vm, to_port=80) == ("wrong_state", "interface")


def test_it_goes_along_with_the_vm_and_ends_with_it(admin: User, node: Node, image: Image) -> None:
    vm, other = vm_of(admin), make_node("fake2")
    port = forward(admin, vm, to_port=22)
    moved = ask(admin, "vm.migrate", vm, node=other.name)
    assert moved.status == Status.DONE, moved.error
    assert on_node(vm) == [Forward("tcp", port, port, 22)] and str(vm.uuid) not in fake.node(node.pk).ports
    assert ask(admin, "vm.delete", vm).status == Status.DONE
    assert not PortForward.objects.exists()


def test_a_node_where_the_port_is_in_use_does_not_get_the_vm(admin: User, node: Node, image: Image) -> None:
    vm, other = vm_of(admin), make_node("fake2")
    port = forward(admin, vm, to_port=22)
    fake.node(other.pk).listening.add(("tcp", port))
    task = ask(admin, "vm.migrate", vm, node=other.name)
    assert task.status == Status.FAILED and task.error is not None and str(port) in task.error["message"]
    assert on_node(vm) == [Forward("tcp", port, port, 22)] and vm.node_id == node.pk
    assert str(vm.uuid) not in fake.node(other.pk).ports


def test_a_port_that_a_program_of_the_node_listens_on_stays_the_program_s(
    admin: User, node: Node, image: Image
) -> None:
    vm = vm_of(admin)
    fake.node(node.pk).listening.add(("tcp", 10000))
    task = ask(admin, "vm.add-port-forward", vm, to_port=22)
    assert task.status == Status.FAILED and task.error is not None and "10000" in task.error["message"]
    assert not PortForward.objects.exists() and on_node(vm) == []
