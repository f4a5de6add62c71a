"""What vmwatch-master alone may call: it proves itself by a secret that no node has."""

from __future__ import annotations

import json
import time

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from panel.monitoring import keys, services
from vmwatch import wire

SIGNATURE_HEADER = "X-Vmwatch-Signature"
LARGEST_BATCH = 2 * wire.LARGEST_MESSAGE


@csrf_exempt
@require_POST
def take_messages(request: HttpRequest) -> HttpResponse:
    """Take in a batch of messages; 403 without proof, 400 or 413 for what can never be taken."""
    held = keys.current()
    proof = request.headers.get(SIGNATURE_HEADER, "")
    # Not request.body, which is bounded for browsers' forms: a full report of a large node is larger.
    body = request.read(LARGEST_BATCH + 1)
    if len(body) > LARGEST_BATCH:
        return JsonResponse({"code": "bad_request", "message": "The batch is too large."}, status=413)
    if held is None or not any(
        wire.proves(body, proof.encode(), each) for each in (held.secret, held.previous) if each
    ):
        return JsonResponse({"code": "access_denied"}, status=403)
    try:
        envelope = json.loads(body)
        if not wire.fresh(float(envelope["time"]), time.time()):
            return JsonResponse({"code": "access_denied"}, status=403)
        messages = [wire.from_raw(each) for each in envelope["messages"]]
        waited = [max(0.0, float(each)) for each in envelope.get("waited") or [0.0] * len(messages)]
        if len(waited) != len(messages) or not all(each <= wire.LARGEST_AGE_SECONDS for each in waited):
            raise ValueError("“waited” must be a number of seconds for each message")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        return JsonResponse({"code": "bad_request", "message": str(error)}, status=400)
    return JsonResponse({"taken": services.take_messages(messages, waited)})
