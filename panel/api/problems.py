"""Errors as the REST API tells them: problem details (RFC 9457) with our code, field and request id.

Views' errors come through exception_handler(); what Django itself refuses (no such address, a host that is not
allowed, a broken request) comes through the handlers of panel/urls.py.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core import request_id
from panel.core.errors import BadCredentials, PanelError, Throttled
from panel.core.transactions import is_whole, was_lost

log = logging.getLogger(__name__)
CONTENT_TYPE = "application/problem+json"
PREFIX = "/api/"
"""Addresses whose errors are told as problems."""

# DRF's own errors, as codes of ours.
_CODES = {
    exceptions.NotAuthenticated: "bad_credentials",
    exceptions.AuthenticationFailed: "bad_credentials",
    exceptions.PermissionDenied: "access_denied",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.ParseError: "bad_request",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.Throttled: "throttled",
}
RETRY_SECONDS = 5
"""When to come again while the database is away."""


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """The answer for any error of a view; what nobody expected is logged and told by its request id alone."""
    if was_lost(error) and not is_whole():
        # A call of a batch: the batch as a whole was given up, and is done again.
        raise error
    # DRF's own request: who asks is known by now, or nobody is.
    viewer = getattr(context["request"], "_user", None)
    if isinstance(error, PanelError) and isinstance(viewer, User):
        error = Redaction(viewer).error(error)
    elif isinstance(error, PanelError):
        error.word(nodes=False)
    answer = _answer(error)
    answer.data["instance"] = context["request"].path
    return answer


def _answer(error: Exception) -> Response:
    if isinstance(error, PanelError):
        answer = problem(error.status, error.code, error.message, **error.data)
        if isinstance(error, BadCredentials):
            answer.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, Throttled):
            answer.headers["Retry-After"] = str(error.data["seconds"])
        return answer
    if isinstance(error, Http404):
        return problem(404, "not_found", "There is no such page.")
    if isinstance(error, exceptions.ValidationError):
        field, message = _first(error.detail)
        return problem(400, "invalid_value", message, field=field)
    if isinstance(error, exceptions.APIException):
        answer = problem(error.status_code, _CODES.get(type(error), "error"), str(error.detail))
        if header := getattr(error, "auth_header", None):
            answer.headers["WWW-Authenticate"] = header
        return answer
    if isinstance(error, RequestDataTooBig):
        return problem(413, "too_large", "The request's body is too large.")
    if isinstance(error, OperationalError):
        log.exception("the database failed")
        answer = problem(503, "unavailable", "The database does not answer. Try again in a moment.")
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer
    log.exception("an error that nobody expected")
    return problem(500, "internal", "Something went wrong; the log tells more by the request id.")


def problem(status: int, code: str, message: str, **data: Any) -> Response:
    """A problem answer; `data` are the error's own fields."""
    return Response(body_of_problem(status, code, message, **data), status=status, content_type=CONTENT_TYPE)


def body_of_problem(status: int, code: str, message: str, **data: Any) -> dict[str, Any]:
    """What a problem answer says. An error's own fields never replace the problem's."""
    return {
        **data,
        "type": "about:blank",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": message,
        "code": code,
        "request_id": request_id.current(),
    }


def plain_problem(request: HttpRequest, status: int, code: str, message: str, **data: Any) -> HttpResponse:
    """A problem answer outside of DRF's views."""
    body = {**body_of_problem(status, code, message, **data), "instance": request.path}
    return HttpResponse(json.dumps(body), status=status, content_type=CONTENT_TYPE)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django's handler404 answers for the API's addresses (panel/failures.py)."""
    return plain_problem(request, 404, "not_found", "There is no such page.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    message = _unknown_host(request) if isinstance(exception, DisallowedHost) else "The request cannot be read."
    if request.path.startswith(PREFIX):
        return plain_problem(request, 400, "bad_request", message)
    if isinstance(exception, DisallowedHost):
        return HttpResponse(message, status=400, content_type="text/plain; charset=utf-8")
    return defaults.bad_request(request, exception)


def _unknown_host(request: HttpRequest) -> str:
    asked, known = request.META.get("HTTP_HOST", "")[:255], ", ".join(settings.CONFIG.hosts)
    return (
        f"The panel does not answer to the name “{asked}”, but to {known}. Its administrator names others in "
        "AllowedHosts, or the address that browsers use in PublicUrl (vmpanel.conf)."
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """What Django's handler500 answers for the API's addresses (panel/failures.py)."""
    return plain_problem(request, 500, "internal", "Something went wrong; the log tells more by the request id.")


def _first(detail: Any) -> tuple[str, str]:
    """The first complaint of a serializer: its field and its words."""
    if isinstance(detail, dict):
        field, inner = next(iter(detail.items()))
        return str(field), _first(inner)[1]
    if isinstance(detail, list):
        return _first(detail[0])
    return "", str(detail)
