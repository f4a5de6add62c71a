"""`vm.start`, `vm.stop`, `vm.restart`, `vm.delete`: on one VM or a list of them, without `sok`."""

from __future__ import annotations

from panel.accounts.models import User
from panel.core.errors import NotFound
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Done
from panel.tasks import registry
from panel.vms.selectors import list_vms


def _on_each(viewer: User, call: Call) -> Done:
    """Ask for the operation of the function's name on each VM; nothing is asked for where one of them is absent.

    Behind a task that holds a VM it waits: clients send stop and delete one after the other.
    """
    wanted = call.ids()
    there = set(list_vms(viewer).filter(pk__in=wanted).order_by().values_list("pk", flat=True))
    for pk in wanted:
        if pk not in there:
            raise NotFound(object="vm", id=pk)
    for pk in wanted:
        registry.get(call.func).submit(viewer, {}, object_id=pk, queue=True)
    return Done()


FUNCTIONS = dict.fromkeys(("vm.start", "vm.stop", "vm.restart", "vm.delete"), _on_each)
