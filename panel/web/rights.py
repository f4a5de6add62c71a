"""Rights as pages show them: in groups, each with what it is for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from panel.core import permissions, wording

Label = str | Promise

GROUPS: dict[str, tuple[Label, Label]] = {
    "vms": (_("Virtual machines"), _("A user's are their own VMs, an administrator's are all.")),
    "tasks": (_("Tasks"), _("What is done with VMs and nodes, step by step.")),
    "cluster": (_("Cluster"), _("Nodes, networks and storages: who runs the hardware needs them.")),
    "images": (_("Images"), _("What new VMs are made of, for all users.")),
    "notices": (_("Problems"), _("What is wrong somewhere, and settling it.")),
    "users": (_("Users"), _("Accounts of others; working in one shows what its user sees.")),
    "account": (_("Account"), _("What the account itself has.")),
    "journal": (_("Journal"), _("Who did what, and when.")),
    "settings": (_("Settings"), _("How the panel works, and what roles let others do.")),
}
"""By the first word of the rights' names: what a group is called, and what it is about."""


@dataclass(frozen=True)
class Right:
    """One right in a form. An `always` one is given whatever is chosen."""

    name: str
    title: str
    on: bool
    always: bool


def grouped(names: Collection[str], chosen: Collection[str] = (), *, always: bool = False) -> list[dict[str, Any]]:
    """The groups of these rights; `chosen` are ticked, and with `always` those that no role leaves out."""
    return [
        {"label": label, "about": about, "rights": _of(group, names, chosen, always)}
        for group, (label, about) in GROUPS.items()
        if any(name.startswith(f"{group}.") for name in names)
    ]


def _of(group: str, names: Collection[str], chosen: Collection[str], always: bool) -> list[Right]:
    return [
        Right(name, wording.translated(title), name in chosen, always and name in permissions.ALWAYS)
        for name, title in permissions.RIGHTS.items()
        if name in names and name.startswith(f"{group}.")
    ]
