"""The page of all options of vmpanel.conf: what is in force, where it comes from, and what waits for a restart.

The file is the one place where they are kept: it is changed there. Policies that are kept in the database are changed
on the page of the cluster's settings.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from panel.cluster.redaction import Redaction
from panel.core import wording
from panel.option_list import told
from panel.web.rendering import need, page, viewer_of

GROUPS: tuple[tuple[Any, str], ...] = (
    (_("The panel"), "VarDir LogDir Listen Certificate AllowedHosts TrustedProxies PublicUrl PanelHere Requests Debug"),
    (_("Database and Redis"), "Database Redis"),
    (_("Tasks and nodes"), "Worker Lease Retry Undo Sweep NodeConnect FirstNetwork"),
    (_("Virtual machines"), "Shutdown GuestReachable RescueImage Snapshots Security PortForwards"),
    (_("vmwatch"), "Vmwatch"),
    (_("API and accounts"), "RateLimit SignInToken TokensPerUser WebhookNetworks"),
    (
        _("How long things are kept"),
        "History AddressHistory AddressWait Journal TaskDays ProblemDays WebhookDays Statistics",
    ),
    (_("Classic API"), "RestrictAuthinfo Classic"),
    (_("Directory (LDAP)"), "Ldap"),
)
"""By how the options' names begin."""


@login_required
def options_page(request: HttpRequest) -> HttpResponse:
    """All options."""
    viewer = viewer_of(request)
    need(viewer, "settings.manage")
    options, wrong = told(settings.CONFIG)
    rows = [{"told": each, "option": each.option, "help": wording.translated(each.option.help)} for each in options]
    return page(
        request,
        "options.html",
        regions={"options": "_options.html"},
        groups=[(title, [row for row in rows if _is_of(row["option"], names)]) for title, names in GROUPS],
        origin=settings.CONFIG.origin,
        wrong=Redaction(viewer).shown(wrong) if wrong is not None else "",
        waiting=[each for each in options if each.waits],
    )


def _is_of(option: Any, names: str) -> bool:
    return bool(option.name.startswith(tuple(names.split())))
