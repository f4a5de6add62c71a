"""Users, roles, limits: who may make and change whom."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from panel.accounts import services, throttling
from panel.accounts.models import Level, Role, User
from panel.accounts.services import set_active
from panel.accounts.tokens import create_token
from panel.core.errors import WrongState
from panel.core.permissions import ALWAYS, BY_LEVEL, MOST_BY_LEVEL, RIGHTS, allows_operation
from panel.tasks import registry


def _as(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def manager() -> User:
    """An administrator whose role lets them run accounts."""
    role = Role.objects.create(name="sales", level=Level.ADMIN, rights=["users.manage", "users.view"])
    return User.objects.create_user("sales", "correct horse", level=Level.ADMIN, role=role)


def test_who_was_disabled_meanwhile_is_not_let_in_by_a_change_of_their_own(admin: User, user: User) -> None:
    asking = User.objects.get(pk=user.pk)
    services.set_active(admin, User.objects.get(pk=user.pk), False)
    services.change_user(admin, User.objects.get(pk=user.pk), {"password": "battery staple horse"})
    services.change_user(asking, asking, {"email": "anna@example.org"})
    found = User.objects.get(pk=user.pk)
    assert not found.is_active and found.check_password("battery staple horse")
    assert found.email == "anna@example.org"


def test_every_operation_names_a_right_that_there_is() -> None:
    assert {each.permission for each in registry.every()} <= set(RIGHTS)
    assert all(rights <= MOST_BY_LEVEL[level] for level, rights in BY_LEVEL.items())


def test_a_user_is_made_with_limits_and_signs_in(api: APIClient) -> None:
    made = api.post("/api/v1/users", {"name": "bob", "password": "correct horse", "limits": {"vms": 3}})
    assert made.status_code == 201
    assert (made.json()["level"], made.json()["limits"]["vms"], made.json()["limits"]["vcpus"]) == ("user", 3, None)
    assert "password" not in made.json()
    answer = APIClient().post("/api/v1/auth/token", {"name": "bob", "password": "correct horse"})
    assert answer.status_code == 201


def test_blanks_at_a_password_s_ends_count_at_every_door(api: APIClient, client: Client) -> None:
    password = "  correct horse "
    assert api.post("/api/v1/users", {"name": "bob", "password": password}).status_code == 201
    bob = User.objects.get(name="bob")
    assert bob.check_password(password) and not bob.check_password(password.strip())
    for given, status in ((password, 201), (password.strip(), 401)):
        assert APIClient().post("/api/v1/auth/token", {"name": "bob", "password": given}).status_code == status
    for given, answer in ((password, "auth"), (password.strip(), "error")):
        shown = client.post("/vmmgr", {"func": "auth", "username": "bob", "password": given, "out": "json"}).json()
        assert answer in shown["doc"]
    change = {"current": password, "password": " battery staple "}
    assert _as(bob).post("/api/v1/me/password", change).status_code == 204
    assert User.objects.get(name="bob").check_password(" battery staple ")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "name"),
        ({"name": "../etc"}, 400, "name"),
        ({"name": "anna"}, 409, "name"),
        ({"name": "bob", "password": "short"}, 400, "password"),
        ({"name": "bob", "level": "god"}, 400, "level"),
        ({"name": "bob", "role": "none"}, 404, "role"),
        ({"name": "bob", "limits": {"vms": -1}}, 400, "limits.vms"),
        ({"name": "bob", "limits": {"cars": 1}}, 400, "limits.cars"),
        ({"name": "bob", "email": "not one"}, 400, "email"),
        ({"name": "bob", "is_active": False}, 400, "is_active"),
    ],
)
def test_a_wrong_value_names_its_field_and_makes_nobody(
    api: APIClient, user: User, body: dict[str, Any], status: int, field: str
) -> None:
    before = User.objects.count()
    answer = api.post("/api/v1/users", body)
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert User.objects.count() == before


@pytest.mark.parametrize("path", ["users", "users/{user}", "nodes"])
def test_a_password_with_nul_is_refused_at_the_call(api: APIClient, user: User, path: str) -> None:
    raw = {"name": "bob", "password": "correct\0horse"} | ({"address": "192.0.2.9"} if path == "nodes" else {})
    ask = api.patch if "{" in path else api.post
    sent = raw if "{" not in path else {"password": raw["password"]}
    answer = ask(f"/api/v1/{path.format(user=user.pk)}", sent, format="json")
    assert (answer.status_code, answer.json()["field"]) == (400, "password")


def test_a_password_is_in_no_answer_and_no_entry_of_the_journal(api: APIClient) -> None:
    made = api.post("/api/v1/users", {"name": "bob", "password": "correct horse"}).json()
    api.patch(f"/api/v1/users/{made['id']}", {"password": "battery staple"})
    entries = api.get("/api/v1/journal?object_type=user").content.decode()
    assert "changed" in entries
    assert "correct horse" not in entries and "battery staple" not in entries


def test_a_role_narrows_an_account_and_changes_with_it(api: APIClient, user: User) -> None:
    role = api.post("/api/v1/roles", {"name": "viewer", "level": "user", "rights": ["vms.console"]}).json()
    assert role["rights"] == ["account.view", "journal.own", "tasks.view", "vms.console", "vms.view"]
    assert api.patch(f"/api/v1/users/{user.pk}", {"role": "viewer"}).json()["role"] == "viewer"
    user = User.objects.get(pk=user.pk)
    assert user.rights == ALWAYS | {"vms.console"}
    assert _as(user).post("/api/v1/vms", {}).json()["permission"] == "vms.create"
    api.put(f"/api/v1/roles/{role['id']}", {"name": "viewer", "level": "user", "rights": ["vms.power"]})
    assert "vms.power" in User.objects.get(pk=user.pk).rights
    assert api.delete(f"/api/v1/roles/{role['id']}").status_code == 409
    api.patch(f"/api/v1/users/{user.pk}", {"role": ""})
    assert User.objects.get(pk=user.pk).rights == BY_LEVEL["user"]
    assert api.delete(f"/api/v1/roles/{role['id']}").status_code == 204


def test_a_role_withholds_operations_though_their_right_is_there(api: APIClient, user: User) -> None:
    raw = {"name": "viewer", "level": "user", "rights": ["vms.power"], "withheld": ["vm.force-off"]}
    role = api.post("/api/v1/roles", raw, format="json").json()
    assert role["withheld"] == ["vm.force-off"]
    api.patch(f"/api/v1/users/{user.pk}", {"role": "viewer"})
    viewer = User.objects.get(pk=user.pk)
    assert allows_operation(viewer, "vms.power", "vm.stop")
    assert not allows_operation(viewer, "vms.power", "vm.force-off")
    path = f"/api/v1/roles/{role['id']}"
    del raw["withheld"]
    assert api.put(path, raw, format="json").json()["withheld"] == ["vm.force-off"]
    wrong = api.put(path, {**raw, "withheld": ["vm.forceoff"]}, format="json")
    assert (wrong.status_code, wrong.json()["field"]) == (400, "withheld")
    assert api.put(path, {**raw, "withheld": []}, format="json").json()["withheld"] == []


def test_a_role_gives_no_more_than_its_level_may_have(api: APIClient, user: User) -> None:
    answer = api.post("/api/v1/roles", {"name": "boss", "level": "user", "rights": ["users.manage"]})
    assert (answer.status_code, answer.json()["field"]) == (400, "rights")
    api.post("/api/v1/roles", {"name": "ops", "level": "admin", "rights": ["cluster.manage"]})
    answer = api.patch(f"/api/v1/users/{user.pk}", {"role": "ops"})
    assert (answer.status_code, answer.json()["field"]) == (400, "role")


def test_nobody_below_a_super_administrator_makes_or_touches_administrators(manager: User, admin: User) -> None:
    client = _as(manager)
    assert client.post("/api/v1/users", {"name": "bob"}).status_code == 201
    assert client.post("/api/v1/users", {"name": "eve", "level": "super"}).status_code == 403
    assert client.get(f"/api/v1/users/{admin.pk}").status_code == 404
    other = User.objects.create_user("other", level=Level.ADMIN)
    for answer in (
        client.patch(f"/api/v1/users/{other.pk}", {"password": "battery staple"}),
        client.post(f"/api/v1/users/{other.pk}/disable"),
        client.delete(f"/api/v1/users/{other.pk}"),
        client.patch(f"/api/v1/users/{manager.pk}", {"level": "super"}),
        client.patch(f"/api/v1/users/{manager.pk}", {"role": ""}),
    ):
        assert answer.status_code == 403
    assert User.objects.get(pk=manager.pk).level == Level.ADMIN


@pytest.mark.parametrize("level", list(Level))
def test_nobody_changes_their_own_password_without_the_present_one(level: Level) -> None:
    throttling.client().flushall()
    somebody = User.objects.create_user("somebody", "correct horse", level=level)
    _token, text = create_token(somebody, "stolen")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    for body in ({"password": "battery staple"}, {"password": "battery staple", "email": "x@example.org"}):
        refused = client.patch(f"/api/v1/users/{somebody.pk}", body)
        assert (refused.status_code, refused.json()["field"]) == (400, "password")
        assert "/me/password" in refused.json()["detail"]
    found = User.objects.get(pk=somebody.pk)
    assert found.check_password("correct horse") and not found.email
    change = {"current": "correct horse", "password": "battery staple"}
    assert client.post("/api/v1/me/password", change).status_code == 204
    assert User.objects.get(pk=somebody.pk).check_password("battery staple")


def test_a_user_changes_their_own_address_and_nothing_else_of_their_own(user: User, admin: User) -> None:
    client = _as(user)
    assert client.patch(f"/api/v1/users/{user.pk}", {"email": "anna@example.org"}).status_code == 200
    for body in ({"limits": {"vms": 99}}, {"level": "super"}, {"may_create_vms": True}, {"name": "root"}):
        assert client.patch(f"/api/v1/users/{user.pk}", body).status_code == 403
    assert client.get(f"/api/v1/users/{admin.pk}").status_code == 404
    assert [each["name"] for each in client.get("/api/v1/users").json()["results"]] == ["anna"]


def test_a_token_without_the_right_changes_no_password(user: User) -> None:
    _token, text = create_token(user, "narrow", rights=["vms.view"])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert client.patch(f"/api/v1/users/{user.pk}", {"password": "battery staple"}).status_code == 403


def test_the_last_super_administrator_and_oneself_stay(api: APIClient, admin: User) -> None:
    assert api.post(f"/api/v1/users/{admin.pk}/disable").status_code == 409
    assert api.delete(f"/api/v1/users/{admin.pk}").status_code == 409
    assert api.patch(f"/api/v1/users/{admin.pk}", {"level": "user"}).status_code == 409
    second = User.objects.create_user("second", level=Level.SUPER)
    set_active(admin, second, False)
    with pytest.raises(WrongState, match="last super"):
        set_active(second, admin, False)


def test_a_disabled_user_is_out_at_every_door_until_enabled(api: APIClient, user: User) -> None:
    _token, text = create_token(user, "mine")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert client.get("/api/v1/me").status_code == 200
    assert api.post(f"/api/v1/users/{user.pk}/disable").json()["is_active"] is False
    assert client.get("/api/v1/me").status_code == 401
    assert api.post(f"/api/v1/users/{user.pk}/enable").json()["is_active"] is True
    assert client.get("/api/v1/me").status_code == 200


def test_a_user_who_owns_nothing_is_deleted(api: APIClient, user: User) -> None:
    create_token(user, "mine")
    assert api.delete(f"/api/v1/users/{user.pk}").status_code == 204
    assert api.get(f"/api/v1/users/{user.pk}").status_code == 404


def test_a_list_of_users_takes_the_same_number_of_queries_for_any_number(
    api: APIClient, django_assert_num_queries: Any
) -> None:
    for number in range(30):
        User.objects.create_user(f"user{number}")
    with django_assert_num_queries(1):
        assert len(api.get("/api/v1/users?limit=200").json()["results"]) == 31
