"""Every address of the panel; the apps have their own."""

from __future__ import annotations

from django.urls import include, path

from panel.mgrapi.views import vmmgr
from panel.monitoring.internal import take_messages

urlpatterns = [
    path("internal/vmwatch", take_messages),
    path("vmmgr", vmmgr),
    path("api/v1/", include("panel.api.urls")),
    path("", include("panel.web.urls")),
]

handler400 = "panel.api.problems.bad_request"
handler404 = "panel.failures.not_found"
handler500 = "panel.failures.server_error"
