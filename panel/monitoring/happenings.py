"""What libvirt tells of a VM besides its state: failing disks and watchdogs are problems until the VM goes on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from panel.core.wording import Text
from panel.notices.models import Severity
from panel.notices.services import close_problems, open_problem
from panel.vms.models import Vm, VmStatus
from vmwatch import wire

BAD = {
    "io-error": "VM “{vm}” reports an error of its disk {what}. A full storage is the usual reason.",
    "watchdog": "VM “{vm}” had its watchdog strike: the guest hangs ({what}).",
}
OVER = ("started", "resumed", "rebooted", "stopped", "undefined")
"""Words after which an earlier trouble is no more."""


def report(happened: Iterable[tuple[Vm, wire.DomainState, datetime]]) -> None:
    """Open and close problems by the events of a batch, in their order."""
    last: dict[tuple[Vm, str], str] = {}
    for vm, domain, _at in happened:
        word, _, what = domain.detail.partition(":")
        if word in BAD:
            last[vm, word] = what or "unknown"
        elif word in OVER and not (word == "resumed" and domain.state != VmStatus.RUNNING):
            last.update(dict.fromkeys(((vm, bad) for bad in BAD), ""))
    over = [_key(vm, word) for (vm, word), what in last.items() if not what]
    if over:
        close_problems(over)
    for (vm, word), what in last.items():
        if what:
            text = Text(BAD[word], {"vm": vm.name, "what": what})
            open_problem(_key(vm, word), text, severity=Severity.ERROR, object_type="vm", object_id=vm.pk)


def _key(vm: Vm, word: str) -> str:
    return f"vm:{vm.pk}:{word}"
