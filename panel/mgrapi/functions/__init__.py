"""The functions of the classic API, by name: each a translation to the services and operations of everything else.

A function takes the viewer and the call and answers a document; one module a subject, with its FUNCTIONS.
"""

from __future__ import annotations

from collections.abc import Callable

from panel.accounts.models import User
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer
from panel.mgrapi.functions import (
    images,
    ippool,
    network,
    nodes,
    presets,
    reports,
    signing_in,
    tasks,
    userrights,
    users,
    vm_edit,
    vm_parts,
    vm_power,
    vm_work,
    vms,
    vmwatch,
)

Function = Callable[[User, Call], Answer]

FUNCTIONS: dict[str, Function] = {
    **signing_in.FUNCTIONS,
    **users.FUNCTIONS,
    **userrights.FUNCTIONS,
    **vms.FUNCTIONS,
    **vm_edit.FUNCTIONS,
    **vm_power.FUNCTIONS,
    **vm_work.FUNCTIONS,
    **vm_parts.FUNCTIONS,
    **network.FUNCTIONS,
    **ippool.FUNCTIONS,
    **nodes.FUNCTIONS,
    **images.FUNCTIONS,
    **presets.FUNCTIONS,
    **reports.FUNCTIONS,
    **tasks.FUNCTIONS,
    **vmwatch.FUNCTIONS,
}

ACTING = frozenset(
    {
        *vm_power.FUNCTIONS,
        "user.delete",
        "user.enable",
        "user.disable",
        "userrights.suspend",
        "userrights.resume",
        "session.newkey",
        "vmwatch.configure",
        "iplist.delete",
        "ippool.delete",
        "iso.delete",
        "preset.delete",
        "snapshot.delete",
        "snapshot.revert",
        "vmhostnode.delete",
        "volume.delete",
    }
)
"""Those that do something without `sok`; all others show something, or a form, unless they have it."""

SIGNING_IN = signing_in.SIGNING_IN
"""Those that a caller needs no proof for, since they take it themselves."""
