"""The one address of the classic API."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from panel.cluster.redaction import Redaction
from panel.core import wording
from panel.core.errors import BadCredentials, InvalidValue, NotFound, PanelError
from panel.core.rates import Counter
from panel.mgrapi import browsers
from panel.mgrapi.auth import viewer_of
from panel.mgrapi.call import Call
from panel.mgrapi.documents import Answer, Failure, GoTo, failure
from panel.mgrapi.functions import ACTING, FUNCTIONS, SIGNING_IN
from panel.mgrapi.functions.userrights import refuse_withheld
from panel.mgrapi.pages import page_of
from panel.mgrapi.render import render

log = logging.getLogger(__name__)
CALLS = Counter()
UNFORESEEN = Failure("internal", "func", "Something went wrong in the panel; its log says what.")


# A call proves itself by its own parameters; a browser's session counts for nothing here.
@csrf_exempt
@require_http_methods(["GET", "POST"])
def vmmgr(request: HttpRequest) -> HttpResponse:
    """Carry out `func` for whoever the call proves to be, and answer in the form that `out` asks for.

    A browser that names no `out` is sent to the page, once what it asked for is done, and signed in where the call
    has what that takes (browsers.py). Whatever is refused, or fails, is an error document with the status 200.
    """
    try:
        call = Call(request)
    except InvalidValue as error:
        return render(failure(error, ""), "xml", {})
    token = wording.bind(call.text("lang"))
    try:
        return _response(call)
    finally:
        wording.reset(token)


def _response(call: Call) -> HttpResponse:
    try:
        answer = _answer(call)
    except PanelError as error:
        log.info("classic call %.64r refused: %s", call.func, error.code)
        # What a function raised has passed the viewer's redaction, and stays as that left it.
        error.word(nodes=True)
        if not call.out and isinstance(error, BadCredentials):
            return redirect(browsers.to_sign_in(call, error))
        return render(failure(error, call.func, call.params), call.out, call.tparams())
    except Exception:
        log.exception("classic call %.64r failed", call.func)
        return render(UNFORESEEN, call.out, call.tparams())
    if isinstance(answer, GoTo):
        return redirect(answer.address)
    return render(answer, call.out, call.tparams()) if call.out else redirect(page_of(call))


def _answer(call: Call) -> Answer:
    # As many as the objects that it names, as a group of the REST API.
    count = CALLS.count(call.request, max(1, call.text("elid").count(",") + 1))
    if count is not None and count.exceeded:
        raise count.error
    if call.func in SIGNING_IN:
        return SIGNING_IN[call.func](call)
    function = FUNCTIONS.get(call.func)
    if not call.out and (address := browsers.shown(call)):
        return GoTo(address)
    viewer = viewer_of(call)
    if function is None:
        raise NotFound("There is no such function.", object="func", id=call.func[:64], field="func")
    refuse_withheld(viewer, call, call.sok or call.func in ACTING)
    try:
        return function(viewer, call)
    except PanelError as error:
        raise Redaction(viewer).error(error) from error.__cause__
