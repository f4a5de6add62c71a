"""Idempotency keys of calls that are no operations: the answer is kept, and given again to the same call.

Operations have their own: the task itself bears the key (tasks/submission.py).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from panel.accounts.models import User
from panel.api.models import Batch, KeptAnswer
from panel.api.reading import KEY_HEADER, LONGEST_KEY, REPLAYED, idempotency_key, viewer_of
from panel.core import secretbox
from panel.core.errors import IdempotencyMismatch
from panel.core.purging import delete_in_batches
from panel.core.transactions import again_if_lost

KEEP_DAYS = 7
PARAMETER = OpenApiParameter(
    KEY_HEADER,
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    OpenApiParameter.HEADER,
    description=f"The same key and body are given the same answer, for {KEEP_DAYS} days.",
)
View = Callable[..., Response]


def idempotent(view: View) -> View:
    """A view's method that carries out a call with a key once, in one transaction with the keeping of its answer.

    A call that was refused keeps nothing, so that it may be tried again.
    """

    @functools.wraps(view)
    def call(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = idempotency_key(request)
        if key is None:
            return view(self, request, *args, **kwargs)
        viewer = viewer_of(request)
        digest = _digest(request)

        @transaction.atomic
        def carried_out() -> Response:
            row = KeptAnswer.objects.create(user=viewer, key=key, digest=digest)
            answer = view(self, request, *args, **kwargs)
            headers = {name: value for name, value in answer.headers.items() if name in ("Location", "ETag")}
            kept = {"status": answer.status_code, "data": json.loads(json.dumps(answer.data, default=str))}
            KeptAnswer.objects.filter(pk=row.pk).update(sealed=secretbox.seal({**kept, "headers": headers}))
            return answer

        try:
            return again_if_lost(carried_out)
        except IntegrityError:
            # The key is known, or the view met a constraint of its own.
            earlier = _earlier(viewer, key, digest)
            if earlier is None:
                raise
            return earlier

    return call


def _earlier(viewer: User, key: str, digest: str) -> Response | None:
    row = KeptAnswer.objects.filter(user=viewer, key=key).first()
    if row is None or row.sealed is None:
        return None
    if not hmac.compare_digest(row.digest, digest):
        raise IdempotencyMismatch("This idempotency key was used with a different request.", field=KEY_HEADER)
    kept = secretbox.unseal(bytes(row.sealed))
    return Response(kept["data"], status=kept["status"], headers={**kept["headers"], REPLAYED: "true"})


def _digest(request: Request) -> str:
    # Keyed, since a body may hold a secret.
    # The rights of the way in too: what a wide token was answered is not for a narrow one.
    scope = viewer_of(request).scope
    rights = None if scope is None else sorted(scope)
    text = json.dumps([request.method, request.get_full_path(), request.data, rights], sort_keys=True, default=str)
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def purge() -> None:
    """Forget answers older than KEEP_DAYS, and batches that ended TaskDays ago, a bounded number at a time."""
    old = KeptAnswer.objects.filter(created_at__lt=timezone.now() - timedelta(days=KEEP_DAYS))
    delete_in_batches(old.order_by("created_at"))
    ended = Batch.objects.filter(finished_at__lt=timezone.now() - timedelta(days=settings.CONFIG.task_days))
    delete_in_batches(ended.order_by("pk"))
