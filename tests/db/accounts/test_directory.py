"""Users of an LDAP directory, on a real slapd that the test starts for itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from panel.accounts import directory, second_factor, throttling, totp
from panel.accounts.models import JournalEntry, Level, Role, User
from panel.accounts.tokens import create_token
from panel.config import parse
from panel.core.errors import ConfigError, InvalidValue
from tests.db.accounts.slapd import BASE, MANAGER, SECRET, SLAPD, Slapd

pytestmark = pytest.mark.skipif(not SLAPD.exists(), reason="there is no slapd; script/setup --tests installs it")

PEOPLE = f"ou=people,{BASE}"
GROUPS = f"ou=groups,{BASE}"


@pytest.fixture
def slapd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slapd]:
    """A directory that the panel is configured for, without groups."""
    throttling.client().flushall()
    server = Slapd(tmp_path)
    server.start()
    server.fill()
    values = {
        "ldap_uri": server.uri,
        "ldap_bind_dn": MANAGER,
        "ldap_bind_password": SECRET,
        "ldap_user_search_base": PEOPLE,
    }
    for name, value in values.items():
        monkeypatch.setattr(settings.CONFIG, name, value)
    yield server
    server.stop()


@pytest.fixture
def groups(slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The members of “ops” are administrators, those of “helpdesk” have the role “support”."""
    Role.objects.create(name="support", level=Level.ADMIN, rights=["users.view"])
    monkeypatch.setattr(settings.CONFIG, "ldap_group_search_base", GROUPS)
    monkeypatch.setattr(settings.CONFIG, "ldap_admin_group", "ops")
    monkeypatch.setattr(settings.CONFIG, "ldap_roles", "nobody:none, helpdesk:support")


def _sign_in(name: str, password: str) -> int:
    return APIClient().post("/api/v1/auth/token", {"name": name, "password": password}).status_code


def _sync() -> dict[str, int]:
    out = StringIO()
    call_command("sync_directory", stdout=out)
    counts: dict[str, int] = json.loads(out.getvalue())
    return counts


def test_a_user_of_the_directory_is_made_at_the_first_sign_in(slapd: Slapd) -> None:
    assert _sign_in("dora", "wrong") == 401
    assert not User.objects.filter(name="dora").exists()
    assert _sign_in("dora", "dora's own") == 201
    assert _sign_in("DORA", "dora's own") == 201
    dora = User.objects.get(name="dora")
    assert (dora.level, dora.email, dora.directory_dn) == ("user", "dora@example.org", f"uid=dora,{PEOPLE}")
    assert not dora.has_usable_password()
    entry = JournalEntry.objects.get(action="user.create")
    assert (entry.object_name, entry.after["by"]) == ("dora", "directory")
    assert "dora's own" not in str([vars(each) for each in JournalEntry.objects.all()])


def test_guessing_is_stopped_for_them_too(slapd: Slapd) -> None:
    for number in range(throttling.WRONG_ALLOWED):
        _sign_in("dora", f"guess {number}")
    assert _sign_in("dora", "dora's own") == 401


@pytest.mark.parametrize("name", ["*", "dor*", "dora)(uid=*", "x)(|(uid=dora", "\\2a"])
def test_a_name_is_no_filter(slapd: Slapd, name: str) -> None:
    assert _sign_in(name, "dora's own") == 401
    assert not User.objects.exclude(directory_dn="").exists()


def test_an_empty_password_is_no_anonymous_sign_in(slapd: Slapd) -> None:
    assert directory.authenticate(None, "dora", "") is None


def test_groups_give_level_and_role_at_each_sign_in(slapd: Slapd, groups: None) -> None:
    assert _sign_in("carl", "carl's own") == 201
    carl = User.objects.get(name="carl")
    assert (carl.level, carl.role) == ("admin", None)
    slapd.put(f"cn=helpdesk,{GROUPS}", "member", f"uid=carl,{PEOPLE}")
    assert _sign_in("carl", "carl's own") == 201
    carl = User.objects.get(name="carl")
    assert carl.role is not None and carl.role.name == "support"
    assert "cluster.manage" not in carl.rights and "users.view" in carl.rights
    assert _sign_in("dora", "dora's own") == 201
    assert User.objects.get(name="dora").level == "user"


