"""A VM whose domain is gone from its node: a problem until it is back."""

from __future__ import annotations

from collections.abc import Iterable

from panel.core.wording import Text
from panel.notices.services import close_problems, open_problem
from panel.vms.models import Vm

GONE = (
    "VM “{vm}” has no domain on its node “{own}” any more: it was removed or moved by hand. Where another node "
    "has it, say that it lives there (vm.settle); else have it made again (vm.repair)."
)


def report(vm: Vm) -> None:
    """Have the problem open."""
    text = Text(GONE, {"vm": vm.name, "own": vm.node.name})
    open_problem(_key(vm.pk), text, object_type="vm", object_id=vm.pk)


def over(vm_ids: Iterable[int]) -> None:
    """Have the problems of these VMs closed."""
    close_problems([_key(pk) for pk in vm_ids])


def _key(vm_id: int) -> str:
    return f"vm:{vm_id}:missing"
