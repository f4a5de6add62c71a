"""The classic API, as clients of VMmanager 5 call it."""

from __future__ import annotations

import json
import logging
import xml.etree.ElementTree as ET

import pytest
import redis
from django.conf import settings
from django.test import Client

from panel.accounts.backend import WRONG_ALLOWED
from panel.accounts.models import User
from panel.tasks.models import Task

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """No wrong password of an earlier test counts."""
    redis.Redis.from_url(settings.CONFIG.redis_url).flushall()


def call(method: str = "get", address: str = "192.0.2.1", **params: str) -> str:
    """The document that a call is answered with."""
    answer = getattr(Client(enforce_csrf_checks=True, REMOTE_ADDR=address), method)("/vmmgr", params, secure=True)
    assert answer.status_code == 200
    content: str = answer.content.decode()
    return content


def error_of(text: str) -> tuple[str | None, str | None]:
    """Type and object of the error."""
    element = ET.fromstring(text).find("error")
    assert element is not None and element.findtext("msg")
    return element.get("type"), element.get("object")


@pytest.mark.parametrize("method", ["get", "post"])
def test_vmwatch_is_configured_and_the_answer_repeats_the_call_without_its_proof(admin: User, method: str) -> None:
    text = call(method, func="vmwatch.configure", out="xml", authinfo=f"admin:{PASSWORD}")
    task = Task.objects.get(operation="vmwatch.configure")
    assert task.created_by == admin
    tail = f"<doc><task>{task.pk}</task><ok /><tparams><out>xml</out><func>vmwatch.configure</func></tparams></doc>"
    assert text.endswith(tail)
    assert PASSWORD not in text


def test_the_same_as_json(admin: User) -> None:
    text = call(func="vmwatch.configure", out="json", plid="<1>", authinfo=f"admin:{PASSWORD}")
    assert PASSWORD not in text
    echoed = {name: {"$": value} for name, value in (("out", "json"), ("func", "vmwatch.configure"), ("plid", "<1>"))}
    assert json.loads(text) == {"doc": {"task": {"$": str(Task.objects.get().pk)}, "ok": {}, "tparams": echoed}}


@pytest.mark.parametrize("authinfo", ["", "admin", "admin:wrong", "nobody:correct horse"])
def test_without_the_right_password_nothing_is_done(admin: User, authinfo: str) -> None:
    assert error_of(call(func="vmwatch.configure", authinfo=authinfo)) == ("auth", "badpassword")
    assert not Task.objects.exists()


def test_after_many_wrong_passwords_the_right_one_is_refused_too_from_that_address_alone(admin: User) -> None:
    for number in range(WRONG_ALLOWED):
        assert error_of(call(func="vmwatch.configure", authinfo=f"admin:guess {number}")) == ("auth", "badpassword")
    assert error_of(call(func="vmwatch.configure", authinfo=f"admin:{PASSWORD}")) == ("auth", "badpassword")
    assert not Task.objects.exists()
    call(func="vmwatch.configure", authinfo=f"admin:{PASSWORD}", address="192.0.2.2")
    assert Task.objects.count() == 1


def test_a_customer_may_not(user: User) -> None:
    assert error_of(call(func="vmwatch.configure", authinfo=f"anna:{PASSWORD}"))[0] == "access"


def test_an_unknown_function_and_none_are_said(admin: User) -> None:
    assert error_of(call(func="no.such", authinfo=f"admin:{PASSWORD}")) == ("missed", "func")
    assert error_of(call(authinfo=f"admin:{PASSWORD}")) == ("missed", "func")


def test_what_is_sent_cannot_break_the_document(admin: User) -> None:
    text = call(func="<x>&\x00", authinfo=f"admin:{PASSWORD}", **{"a<b": "1", "plid": "</tparams>\x01"})
    assert error_of(text) == ("missed", "func")
    done = call(func="vmwatch.configure", authinfo=f"admin:{PASSWORD}", **{"a<b": "1", "plid": "</tparams>\x01"})
    assert ET.fromstring(done).findtext("tparams/plid") == "</tparams>"


@pytest.mark.parametrize("name", ["µ", "ª", "1st", "-a", ".a", "a:b", "xmlns:x", "a b", "a\n", ""])
def test_a_parameter_whose_name_is_no_tag_is_not_repeated(admin: User, name: str) -> None:
    odd = {name: "1", "zone_id.first-x": "2"}
    done = ET.fromstring(call(func="vmwatch.configure", authinfo=f"admin:{PASSWORD}", **odd))
    assert [each.tag for each in done.findall("tparams/*")] == ["func", "zone_id.first-x"]


def test_passwords_are_in_no_log(admin: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        call(func="vmwatch.configure", authinfo="admin:a wrong secret")
        call(func="vmwatch.configure", authinfo=f"admin:{PASSWORD}")
    assert "a wrong secret" not in caplog.text and PASSWORD not in caplog.text
