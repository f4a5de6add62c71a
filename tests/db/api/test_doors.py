"""Who gets in, how errors look, and that the schema and the registry agree."""

from __future__ import annotations

import gzip
import re

import pytest
from django.test import Client
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.accounts.services import ensure_administrator
from panel.accounts.tokens import create_token
from panel.api.operations import TWICE
from panel.api.urls import urlpatterns
from panel.core import kinds
from panel.tasks import registry
from panel.web import assets


def test_a_token_lets_its_user_in_and_no_other_does(user: User) -> None:
    _token, text = create_token(user, "test")
    client = APIClient()
    assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {text}"}).json()["name"] == "anna"
    refused = client.get("/api/v1/me", headers={"Authorization": f"Bearer {text}x"})
    assert (refused.status_code, refused.json()["code"]) == (401, "bad_credentials")
    assert client.get("/api/v1/me").status_code == 401


def test_a_token_is_kept_as_a_hash_alone(user: User) -> None:
    token, text = create_token(user, "test")
    assert text not in str(vars(token))


def test_a_disabled_user_does_not_get_in(user: User) -> None:
    _token, text = create_token(user, "test")
    User.objects.update(is_active=False)
    assert APIClient().get("/api/v1/me", headers={"Authorization": f"Bearer {text}"}).status_code == 401


def test_a_name_and_password_give_a_token(user: User) -> None:
    client = APIClient()
    good = client.post("/api/v1/auth/token", {"name": "anna", "password": "correct horse"}, format="json")
    bad = client.post("/api/v1/auth/token", {"name": "anna", "password": "wrong"}, format="json")
    assert good.status_code == 201 and good.json()["token"]
    assert (bad.status_code, bad.json()["code"]) == (401, "bad_credentials")


def test_an_administrator_is_made_once() -> None:
    first, password = ensure_administrator("root")
    again, nothing = ensure_administrator("root")
    assert first.pk == again.pk and password and nothing is None


def test_a_request_id_goes_in_and_out(api: APIClient) -> None:
    answer = api.get("/api/v1/vms/999", headers={"X-Request-Id": "abc-1"})
    assert answer.headers["X-Request-Id"] == "abc-1"
    assert answer.json()["request_id"] == "abc-1"
    unfit = api.get("/api/v1/me", headers={"X-Request-Id": "a\tb<script>"})
    assert "script" not in unfit.headers["X-Request-Id"]


def test_every_operation_has_an_action_in_the_schema(api: APIClient) -> None:
    schema = api.get("/api/v1/schema?format=json").json()
    assert schema["openapi"].startswith("3.1")
    for operation in registry.every():
        plural = kinds.get(operation.object_type).plural
        path = f"/api/v1/{plural}" if operation.creates else f"/api/v1/{plural}/{{object_id}}/{operation.verb}"
        if kinds.get(operation.object_type).only is not None:
            path = f"/api/v1/{plural}/{operation.verb}"
        if operation.name in TWICE:
            assert path not in schema["paths"] and "delete" in schema["paths"][path.rpartition("/")[0]]
        else:
            assert "post" in schema["paths"][path], path


def test_every_route_is_in_the_schema_under_a_name_of_its_own(api: APIClient) -> None:
    schema = api.get("/api/v1/schema?format=json").json()
    paths = {re.sub(r"<\w+:(\w+)>", r"{\1}", f"/api/v1/{each.pattern}") for each in urlpatterns}
    twice = {f"/api/v1/{each}" for each in ("vms/{object_id}/delete", "nodes/{object_id}/remove")}
    twice |= {f"/api/v1/{each}/{{object_id}}/remove" for each in ("networks", "dns-servers")}
    assert paths - set(schema["paths"]) == {"/api/v1/schema"} | twice
    names = [call["operationId"] for methods in schema["paths"].values() for call in methods.values()]
    assert len(names) == len(set(names))
    assert all("401" in call["responses"] for methods in schema["paths"].values() for call in methods.values())


def test_the_operations_are_listed_with_their_parameters(api: APIClient) -> None:
    listed = {each["name"]: each for each in api.get("/api/v1/operations").json()}
    assert set(listed) == {operation.name for operation in registry.every()}
    assert "image" in listed["vm.create"]["params"]["properties"]


@pytest.mark.parametrize("path", ["/", "/vms/new", "/nodes", "/nodes/new", "/storages", "/tasks", "/problems"])
def test_pages_ask_strangers_to_sign_in(path: str, admin: User) -> None:
    client = Client()
    assert client.get(path, secure=True).headers["Location"].startswith("/login")
    client.force_login(admin)
    assert client.get(path, secure=True).status_code == 200


def test_files_outside_the_assets_are_not_served() -> None:
    assert Client().get("/assets/../views.py", secure=True).status_code == 404
    assert Client().get("/assets/web/app.css", secure=True).status_code == 200
    assert Client().get(f"/assets/{assets.release()}/../../views.py", secure=True).status_code == 404


def test_a_file_has_few_headers_and_a_policy_only_where_it_stands_alone() -> None:
    few = {"Content-Type", "Content-Length", "Cache-Control", "Vary", "X-Content-Type-Options", "Content-Disposition"}
    for name, policy in (("web/app.css", False), ("web/icon.svg", True), ("web/events_worker.js", True)):
        headers = Client().get(assets.address(name), secure=True).headers
        assert set(headers) <= few | ({"Content-Security-Policy"} if policy else set())
        assert ("Content-Security-Policy" in headers) is policy and "immutable" in headers["Cache-Control"]


def test_the_schema_is_made_once_and_is_the_same_for_everybody(
    api: APIClient, api_as_user: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {form: api.get(f"/api/v1/schema?format={form}") for form in ("json", "yaml")}
    monkeypatch.setattr("drf_spectacular.generators.SchemaGenerator.get_schema", None)
    for form, made in first.items():
        again = api_as_user.get(f"/api/v1/schema?format={form}")
        assert (again.status_code, again.content) == (200, made.content)
        assert again.headers["Content-Type"] == made.headers["Content-Type"]
        packed = api_as_user.get(f"/api/v1/schema?format={form}", headers={"accept-encoding": "gzip, br"})
        assert packed.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in packed.headers["Vary"]
        assert gzip.decompress(packed.content) == made.content
