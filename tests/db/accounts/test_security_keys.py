"""Security keys: registered by a browser, asked after the password, and what is none is refused and counted."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import cbor2
import pyotp
import pytest
from django.conf import settings
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from panel.accounts import ceremony, recovery, second_factor, security_keys, throttling, totp
from panel.accounts.models import BrowserSession, JournalEntry, RecoveryCode, SecurityKey, User
from panel.accounts.tokens import create_token
from panel.config import parse
from panel.core import origin
from panel.core.errors import AccessDenied, ConfigError, InvalidValue
from tests.db.accounts.authenticator import ORIGIN, Authenticator, bytes_of, text_of
from tests.db.web.test_pages import signed_in

PASSWORD = "correct horse"
KEYS = "/api/v1/me/security-keys"


@pytest.fixture(autouse=True)
def public_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel knows its name, and no wrong answer of an earlier test counts."""
    monkeypatch.setattr(settings.CONFIG, "public_url", ORIGIN)
    throttling.client().flushall()


def _post(client: Client, path: str, **values: Any) -> Any:
    return client.post(path, json.dumps(values), content_type="application/json", secure=True)


def _challenge(client: Client) -> dict[str, Any]:
    options: dict[str, Any] = _post(client, f"{KEYS}/challenge").json()["options"]
    return options


def _register(client: Client, key: Authenticator, name: str = "blue") -> Any:
    return _post(client, KEYS, name=name, credential=key.make(_challenge(client)))


@pytest.fixture
def key(user: User) -> Authenticator:
    """Anna's security key."""
    made = Authenticator()
    assert _register(signed_in(user), made).status_code == 201
    return made


class Door:
    """A browser on the page of the second step, Anna's password given."""

    def __init__(self) -> None:
        self.client = Client()
        answer = self.client.post("/login?next=/tasks", {"username": "anna", "password": PASSWORD}, secure=True)
        assert answer.headers["Location"] == "/login/code"
        self.read(self.client.get("/login/code", secure=True))

    def read(self, page: Any) -> None:
        """Take the options from the page."""
        self.page = page.content.decode()
        found = re.search(r'data-options="([^"]*)"', self.page)
        self.options: dict[str, Any] = json.loads(html.unescape(found[1])) if found else {}

    def give(self, credential: Any) -> str:
        """Give the answer of a key; says where that leads, or what is wrong with it."""
        page = self.client.post("/login/code", {"credential": json.dumps(credential)}, secure=True)
        if page.status_code == 302:
            return str(page.headers["Location"])
        self.read(page)
        return re.sub(
            r".*<p class=\"alert alert-danger\" role=\"alert\">(.*?)</p>.*", r"\1", self.page, flags=re.DOTALL
        )

    @property
    def is_in(self) -> bool:
        """Whether it is signed in."""
        return self.client.get("/api/v1/me", secure=True).status_code == 200


def test_a_key_is_registered_by_a_browser_and_the_first_brings_recovery_codes(user: User) -> None:
    client = signed_in(user)
    options = _challenge(client)
    assert (options["rp"]["id"], options["user"]["name"]) == ("panel.example.org", "anna")
    assert "anna" not in bytes_of(options["user"]["id"]).decode()
    first, second = Authenticator(), Authenticator()
    made = _post(client, KEYS, name="blue", credential=first.make(options)).json()
    assert made["key"]["name"] == "blue" and made["key"]["last_used_at"] is None and len(made["recovery_codes"]) == 10
    assert [each["id"] for each in _challenge(client)["excludeCredentials"]] == [text_of(first.id)]
    assert _register(client, second, "green").json()["recovery_codes"] == []
    assert [each["name"] for each in client.get(KEYS, secure=True).json()["results"]] == ["blue", "green"]
    entry = JournalEntry.objects.filter(action="user.key_add").earliest("pk")
    assert (entry.user_name, entry.after) == ("anna", {"name": "blue"})
    kept = str([vars(row) for model in (RecoveryCode, JournalEntry) for row in model.objects.all()])
    assert not any(code in kept for code in made["recovery_codes"])


def test_the_key_signs_in_after_the_password(user: User, key: Authenticator) -> None:
    door = Door()
    assert not door.is_in
    assert [each["id"] for each in door.options["allowCredentials"]] == [text_of(key.id)]
    assert door.give(key.sign(door.options)) == "/tasks"
    assert door.is_in
    row = SecurityKey.objects.get(user=user)
    assert row.sign_count == 1 and row.last_used_at is not None
    assert BrowserSession.objects.filter(user=user).latest("created_at").by == "security key"
    assert JournalEntry.objects.filter(action="session.begin", after__by="security key").count() == 1


