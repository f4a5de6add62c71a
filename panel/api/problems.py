"""Errors as the REST API tells them: problem details (RFC 9457) with our code, field and request id."""

from __future__ import annotations

import logging
from typing import Any

from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from panel.core import request_id
from panel.core.errors import BadCredentials, PanelError

log = logging.getLogger(__name__)
CONTENT_TYPE = "application/problem+json"

# DRF's own errors, as codes of ours.
_CODES = {
    exceptions.NotAuthenticated: "bad_credentials",
    exceptions.AuthenticationFailed: "bad_credentials",
    exceptions.PermissionDenied: "access_denied",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.ParseError: "bad_request",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.Throttled: "throttled",
}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """The answer for any error of a view; what nobody expected is logged and told by its request id alone."""
    if isinstance(error, PanelError):
        answer = problem(error.status, error.code, error.message, **error.data)
        if isinstance(error, BadCredentials):
            answer.headers["WWW-Authenticate"] = "Bearer"
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
    log.exception("an error that nobody expected")
    return problem(500, "internal", "Something went wrong; the log tells more by the request id.")


def problem(status: int, code: str, message: str, **data: Any) -> Response:
    """A problem answer; `data` are the error's own fields."""
    body = {
        "type": "about:blank",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": message,
        "code": code,
        "request_id": request_id.current(),
        **data,
    }
    return Response(body, status=status, content_type=CONTENT_TYPE)


def _first(detail: Any) -> tuple[str, str]:
    """The first complaint of a serializer: its field and its words."""
    if isinstance(detail, dict):
        field, inner = next(iter(detail.items()))
        return str(field), _first(inner)[1]
    if isinstance(detail, list):
        return _first(detail[0])
    return "", str(detail)
