"""The pages that stand in the navigation, in their groups, and who is shown which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User

Label = str | Promise


@dataclass(frozen=True)
class Entry:
    """A page: its route, what it is called, its icon, and the right that it is of use with ("": everybody's).

    `also` are beginnings of other routes of which it is the entry.
    """

    route: str
    label: Label
    icon: str
    right: str = ""
    also: tuple[str, ...] = ()
    all_seen: bool = False
    """Whether it is for who sees everybody's objects."""

    def is_for(self, viewer: User) -> bool:
        """Whether the viewer has use for it."""
        return (not self.right or self.right in viewer.rights) and (viewer.sees_all or not self.all_seen)

    def holds(self, route: str) -> bool:
        """Whether the page of that route is one of its own."""
        return route == self.route or route.startswith(self.also)


GROUPS: tuple[tuple[Label, tuple[Entry, ...]], ...] = (
    (
        "",
        (
            Entry("dashboard", _("Dashboard"), "speedometer2"),
            Entry("vms", _("Virtual machines"), "display", "vms.view", also=("vm", "operation-vm")),
            Entry("addresses", _("Addresses"), "signpost", "vms.view", also=("address",)),
            Entry("security-groups", _("Security groups"), "shield-lock", "vms.view", also=("security-group",)),
            Entry("images", _("Images"), "box", "vms.view"),
            Entry("isos", _("ISO images"), "disc", "vms.view"),
            Entry("plans", _("Plans"), "tags", "vms.view"),
        ),
    ),
    (
        _("Cluster"),
        (
            Entry("nodes", _("Nodes"), "hdd-rack", "cluster.view", also=("node",), all_seen=True),
            Entry("storages", _("Storages"), "device-hdd", "cluster.view", also=("storage",), all_seen=True),
            Entry("networks", _("Networks"), "diagram-3", "cluster.view", also=("network",), all_seen=True),
            Entry("dns-servers", _("Name servers"), "globe", "cluster.view", also=("dns-server",), all_seen=True),
            Entry("health", _("Health"), "heart-pulse", "cluster.view", all_seen=True),
            Entry("cluster-settings", _("Cluster settings"), "gear", "cluster.manage", all_seen=True),
            Entry("options", _("Options"), "sliders", "settings.manage", all_seen=True),
        ),
    ),
    (
        _("Activity"),
        (
            Entry("tasks", _("Tasks"), "list-task", "tasks.view", also=("task", "trace")),
            Entry("problems", _("Problems"), "exclamation-triangle", "notices.view", also=("problem",), all_seen=True),
            Entry("journal", _("Journal"), "journal-text"),
            Entry("limits", _("Limits and usage"), "speedometer"),
            Entry("usage", _("Usage by month"), "receipt", "vms.view"),
            Entry("webhooks", _("Webhooks"), "broadcast", also=("webhook",)),
        ),
    ),
    (
        _("Accounts"),
        (
            Entry("users", _("Users"), "people", "users.view", also=("user",)),
            Entry("roles", _("Roles"), "shield-check", "users.view", also=("role",)),
        ),
    ),
)


@cache
def _address(route: str) -> str:
    return reverse(route)


def of(viewer: User, route: str) -> list[dict[str, Any]]:
    """The groups with what the viewer has use for; the entry of the page `route` is marked."""
    groups = [
        {
            "label": label,
            "entries": [
                {"entry": each, "address": _address(each.route), "current": each.holds(route)}
                for each in entries
                if each.is_for(viewer)
            ],
        }
        for label, entries in GROUPS
    ]
    return [group for group in groups if group["entries"]]