def test_one_that_never_counts_signs_in_again_and_again(user: User) -> None:
    key = Authenticator(counts=False)
    _register(signed_in(user), key)
    for _ in range(2):
        door = Door()
        assert door.give(key.sign(door.options)) == "/tasks"


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://panel.example.org.evil.example"},
        {"origin": "https://panel.example.org"},
        {"origin": "http://panel.example.org:1500"},
        {"name": "evil.example"},
        {"flags": 0},
    ],
)
def test_a_signature_for_another_place_or_without_a_touch_is_refused(
    user: User, key: Authenticator, wrong: dict[str, Any]
) -> None:
    door = Door()
    assert "does not take this answer" in door.give(key.sign(door.options, **wrong))
    assert not door.is_in
    assert SecurityKey.objects.get(user=user).last_used_at is None


def test_a_challenge_is_this_sessions_and_takes_one_answer(key: Authenticator) -> None:
    door, other = Door(), Door()
    assert "does not take this answer" in door.give(key.sign(other.options))
    good = key.sign(door.options)
    asked = door.options["challenge"]
    assert "does not take" in door.give({**good, "response": {**good["response"], "signature": text_of(b"0" * 70)}})
    assert door.options["challenge"] != asked
    assert "does not take this answer" in door.give(good)
    assert door.give(key.sign(door.options)) == "/tasks"


def test_an_answer_that_was_taken_is_worth_nothing(key: Authenticator) -> None:
    door = Door()
    answer = key.sign(door.options)
    assert door.give(answer) == "/tasks"
    again = Door()
    assert "does not take this answer" in again.give(answer)
    # The very challenge once more, as if sessions were put back: the count gives it away.
    session = again.client.session
    session["security_key_challenge"] = {
        **session["security_key_challenge"],
        "hex": bytes_of(door.options["challenge"]).hex(),
    }
    session.save()
    assert "does not take this answer" in again.give(answer)
    assert not again.is_in


def test_a_challenge_waits_five_minutes(key: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security_keys, "SECONDS", -1)
    door = Door()
    assert "too long" in door.give(key.sign(door.options))


def test_a_key_whose_count_goes_back_was_copied(user: User, key: Authenticator) -> None:
    key.count = 7
    door = Door()
    assert door.give(key.sign(door.options)) == "/tasks"
    for count in (3, 7):
        key.count = count
        door = Door()
        assert "does not take this answer" in door.give(key.sign(door.options))
    assert door.give(key.sign(door.options)) == "/tasks"
    assert SecurityKey.objects.get(user=user).sign_count == 9


def test_anothers_key_signs_nobody_else_in(user: User, admin: User, key: Authenticator) -> None:
    theirs = Authenticator()
    _register(signed_in(admin), theirs)
    door = Door()
    assert "none of your security keys" in door.give(theirs.sign(door.options))
    # Nor under the name of a key of the account.
    theirs.id = key.id
    assert "does not take this answer" in door.give(theirs.sign(door.options))
    assert not door.is_in


@pytest.mark.parametrize("nothing", [None, {}, [], "text", {"rawId": 7}, {"rawId": "!"}, {"id": "x", "rawId": "é"}])
def test_what_is_no_answer_is_refused(key: Authenticator, nothing: Any) -> None:
    door = Door()
    assert re.search("no answer of a security key|none of your security keys", door.give(nothing))
    assert not door.is_in


def test_wrong_answers_lock_the_account_and_count_with_wrong_codes(key: Authenticator) -> None:
    door = Door()
    for number in range(throttling.WRONG_ALLOWED):
        if number % 2:
            door.give(key.sign(door.options, origin="https://evil.example"))
        else:
            door.client.post("/login/code", {"code": "wrong"}, secure=True)
    door = Door()
    assert "Too many" in door.give(key.sign(door.options))
    assert not door.is_in
    assert JournalEntry.objects.filter(action="session.locked", after__wrong="code").count() == 1


