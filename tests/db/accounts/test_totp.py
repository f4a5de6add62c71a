"""The second factor: asked for at every door, each code taken once, guessing stopped."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta
from typing import Any

import pyotp
import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts import recovery, second_factor, throttling, totp
from panel.accounts.models import BrowserSession, JournalEntry, Level, RecoveryCode, Totp, User
from panel.accounts.tokens import create_token
from panel.core import origin
from panel.core.errors import AccessDenied, InvalidValue, SecondFactorRequired, WrongState
from panel.web import signing_in
from tests.db.accounts.test_sign_in import at_once

PASSWORD = "correct horse"


class Phone:
    """An authenticator app whose clock the test moves on."""

    def __init__(self, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now: datetime = timezone.now()
        monkeypatch.setattr(totp.timezone, "now", lambda: self.now)
        self.secret = totp.enrol(user).secret
        self.recovery = totp.confirm(user, self.code())

    def code(self, steps: int = 0) -> str:
        """What it shows now, or some steps from now."""
        return pyotp.TOTP(self.secret).at(self.now, counter_offset=steps)

    def later(self) -> str:
        """A code that was not shown before."""
        self.now += timedelta(seconds=30)
        return self.code()


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """No wrong code of an earlier test counts."""
    throttling.client().flushall()


@pytest.fixture
def phone(user: User, monkeypatch: pytest.MonkeyPatch) -> Phone:
    """Anna's app."""
    return Phone(user, monkeypatch)


def _token(**more: Any) -> Any:
    return APIClient().post("/api/v1/auth/token", {"name": "anna", "password": PASSWORD, **more})


def test_it_is_turned_on_over_rest_and_shows_its_secret_once(api_as_user: APIClient, user: User) -> None:
    made = api_as_user.post("/api/v1/me/totp").json()
    assert made["uri"].startswith("otpauth://totp/vmpanel:anna?secret=" + made["secret"])
    assert ET.fromstring(made["picture"]).tag.endswith("svg") and "style" not in made["picture"]
    assert api_as_user.get("/api/v1/me/totp").json() == {"on": False, "recovery_codes_left": 0}
    assert _token().status_code == 201
    wrong = api_as_user.post("/api/v1/me/totp/confirm", {"code": "000000x"})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "code")
    code = pyotp.TOTP(made["secret"]).now()
    codes = api_as_user.post("/api/v1/me/totp/confirm", {"code": code}).json()["recovery_codes"]
    assert len(set(codes)) == 10
    assert api_as_user.get("/api/v1/me/totp").json() == {"on": True, "recovery_codes_left": 10}
    assert api_as_user.post("/api/v1/me/totp").status_code == 409
    kept = str([vars(row) for model in (Totp, RecoveryCode, JournalEntry) for row in model.objects.all()])
    assert made["secret"] not in kept and not any(each in kept for each in codes)


def test_a_token_needs_a_code_too_and_a_wrong_password_does_not_tell_so(phone: Phone) -> None:
    asked = _token()
    assert (asked.status_code, asked.json()["code"], asked.json()["field"]) == (401, "second_factor_required", "code")
    wrong = APIClient().post("/api/v1/auth/token", {"name": "anna", "password": "guess", "code": phone.later()})
    assert wrong.json()["code"] == "bad_credentials"
    assert _token(code="000000").json()["code"] == "second_factor_required"
    assert _token(code=phone.code()).status_code == 201


def test_a_code_is_taken_once_and_none_that_is_older(user: User, phone: Phone) -> None:
    code = phone.later()
    second_factor.require_code(user, code)
    for used in (code, phone.code(-1)):
        with pytest.raises(SecondFactorRequired):
            second_factor.require_code(user, used)
    second_factor.require_code(user, phone.code(1))


def test_a_code_of_long_ago_or_of_the_future_is_refused(user: User, phone: Phone) -> None:
    for steps in (2, 20):
        with pytest.raises(SecondFactorRequired):
            second_factor.require_code(user, phone.code(steps))


def test_each_recovery_code_opens_once(user: User, phone: Phone) -> None:
    assert _token(code=phone.recovery[0].upper()).status_code == 201
    assert _token(code=phone.recovery[0]).status_code == 401
    assert _token(code=phone.recovery[1]).status_code == 201
    assert recovery.left(user) == 8


def test_codes_cannot_be_guessed_from_many_addresses(phone: Phone) -> None:
    for number in range(throttling.WRONG_ALLOWED):
        client = APIClient(REMOTE_ADDR=f"192.0.2.{number}")
        answer = client.post("/api/v1/auth/token", {"name": "anna", "password": PASSWORD, "code": f"00000{number}"})
        assert answer.status_code == 401
    assert "Too many" in _token(code=phone.later()).json()["detail"]
    assert JournalEntry.objects.filter(action="session.locked", after__wrong="code").count() == 1


