"""Limits and what is used of them: of one's own account, and as a part of another's page."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from panel.accounts.limits import LIMITS, limits_of
from panel.accounts.models import User
from panel.images import isos
from panel.vms.limits import used_by
from panel.web.rendering import page, viewer_of

Label = str | Promise
TITLES: dict[str, tuple[Label, Label]] = {
    "vms": (_("Virtual machines"), ""),
    "memory_mib": (_("Memory"), _("MiB")),
    "vcpus": (_("CPUs"), ""),
    "disk_gib": (_("Disks"), _("GiB")),
    "addresses": (_("Addresses"), ""),
    "iso_count": (_("ISO images"), ""),
    "iso_mib": (_("Space of ISO images"), _("MiB")),
    "snapshots": (_("Snapshots of each VM"), ""),
}
"""What limits are called, and their units."""
NEARLY = 0.9


@dataclass(frozen=True)
class Row:
    """A limit with its use; `allowed` None is without limit, `used` None where it is not of the account as a whole."""

    name: str
    title: Label
    unit: Label
    used: int | None
    allowed: int | None

    @property
    def is_nearly_reached(self) -> bool:
        """Whether hardly anything is left."""
        return self.used is not None and self.allowed is not None and self.used >= self.allowed * NEARLY


def rows_of(user: User) -> list[Row]:
    """All limits of the user's."""
    of_vms, of_isos, limits = used_by(user), isos.used_by(user), limits_of(user)
    return [
        Row(name, *TITLES[name], getattr(of_vms, name, getattr(of_isos, name, None)), getattr(limits, name))
        for name in LIMITS
    ]


@login_required
def limits_page(request: HttpRequest) -> HttpResponse:
    """The viewer's own."""
    return page(request, "limits.html", regions={"limits": "_limits.html"}, limits=lambda: rows_of(viewer_of(request)))
