"""The page of ISO images: those of all and one's own. Changes go to the REST API from its script (isos.js)."""

from __future__ import annotations

import json

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse

from panel.accounts.limits import limits_of
from panel.core import permissions
from panel.images import isos
from panel.images.models import Iso
from panel.images.selectors import list_isos
from panel.web.rendering import page, rows, viewer_of


@login_required
def iso_list(request: HttpRequest) -> HttpResponse:
    """The ISO images, and the form for one more."""
    viewer = viewer_of(request)
    shown = rows(request, list_isos(viewer))
    shares = permissions.allows(viewer, "images.manage")
    own = permissions.allows(viewer, "vms.devices")
    return page(
        request,
        "iso_list.html",
        isos=[(iso, _form(iso) if (own if iso.owner_id == viewer.pk else shares) else "") for iso in shown],
        page=shown,
        may_send=own,
        shares=shares,
        used=isos.used_by(viewer),
        limits=limits_of(viewer),
    )


def _form(iso: Iso) -> str:
    """The dialog that renames it."""
    properties = {
        "name": {"type": "string", "title": "Name", "maxLength": 64},
        "title": {"type": "string", "title": "Title", "maxLength": 128},
    }
    return json.dumps({"schema": {"properties": properties, "required": ["name"]}, "initial": isos.public(iso)})
