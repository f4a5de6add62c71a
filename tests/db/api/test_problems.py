"""Whatever goes wrong below /api/, the answer is a problem (RFC 9457) that a program can read."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from panel.api import nodes
from panel.core import request_id

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id"}


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The answer's body, which is a whole problem."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) >= MEMBERS
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return body


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api/v1/vms/x", "/api/v1", "/api/v2/vms", "/api/v1/vms/7/nothing"]
)
def test_an_address_that_is_none_is_a_problem(path: str, api: APIClient) -> None:
    assert problem_of(api.get(path), 404, "not_found")["instance"] == path
    assert Client().get("/nothing", secure=True).headers["Content-Type"].startswith("text/html")


def test_a_method_that_is_none_names_those_that_are(api: APIClient) -> None:
    answer = api.put("/api/v1/vms/7", {})
    problem_of(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


def test_another_content_type_is_refused(api: APIClient) -> None:
    answer = api.post("/api/v1/vms", "name=web1", content_type="application/x-www-form-urlencoded")
    problem_of(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"", b'{"name": NaN}', b"[" * 100_000, b'{"name": "\\ud800"}', b'{"\\udfff": 1}']
)
def test_a_body_that_cannot_be_read_is_refused(api: APIClient, body: bytes) -> None:
    answer = api.post("/api/v1/vms", body, content_type="application/json")
    assert answer.status_code == 400
    problem_of(answer, 400, answer.json()["code"])


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null"])
def test_a_body_that_is_no_object_is_refused(api: APIClient, body: bytes) -> None:
    for path in ("/api/v1/vms", "/api/v1/tokens", "/api/v1/vms/group/start", "/api/v1/auth/token"):
        answer = api.post(path, body, content_type="application/json")
        assert answer.status_code == 400, (path, body)
        assert "field" in problem_of(answer, 400, answer.json()["code"])


def test_a_body_that_is_too_large_is_refused(api: APIClient) -> None:
    answer = api.post("/api/v1/vms", b'{"name": "%s"}' % (b"x" * 1024 * 1024), content_type="application/json")
    problem_of(answer, 413, "too_large")


def test_an_answer_is_json_whatever_the_caller_would_rather_have(api: APIClient) -> None:
    answer = api.get("/api/v1/me", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    problem_of(api.get("/api/v1/vms/7", headers={"Accept": "application/problem+json"}), 404, "not_found")


def test_nobody_gets_a_problem_that_asks_for_a_token() -> None:
    answer = APIClient().get("/api/v1/vms")
    problem_of(answer, 401, "bad_credentials")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_what_nobody_expected_says_its_request_id_and_nothing_else(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a detail of the inside")

    monkeypatch.setattr(nodes, "list_nodes", broken)
    answer = api.get("/api/v1/nodes")
    assert "inside" not in str(problem_of(answer, 500, "internal"))
    assert "a detail of the inside" in caplog.text
    assert request_id.current() == "-"
