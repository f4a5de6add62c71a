"""What the dialogs of users and roles do, for whom, and what they tell; changes in the journal as people read them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from panel.accounts.limits import limits_of
from panel.accounts.models import BrowserSession, Level, Role, User
from panel.core import permissions
from panel.web import journal_page, limits, rights
from tests.db.web.test_own import wrong_field
from tests.db.web.test_pages import _text, signed_in

LIMITS = {"vms": "3", "memory_mib": "", "vcpus": "4"}


def post(client: Client, path: str, values: dict[str, Any] | None = None) -> Any:
    """Post a dialog or a form."""
    return client.post(path, values or {}, secure=True, headers={"hx-request": "true"})


def test_a_user_is_made_in_a_form_that_tells_what_is_wrong(admin: User) -> None:
    client = signed_in(admin)
    good = {"name": "clara", "level": "user", "password": "battery staple", "may_create_vms": "on", **LIMITS}
    for wrong, field in (({"name": "no name"}, "name"), ({"password": "short"}, "password"), ({"vms": "-1"}, "vms")):
        answer = post(client, "/users/new", {**good, **wrong})
        assert (answer.status_code, wrong_field(answer.content.decode())) == (422, [field])
    answer = post(client, "/users/new", good)
    clara = User.objects.get(name="clara")
    assert answer.headers["HX-Redirect"] == f"/users/{clara.pk}" and clara.check_password("battery staple")
    kept = limits_of(clara)
    assert (kept.vms, kept.vcpus, kept.memory_mib, clara.may_create_vms) == (3, 4, None, True)


def test_a_user_is_changed_limited_disabled_and_deleted(admin: User, user: User) -> None:
    client, at = signed_in(admin), f"/users/{user.pk}/do"
    role = Role.objects.create(name="viewer", level=Level.USER, rights=["vms.view"])
    signed_in(user)
    change = {"name": "anna2", "level": "user", "role": role.name, "email": "anna@example.org"}
    assert post(client, f"{at}/change", change).status_code == 204
    user.refresh_from_db()
    assert (user.name, user.role, user.may_create_vms) == ("anna2", role, False)
    assert user.check_password("correct horse")
    assert post(client, f"{at}/limits", LIMITS).status_code == 204 and limits_of(user).vms == 3
    assert "0 of 3" in _text(client, f"/users/{user.pk}") and "0 of 3" in _text(signed_in(user), "/limits")
    assert post(client, f"{at}/sessions-end").status_code == 204
    assert not BrowserSession.objects.filter(user=user).exists()
    for deed, active in (("disable", False), ("enable", True)):
        assert post(client, f"{at}/{deed}").status_code == 204
        assert User.objects.get(pk=user.pk).is_active is active
    wrong = post(client, f"{at}/delete", {"typed_name": "anna"})
    assert (wrong.status_code, wrong_field(wrong.content.decode())) == (422, ["typed_name"])
    assert post(client, f"{at}/delete", {"typed_name": "anna2"}).headers["HX-Redirect"] == "/users"
    assert not User.objects.filter(pk=user.pk).exists()


DEEDS = ["change", "limits", "delete", "enable", "disable", "reset-second-factor", "session-end", "sessions-end"]


@pytest.mark.parametrize("deed", DEEDS)
def test_who_may_not_manage_users_does_nothing_to_them(user: User, admin: User, deed: str) -> None:
    other = User.objects.create_user("other")
    helper = User.objects.create_user("helper", level=Level.ADMIN)
    values = {"name": "x", "level": "user", "typed_name": "other"}
    for viewer in (user, helper):
        assert post(signed_in(viewer), f"/users/{other.pk}/do/{deed}", values).status_code == 404
    # Nor does an administrator who may, to a super one.
    manager = Role.objects.create(name="manager", level=Level.ADMIN, rights=["users.view", "users.manage"])
    User.objects.filter(pk=helper.pk).update(role=manager)
    helper.refresh_from_db()
    assert post(signed_in(helper), f"/users/{admin.pk}/do/{deed}", values).status_code == 404
    assert User.objects.get(pk=other.pk).is_active and User.objects.get(pk=admin.pk).name == "admin"


def test_what_a_service_refuses_is_told_in_the_dialog(admin: User) -> None:
    answer = post(signed_in(admin), f"/users/{admin.pk}/do/delete", {"typed_name": "admin"})
    assert answer.status_code == 422 and "Nobody can lock themselves out." in answer.content.decode()
    answer = post(signed_in(admin), f"/users/{admin.pk}/do/disable")
    assert answer.status_code == 422 and "Nobody can lock themselves out." in answer.content.decode()


def test_a_role_is_composed_changed_and_deleted(admin: User, user: User) -> None:
    client = signed_in(admin)
    wrong = post(client, "/roles/new", {"name": "", "level": "user", "rights": ["vms.power"]})
    assert (wrong.status_code, wrong_field(wrong.content.decode())) == (422, ["name"])
    assert post(client, "/roles/new", {"name": "op", "level": "user", "rights": ["settings.manage"]}).status_code == 422
    assert post(client, "/roles/new", {"name": "op", "level": "user", "rights": ["vms.power"]}).status_code == 204
    role = Role.objects.get(name="op")
    assert set(role.rights) == {"vms.power"} | permissions.ALWAYS
    Role.objects.filter(pk=role.pk).update(withheld=["vm.start"])
    assert post(client, f"/roles/{role.pk}", {"name": "op2", "level": "user"}).headers["HX-Redirect"] == "/roles"
    role.refresh_from_db()
    assert (role.name, role.withheld) == ("op2", ["vm.start"])
    assert post(signed_in(user), f"/roles/{role.pk}/delete", {"typed_name": "op2"}).status_code == 404
    User.objects.filter(pk=user.pk).update(role=role)
    refused = post(client, f"/roles/{role.pk}/delete", {"typed_name": "op2"})
    assert refused.status_code == 422 and "Accounts have this role." in refused.content.decode()
    User.objects.filter(pk=user.pk).update(role=None)
    assert post(client, f"/roles/{role.pk}/delete", {"typed_name": "op2"}).status_code == 204


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"memory_mib": 1024}, {"memory_mib": 2048}, ["Memory: 1024 → 2048"]),
        ({"email": ""}, {"email": "a@b.c"}, ["E-mail address: – → a@b.c"]),
        ({"may_create_vms": True}, {"may_create_vms": False}, ["May create VMs: Yes → No"]),
        ({"limits": {"vms": None, "vcpus": 2}}, {"limits": {"vms": 3, "vcpus": 2}}, ["Virtual machines: – → 3"]),
        ({}, {"rights": ["a", "b"], "by": "code"}, ["Rights: a, b", "By: code"]),
        ({"some_thing": 1}, {}, ["Some thing: 1"]),
    ],
)
def test_the_journal_tells_before_and_after_as_differences(
    before: dict[str, Any], after: dict[str, Any], told: list[str]
) -> None:
    found = [
        f"{each['name']}: {each['only'] if 'only' in each else each['before'] + ' → ' + each['after']}"
        for each in journal_page.changes(before, after)
    ]
    assert found == told


def test_every_right_and_limit_has_its_place_on_pages() -> None:
    grouped = rights.grouped(permissions.RIGHTS)
    assert {right.name for group in grouped for right in group["rights"]} == set(permissions.RIGHTS)
    assert set(limits.TITLES) == set(limits.LIMITS)
