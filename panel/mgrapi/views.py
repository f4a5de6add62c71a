"""The one address of the classic API."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from panel.accounts.models import User
from panel.accounts.services import sign_in
from panel.core.errors import BadCredentials, MissingValue, NotFound, PanelError
from panel.mgrapi.functions import FUNCTIONS
from panel.mgrapi.protocol import Call, failure, success

log = logging.getLogger(__name__)


# A call proves itself by its own parameters; a browser's session counts for nothing here.
@csrf_exempt
@require_http_methods(["GET", "POST"])
def vmmgr(request: HttpRequest) -> HttpResponse:
    """Carry out `func` for whoever `authinfo=user:password` is."""
    call = Call(request)
    try:
        if not call.func:
            raise MissingValue("“func” is required.", field="func")
        viewer = _viewer(call)
        function = FUNCTIONS.get(call.func)
        if function is None:
            raise NotFound("There is no such function.", object="func", id=call.func[:64], field="func")
        return success(call, function(viewer, call))
    except PanelError as error:
        log.info("classic call %.64r refused: %s", call.func, error.code)
        return failure(call, error)


def _viewer(call: Call) -> User:
    name, separator, password = call.params.get("authinfo", "").partition(":")
    if not separator:
        raise BadCredentials("“authinfo” must be user:password.")
    return sign_in(call.request, name, password)