def test_an_account_of_the_panels_own_is_not_taken_over(slapd: Slapd, user: User) -> None:
    slapd.person("anna", "of the directory")
    assert _sign_in("anna", "of the directory") == 401
    assert _sign_in("anna", "correct horse") == 201
    assert User.objects.get(name="anna").directory_dn == ""


def test_their_password_is_changed_in_the_directory_alone(slapd: Slapd, api: APIClient) -> None:
    _sign_in("dora", "dora's own")
    dora = User.objects.get(name="dora")
    answer = api.patch(f"/api/v1/users/{dora.pk}", {"password": "battery staple"})
    assert (answer.status_code, answer.json()["field"]) == (400, "password")
    slapd.put(f"uid=dora,{PEOPLE}", "userPassword", "another one")
    assert _sign_in("dora", "dora's own") == 401
    assert _sign_in("dora", "another one") == 201


def test_their_second_factor_is_turned_off_by_the_directorys_password(
    slapd: Slapd, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sign_in("dora", "dora's own")
    dora = User.objects.get(name="dora")
    totp.enrol(dora)
    codes = totp.confirm(dora, totp.pyotp.TOTP(totp.secretbox.unseal(bytes(dora.totp.sealed))["totp"]).now())
    with pytest.raises(InvalidValue):
        second_factor.turn_off_app(dora, "guess", codes[0])
    second_factor.turn_off_app(dora, "dora's own", codes[1])
    assert _sign_in("dora", "dora's own") == 201


def test_who_is_gone_from_the_directory_is_disabled_and_who_changed_is_changed(slapd: Slapd, groups: None) -> None:
    for name in ("dora", "carl"):
        _sign_in(name, f"{name}'s own")
    _token, text = create_token(User.objects.get(name="dora"), "script")
    slapd.remove(f"uid=dora,{PEOPLE}")
    slapd.put(f"uid=carl,{PEOPLE}", "mail", "carl@elsewhere.example")
    slapd.put(f"cn=ops,{GROUPS}", "member", MANAGER)
    assert _sync() == {"gone": 1, "changed": 1, "seen": 1}
    carl = User.objects.get(name="carl")
    assert (carl.email, carl.level, carl.is_active) == ("carl@elsewhere.example", "user", True)
    assert not User.objects.get(name="dora").is_active
    assert APIClient().get("/api/v1/me", headers={"Authorization": f"Bearer {text}"}).status_code == 401
    assert JournalEntry.objects.get(action="user.disable").user_name == "system"
    assert _sync() == {"gone": 0, "changed": 0, "seen": 1}


def test_a_disabled_user_does_not_come_in_by_the_directory(slapd: Slapd) -> None:
    _sign_in("dora", "dora's own")
    User.objects.filter(name="dora").update(is_active=False)
    assert _sign_in("dora", "dora's own") == 401


def test_while_the_directory_is_away_others_sign_in_and_nobody_is_gone(slapd: Slapd, user: User) -> None:
    _sign_in("dora", "dora's own")
    slapd.stop()
    assert _sign_in("anna", "correct horse") == 201
    assert _sign_in("dora", "dora's own") == 401
    with pytest.raises(CommandError, match="does not answer"):
        _sync()
    assert User.objects.get(name="dora").is_active


def test_without_a_directory_there_is_nothing_to_bring_up_to_date() -> None:
    with pytest.raises(CommandError, match="LdapUri"):
        _sync()


def test_options_that_cannot_be_right_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="LdapUserFilter"):
        parse("LdapUserFilter=(uid=anna)")
    monkeypatch.setattr(settings.CONFIG, "ldap_roles", "helpdesk")
    with pytest.raises(ConfigError, match="GROUP:ROLE"):
        directory.roles_of_groups()
