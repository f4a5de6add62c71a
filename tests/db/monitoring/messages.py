"""VMs that were seen, and the messages that a vmwatch-node would send of them."""

from __future__ import annotations

import time
from typing import Any

from django.utils import timezone

from nodeagent.protocol.host import DomainSpec
from panel.accounts.models import User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.cluster.selectors import default_cluster
from panel.storage.services import ensure_default_pool
from panel.vms import selectors
from panel.vms.models import Vm, VmStatus
from vmwatch import wire

EPOCH = 1_790_000_000_000_000_000


def make_vm(node: Node, owner: User, name: str, **fields: Any) -> Vm:
    """A VM that was seen running."""
    cluster = default_cluster()
    given = {"installed": True, "status": VmStatus.RUNNING, "observed_at": timezone.now(), **fields}
    pool = ensure_default_pool(cluster)
    return Vm.objects.create(
        cluster=cluster, node=node, owner=owner, pool=pool, name=name, memory_mib=128, vcpus=1, **given
    )


def told(vm: Vm, state: str, detail: str = "") -> wire.DomainState:
    """A domain in a message."""
    return wire.DomainState(str(vm.uuid), vm.name, state, detail)


def event(
    vm: Vm, state: str, sequence: int, epoch: int = EPOCH, detail: str = "", node: Node | None = None
) -> wire.Message:
    """An event of a VM, from its node unless another is named."""
    node_id = node.pk if node is not None else vm.node_id
    return wire.Message(node_id, epoch, sequence, time.time(), wire.EVENT, [told(vm, state, detail)])


def full_report(node: Node, domains: list[wire.DomainState], sequence: int, epoch: int = EPOCH) -> wire.Message:
    """A full report of a node."""
    return wire.Message(node.pk, epoch, sequence, time.time(), wire.FULL_REPORT, domains)


def status_of(vm: Vm) -> str:
    """The VM's status as the database has it."""
    return str(Vm.objects.get(pk=vm.pk).status)


def history(vm: Vm) -> list[tuple[str, str]]:
    """The VM's changes, oldest first, with their causes."""
    return [(change.status, change.cause) for change in reversed(selectors.history(vm))]


def define(node: Node, vm: Vm, state: str) -> None:
    """Have a domain of the VM in memory on a node."""
    spec = DomainSpec(str(vm.uuid), vm.name, vm.memory_mib, vm.vcpus, "qemu", [], [])
    fake.node(node.pk).domains[str(vm.uuid)] = fake.FakeDomain(spec, state)