def test_a_password_alone_opens_no_other_door_either(user: User, key: Authenticator) -> None:
    codes = recovery.renew(user)
    proof = {"name": "anna", "password": PASSWORD}
    assert APIClient().post("/api/v1/auth/token", proof).json()["code"] == "second_factor_required"
    assert APIClient().post("/api/v1/auth/token", {**proof, "code": codes[0]}).status_code == 201
    classic = Client().get(f"/vmmgr?func=vm&out=json&authinfo=anna:{PASSWORD}", secure=True)
    assert classic.json()["doc"]["error"]["$type"] == "auth"
    _row, text = create_token(user, "script")
    assert APIClient().get("/api/v1/me", headers={"Authorization": f"Bearer {text}"}).status_code == 200


def test_a_recovery_code_is_the_way_back_and_a_lost_key_is_removed(user: User, key: Authenticator) -> None:
    codes = recovery.renew(user)
    door = Door()
    assert "One of your recovery codes" in door.page and "authenticator app" not in door.page
    door.client.post("/login/code", {"code": codes[0]}, secure=True)
    assert door.is_in
    row = SecurityKey.objects.get(user=user)
    wrong = _post(door.client, f"{KEYS}/{row.pk}/remove", password="guess")
    assert (wrong.status_code, wrong.json()["field"]) == (400, "password")
    assert _post(door.client, f"{KEYS}/{row.pk}/remove", password=PASSWORD).status_code == 204
    assert not second_factor.is_on(user) and recovery.left(user) == 0
    assert JournalEntry.objects.get(action="user.key_remove").after == {"name": "blue"}
    assert _post(door.client, f"{KEYS}/{row.pk}/remove", password=PASSWORD).status_code == 404
    assert APIClient().post("/api/v1/auth/token", {"name": "anna", "password": PASSWORD}).status_code == 201


def test_guessing_the_password_of_a_removal_is_stopped(user: User, key: Authenticator) -> None:
    row = SecurityKey.objects.get(user=user)
    for _ in range(throttling.WRONG_ALLOWED):
        with pytest.raises(InvalidValue):
            second_factor.remove_key(user, row.pk, "guess")
    with pytest.raises(InvalidValue, match="Too many"):
        second_factor.remove_key(user, row.pk, PASSWORD)


def test_app_and_key_stand_beside_each_other(user: User, key: Authenticator) -> None:
    secret = totp.enrol(user).secret
    codes = totp.confirm(user, pyotp.TOTP(secret).now())
    door = Door()
    assert "authenticator app" in door.page
    assert door.give(key.sign(door.options)) == "/tasks"
    second_factor.turn_off_app(user, PASSWORD, codes[0])
    assert second_factor.is_on(user) and recovery.left(user) == 9
    assert Door().options


def test_anothers_key_is_not_removed(user: User, admin: User, key: Authenticator) -> None:
    row = SecurityKey.objects.get(user=user)
    assert _post(signed_in(admin), f"{KEYS}/{row.pk}/remove", password=PASSWORD).status_code == 404
    assert SecurityKey.objects.filter(pk=row.pk).exists()


def test_an_administrator_takes_lost_keys_away(user: User, api: APIClient, key: Authenticator) -> None:
    assert api.post(f"/api/v1/users/{user.pk}/reset-totp").status_code == 204
    assert not SecurityKey.objects.exists() and not RecoveryCode.objects.exists()
    entry = JournalEntry.objects.get(action="user.totp_reset")
    assert (entry.user_name, entry.after) == ("admin", {"app": False, "keys": 1})
    assert APIClient().post("/api/v1/auth/token", {"name": "anna", "password": PASSWORD}).status_code == 201


def test_a_registration_answers_this_browsers_challenge_once(user: User) -> None:
    client, elsewhere = signed_in(user), signed_in(user)
    key = Authenticator()
    for wrong in (
        key.make(_challenge(elsewhere)),
        key.make(_challenge(client), origin="https://evil.example"),
        key.make(_challenge(client), flags=0),
        key.make({**_challenge(client), "rp": {"id": "evil.example"}}),
        {},
        {"rawId": "AAAA"},
    ):
        answer = _post(client, KEYS, name="blue", credential=wrong)
        assert (answer.status_code, answer.json()["field"]) == (400, "credential")
        _challenge(client)
    good = key.make(_challenge(client))
    assert _post(client, KEYS, name="blue", credential=good).status_code == 201
    assert "too long" in _post(client, KEYS, name="red", credential=good).json()["detail"]
    assert SecurityKey.objects.count() == 1


def test_a_sign_ins_challenge_registers_nothing(user: User, key: Authenticator) -> None:
    door = Door()
    answer = _post(door.client, KEYS, name="mine", credential=key.sign(door.options))
    assert answer.status_code == 401


