"""What somebody changed of a VM by hand on its node: how it is told, and who must not write over it.

Operations change what they are about and leave all else of a description as it is (nodeagent/xml/edit.py). Where
that very thing was changed by hand they refuse, with the difference and the ways out of it. audit.py compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Q, QuerySet

from nodeagent import storage as storages
from nodeagent.protocol import host
from nodeagent.protocol.host import DomainSpec
from panel.core.errors import Drifted
from panel.core.wording import Text, joined
from panel.tasks.models import Task
from panel.vms.context import VmContext
from panel.vms.limits import OVER
from panel.vms.machine import FACTS
from panel.vms.models import Vm
from panel.vms.services import gone

LIMITS = " limits"
ANYTHING = storages.at("/")
"""In place of a drive's file before: whatever lies there makes room."""
NEWER = (
    "What the guest wrote last is in {files}: a repair as it is would lose it. Bring it back into the panel's file "
    "first (while the VM runs: {commit}), or give it up: repair the VM with “discard_newer”."
)
ENDING = Q(operation__in=("vm.adopt", "vm.repair"))
GATHERED = "_drift_is_ending"
Difference = Mapping[str, Any]
"""A field, what it is on the node, and what is stored of it here; None: there is no such part."""
Counts = Callable[[Difference], bool]
"""Which differences count."""


def every(difference: Difference) -> bool:
    """All do."""
    return True


def any_disk(difference: Difference) -> bool:
    """Disks, also those that somebody attached by hand; not what limits them."""
    field = str(difference["field"])
    return field.startswith("disk ") and not field.endswith(LIMITS)


def own_disk(difference: Difference) -> bool:
    """The panel's own disks."""
    return any_disk(difference) and difference["stored"] is not None


def named(*fields: str) -> Counts:
    """Those of these names."""
    return lambda difference: difference["field"] in fields


def told(drift: Iterable[Difference]) -> Text:
    """The differences as one line: what each field is on the node and in the panel."""
    found = [
        Text("{fact}: {there} on the node, {here} here", {"fact": each["field"], **_values(each)}) for each in drift
    ]
    return joined(found) if found else Text("nothing")


def ways(name: str, drift: Iterable[Difference]) -> Text:
    """What a person can do about the differences, and what would be lost by it; whole sentences."""
    found = list(drift)
    if moved := [each for each in found if other_file(each)]:
        targets = [str(each["field"]).removeprefix("disk ") for each in moved]
        files = ", ".join(f"“{file_of(each['node'])}”" for each in moved)
        commit = "; ".join(f"virsh blockcommit {name} {target} --active --pivot" for target in targets)
        return Text(NEWER, {"files": files, "commit": commit})
    if found and all(each["field"] in FACTS for each in found):
        return Text("Adopt it, or repair the VM, which undoes it.")
    return Text("Repair the VM, which undoes it.")


def other_file(difference: Difference) -> bool:
    """Whether it is a disk of the panel's that goes on in another file on the node."""
    node, stored = difference["node"], difference["stored"]
    return any_disk(difference) and bool(node and stored) and file_of(node) != file_of(stored)


def file_of(value: Any) -> str:
    """The file that the value of a disk begins with (nodeagent/xml/facts.py)."""
    return str(value).split(", ", 1)[0]


def error(vm: Vm, drift: Iterable[Difference], *, known: bool = False) -> Drifted:
    """The refusal that names the differences and the ways out; `known`: by the last comparison, which may be old."""
    found = [dict(each) for each in drift]
    text = Text(
        "The VM was changed on its node by hand, and this would not heed it ({differences}). {ways}",
        {"differences": told(found), "ways": ways(vm.name, found)},
    )
    if known:
        text = Text("{text} If that was done since the node was last checked, check it again.", {"text": text})
    return Drifted(text, object="vm", id=vm.pk, field="id", differences=found)


def known_error(vm: Vm, counts: Counts) -> Drifted | None:
    """The refusal for differences that the last comparison found; at its turn an operation looks itself.

    None while it is asked for that they end: whatever waits behind that finds none.
    """
    if not vm.drift or _is_ending(vm):
        return None
    found = [each for each in vm.drift if counts(each)]
    return error(vm, found, known=True) if found else None


def gather(vms: Sequence[Vm]) -> None:
    """Have known_error() of these VMs ask nothing (gathering.py); one query."""
    ids = {vm.pk for vm in vms if GATHERED not in vm.__dict__}
    ending = set(_endings().filter(object_id__in=ids).values_list("object_id", flat=True)) if ids else set()
    for vm in vms:
        vm.__dict__.setdefault(GATHERED, vm.pk in ending)


def _is_ending(vm: Vm) -> bool:
    known: bool | None = vm.__dict__.get(GATHERED)
    return _endings().filter(object_id=vm.pk).exists() if known is None else known


def _endings() -> QuerySet[Task]:
    return Task.objects.filter(ENDING, object_type="vm").exclude(status__in=OVER)


def define(ctx: VmContext[Any], after: DomainSpec, before: DomainSpec) -> None:
    """The node's description has what differs between the two, and otherwise what it had.

    Raises Drifted, with nothing changed, where somebody changed that by hand, and WrongState where the domain is gone:
    another node may have it. On the way back nothing is forced: what is otherwise stays so, and is found by the next
    comparison.
    """
    if not ctx.agent.call(host.HostInfo(uuid=after.uuid)).exists:
        if not ctx.undoing:
            raise gone(ctx.vm)
        ctx.log("The domain is gone from its node, and is not described anew.", "warning")
        return
    try:
        ctx.agent.call(host.HostCreate(spec=after, before=before))
    except Drifted as found:
        give_way(ctx, found)


def give_way(ctx: VmContext[Any], found: Drifted) -> None:
    """Raise the agent's refusal with the ways out; on the way back it is no failure, and is logged."""
    refusal = error(ctx.vm, found.data.get("differences", []))
    if not ctx.undoing:
        raise refusal from found
    ctx.log(Text("Left as it is: {error}", {"error": refusal.text}), "warning")


def _values(difference: Difference) -> dict[str, Any]:
    return {"there": _value(difference["node"]), "here": _value(difference["stored"])}


def _value(value: Any) -> str | Text:
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    return Text("none") if value is None else str(value) or Text("empty")