def test_of_many_codes_at_the_same_moment_no_more_are_looked_at(
    user: User, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def take(user: User, code: str) -> bool:
        looked_at.append(code)
        time.sleep(0.1)
        return False

    def ask(number: int) -> int:
        with pytest.raises(SecondFactorRequired):
            second_factor.require_code(user, f"{number:06}")
        return 0

    monkeypatch.setattr(totp, "take", take)
    at_once(24, ask)
    assert len(looked_at) == throttling.WRONG_ALLOWED


def test_the_page_asks_in_a_second_step_and_is_signed_in_after_it_alone(user: User, phone: Phone) -> None:
    client = Client()
    first = client.post("/login?next=/tasks", {"username": "anna", "password": PASSWORD}, secure=True)
    assert first.headers["Location"] == "/login/code"
    assert client.get("/api/v1/me", secure=True).status_code == 401
    assert not BrowserSession.objects.filter(user=user).exists()
    half_key = client.cookies[settings.SESSION_COOKIE_NAME].value
    wrong = client.post("/login/code", {"code": "123"}, secure=True)
    assert "This code is wrong" in wrong.content.decode()
    right = client.post("/login/code", {"code": phone.later()}, secure=True)
    assert right.headers["Location"] == "/tasks"
    assert client.get("/api/v1/me", secure=True).json()["name"] == "anna"
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != half_key
    assert BrowserSession.objects.get(user=user).by == "code"


def test_a_right_password_waits_five_minutes_for_its_code(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.post("/login", {"username": "anna", "password": PASSWORD}, secure=True)
    monkeypatch.setattr(signing_in, "SECONDS", -1)
    late = Client()
    late.post("/login", {"username": "anna", "password": PASSWORD}, secure=True)
    assert late.post("/login/code", {"code": phone.later()}, secure=True).headers["Location"] == "/login"
    assert client.post("/login/code", {"code": phone.code()}, secure=True).headers["Location"] == "/"


def test_a_password_changed_between_the_steps_was_not_the_right_one(user: User, phone: Phone) -> None:
    client = Client()
    client.post("/login", {"username": "anna", "password": PASSWORD}, secure=True)
    user.set_password("battery staple")
    user.save()
    assert client.post("/login/code", {"code": phone.later()}, secure=True).headers["Location"] == "/login"


def test_the_classic_api_refuses_an_account_with_a_second_factor(phone: Phone) -> None:
    answer = Client().get(f"/vmmgr?func=vm&out=json&authinfo=anna:{PASSWORD}", secure=True)
    error = answer.json()["doc"]["error"]
    assert error["$type"] == "auth" and "second factor" in error["msg"]["$"]


def test_a_token_that_was_made_goes_on_working(user: User, phone: Phone) -> None:
    _row, text = create_token(user, "script")
    assert APIClient().get("/api/v1/me", headers={"Authorization": f"Bearer {text}"}).status_code == 200


def test_it_is_turned_off_with_password_and_code(user: User, phone: Phone) -> None:
    with pytest.raises(InvalidValue) as refused:
        second_factor.turn_off_app(user, PASSWORD, "000000")
    assert refused.value.field == "code"
    with pytest.raises(InvalidValue) as refused:
        second_factor.turn_off_app(user, "guess", phone.later())
    assert refused.value.field == "password"
    second_factor.turn_off_app(user, PASSWORD, phone.later())
    assert _token().status_code == 201 and recovery.left(user) == 0
    with pytest.raises(WrongState):
        second_factor.turn_off_app(user, PASSWORD, phone.later())


def test_an_administrator_resets_a_users_and_nobody_their_own(
    user: User, admin: User, phone: Phone, api: APIClient, api_as_user: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = APIClient()
    helper.force_authenticate(User.objects.create_user("helper", level=Level.ADMIN))
    assert helper.post(f"/api/v1/users/{user.pk}/reset-totp").status_code == 403
    assert api_as_user.post(f"/api/v1/users/{user.pk}/reset-totp").status_code == 403
    Phone(admin, monkeypatch)
    assert api.post(f"/api/v1/users/{admin.pk}/reset-totp").status_code == 403
    assert api.post(f"/api/v1/users/{user.pk}/reset-totp").status_code == 204
    assert _token().status_code == 201
    assert JournalEntry.objects.get(action="user.totp_reset").user_name == "admin"


def test_neither_a_scoped_token_nor_an_administrator_inside_touches_it(user: User, phone: Phone) -> None:
    token = origin.bind(origin.Origin(impersonated_by="admin"))
    try:
        with pytest.raises(AccessDenied):
            second_factor.turn_off_app(user, PASSWORD, phone.later())
        with pytest.raises(AccessDenied):
            create_token(user, "mine")
    finally:
        origin.reset(token)
    user.scope = frozenset({"vms.view"})
    with pytest.raises(AccessDenied):
        totp.enrol(user)