def test_names_and_keys_are_taken_once_and_there_is_a_most(
    user: User, admin: User, key: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(user)
    taken = _register(client, Authenticator())
    assert (taken.status_code, taken.json()["field"]) == (409, "name")
    copied = _register(signed_in(admin), key, "mine now")
    assert (copied.status_code, copied.json()["field"]) == (409, "credential")
    monkeypatch.setattr(security_keys, "MOST", 1)
    assert _post(client, f"{KEYS}/challenge").json()["code"] == "limit_exceeded"


def test_a_call_that_is_no_browsers_registers_nothing(user: User) -> None:
    _row, text = create_token(user, "script")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert client.post(f"{KEYS}/challenge").status_code == 403
    assert client.get(KEYS).json() == {"results": []}
    batch = {"calls": [{"method": "POST", "path": f"{KEYS}/challenge"}]}
    assert client.post("/api/v1/batch", batch, format="json").json()["results"][0]["status"] == 403


def test_neither_a_scoped_token_nor_an_administrator_inside_touches_them(user: User, key: Authenticator) -> None:
    session = signed_in(user).session
    row = SecurityKey.objects.get(user=user)
    token = origin.bind(origin.Origin(impersonated_by="admin"))
    try:
        with pytest.raises(AccessDenied):
            security_keys.begin_registration(user, session)
        with pytest.raises(AccessDenied):
            second_factor.remove_key(user, row.pk, PASSWORD)
    finally:
        origin.reset(token)
    user.scope = frozenset({"vms.view"})
    with pytest.raises(AccessDenied):
        security_keys.begin_registration(user, session)


def test_without_a_public_url_no_key_is_made_and_those_there_are_still_guard(
    user: User, key: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "public_url", "")
    client = signed_in(user)
    assert _post(client, f"{KEYS}/challenge").json()["code"] == "wrong_state"
    page = client.get("/profile", secure=True).content.decode()
    assert 'profile/do/security-key"' not in page and "profile/do/security-key-remove" in page
    door = Door()
    assert door.options == {} and "One of your recovery codes" in door.page
    assert "Try again" in door.give(key.sign({"rpId": "panel.example.org", "challenge": "AAAA"}))


def test_a_public_url_is_a_name_by_https() -> None:
    for text, value in {
        "https://Panel.Example.org/": "https://panel.example.org",
        "https://panel.example.org:443": "https://panel.example.org",
        "https://localhost:1500": "https://localhost:1500",
    }.items():
        assert parse(f"PublicUrl={text}").public_url == value
    for text in ("http://panel.example.org", "https://192.0.2.1:1500", "https://[2001:db8::1]", "https://a/b",
                 "https://a:port", "https://me@a", "panel.example.org", "https://"):  # fmt: skip
        with pytest.raises(ConfigError, match="PublicUrl"):
            parse(f"PublicUrl={text}")


@given(st.data())
def test_bytes_that_are_none_of_a_keys_are_refused_and_nothing_else(data: st.DataObject) -> None:
    key, challenge = Authenticator(), b"c" * 32
    made = key.make({"rp": {"id": "panel.example.org"}, "challenge": text_of(challenge)})
    part = data.draw(st.sampled_from(["clientDataJSON", "attestationObject"]))
    good = bytes_of(made["response"][part])
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + data.draw(st.binary(max_size=4)) + good[at + data.draw(st.integers(1, 4)) :]
    made["response"][part] = text_of(bad)
    try:
        ceremony.made_by(made, "panel.example.org", challenge)
    except InvalidValue as error:
        assert error.data["field"] == "credential"


@pytest.mark.parametrize("form", ["packed", "tpm", "apple", "android-key", "android-safetynet", "fido-u2f", "mine"])
def test_an_attestation_that_proves_nothing_is_refused(form: str) -> None:
    key, challenge = Authenticator(), b"c" * 32
    made = key.make({"rp": {"id": "panel.example.org"}, "challenge": text_of(challenge)})
    statement = {
        "x5c": [b"junk"],
        "sig": b"s",
        "alg": -7,
        "ver": "2.0",
        "certInfo": b"",
        "pubArea": b"",
        "response": b"r",
    }
    attestation = cbor2.loads(bytes_of(made["response"]["attestationObject"]))
    made["response"]["attestationObject"] = text_of(cbor2.dumps({**attestation, "fmt": form, "attStmt": statement}))
    with pytest.raises(InvalidValue, match="does not take"):
        ceremony.made_by(made, "panel.example.org", challenge)
