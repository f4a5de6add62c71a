"""The page of all options of vmpanel.conf: what is in force, where it comes from, and what waits for a restart.

The file is the one place where they are kept: it is changed there. Policies that are kept in the database are changed
on the page of the cluster's settings.
"""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from panel import config
from panel.config import Config
from panel.core import wording
from panel.core.errors import ConfigError
from panel.options import OPTIONS, Option
from panel.web.rendering import need, page, viewer_of

HIDDEN = "••••••"
PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)")
"""In an address, as redis://:PASSWORD@host."""
GROUPS: tuple[tuple[Any, str], ...] = (
    (_("The panel"), "VarDir LogDir Listen Certificate AllowedHosts TrustedProxies PublicUrl PanelHere Requests Debug"),
    (_("Database and Redis"), "Database Redis"),
    (_("Tasks and nodes"), "Worker Lease Retry Undo Sweep NodeConnect FirstNetwork"),
    (_("Virtual machines"), "Shutdown GuestReachable RescueImage Snapshots"),
    (_("vmwatch"), "Vmwatch"),
    (_("API and accounts"), "RateLimit SignInToken TokensPerUser WebhookNetworks"),
    (_("How long things are kept"), "History Journal TaskDays ProblemDays WebhookDays Statistics"),
    (_("Classic API"), "RestrictAuthinfo Classic"),
    (_("Directory (LDAP)"), "Ldap"),
)
"""By how the options' names begin."""


@login_required
def options_page(request: HttpRequest) -> HttpResponse:
    """All options."""
    need(viewer_of(request), "settings.manage")
    in_force: Config = settings.CONFIG
    wrong = ""
    try:
        in_file = config.load(in_force.origin) if in_force.origin else in_force
    except ConfigError as error:
        in_file, wrong = in_force, error.text.shown(nodes=True)
    rows = [row_of(option, in_force, in_file) for option in OPTIONS]
    return page(
        request,
        "options.html",
        regions={"options": "_options.html"},
        groups=[(title, [row for row in rows if _is_of(row["option"], names)]) for title, names in GROUPS],
        origin=in_force.origin,
        wrong=wrong,
        waiting=[row for row in rows if row["waits"]],
    )


def _is_of(option: Option, names: str) -> bool:
    return option.name.startswith(tuple(names.split()))


def row_of(option: Option, in_force: Config, in_file: Config) -> dict[str, Any]:
    """An option as the page shows it."""
    now, then = getattr(in_force, option.attribute), getattr(in_file, option.attribute)
    return {
        "option": option,
        "help": wording.translated(option.help),
        "value": worded(option, now),
        "default": worded(option, option.default),
        "from_file": option.name in in_force.named,
        # Paths have another type than their defaults.
        "waits": str(now) != str(then),
        "then": worded(option, then),
    }


def worded(option: Option, value: Any) -> Any:
    """A value as the file would have it; of what is secret only whether there is one."""
    if option.secret:
        return HIDDEN if value else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}:{each}" for name, each in value.items())
    return PASSWORD.sub(HIDDEN, f"{value:g}" if isinstance(value, float) else str(value))
