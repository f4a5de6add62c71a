"""The internal API function that vmwatch-master calls. Not for anybody else: it proves itself by the shared secret."""

from __future__ import annotations

import hmac
import json
import time

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from panel.monitoring import configure, services
from vmwatch import wire

SIGNATURE_HEADER = "X-Vmwatch-Signature"


@csrf_exempt
@require_POST
def take_messages(request: HttpRequest) -> HttpResponse:
    """Take in a batch of messages; 403 without proof, 400 for what is no batch."""
    secret = configure.shared_secret()
    proof = request.headers.get(SIGNATURE_HEADER, "")
    if not secret or not hmac.compare_digest(wire.sign(request.body, secret).encode(), proof.encode()):
        return JsonResponse({"code": "access_denied"}, status=403)
    try:
        envelope = json.loads(request.body)
        if abs(time.time() - float(envelope["time"])) > wire.CLOCK_WINDOW_SECONDS:
            return JsonResponse({"code": "access_denied"}, status=403)
        messages = [wire.from_body(json.dumps(each).encode()) for each in envelope["messages"]]
    except (ValueError, KeyError, TypeError) as error:
        return JsonResponse({"code": "bad_request", "message": str(error)}, status=400)
    return JsonResponse({"taken": services.take_messages(messages)})
