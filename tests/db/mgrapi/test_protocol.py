"""How the classic API is spoken to, whatever the function."""

from __future__ import annotations

import json
import logging
import xml.etree.ElementTree as ET

import pytest
from django.conf import settings
from django.test import Client
from rest_framework.test import APIClient

from panel.accounts.models import User
from panel.core import rates
from panel.tasks.models import Task
from tests.db.mgrapi.classic import ADDRESS, BROWSER, PASSWORD, World, call, doc_of, error_of, rows_of


@pytest.mark.parametrize("method", ["get", "post"])
def test_what_was_done_repeats_the_call_without_its_proof_and_nothing_between_tags(admin: User, method: str) -> None:
    text = call(method, func="vmwatch.configure", out="xml", authinfo=f"admin:{PASSWORD}", lang="xx", progressid="1")
    task = Task.objects.get(operation="vmwatch.configure")
    assert task.created_by == admin
    echoed = "<out>xml</out><func>vmwatch.configure</func><lang>xx</lang><progressid>1</progressid>"
    done = f"<doc><task>{task.pk}</task><ok/><tparams>{echoed}</tparams></doc>"
    assert text == '<?xml version="1.0" encoding="UTF-8"?>\n' + done


@pytest.mark.parametrize("out", ["json", "sjson", "bjson", "xjson", "JSONdata"])
def test_every_kind_of_json_is_the_same(admin: User, out: str) -> None:
    text = call(func="vmwatch.configure", out=out, plid="<1>", authinfo=f"admin:{PASSWORD}")
    assert PASSWORD not in text
    echoed = {name: {"$": value} for name, value in (("out", out), ("func", "vmwatch.configure"), ("plid", "<1>"))}
    assert json.loads(text) == {"doc": {"task": {"$": str(Task.objects.get().pk)}, "ok": {}, "tparams": echoed}}


def test_text_has_a_row_or_a_value_a_line(world: World) -> None:
    assert world.call("anna", "vmmini", out="text") == "id=237 name=shop ip=10.77.0.10 vmstatus=running\n"
    assert "mem=128\nvcpu=1\n" in world.call("anna", "vm.edit", out="text", elid="237")
    assert world.call("anna", "vm.restart", out="text", elid="237") == "OK\n"
    assert world.call("anna", "vm.restart", out="text", elid="1").startswith("ERROR missed(vm) ")


def test_a_list_of_none_is_an_empty_array(world: World) -> None:
    assert json.loads(world.call("bert", "vm", out="json")) == {"doc": {"elem": []}}
    assert world.call("bert", "vm").endswith("\n<doc/>")


def test_flags_are_there_only_while_true(world: World) -> None:
    assert "installos" not in rows_of(world.call("anna", "vm"))[0]
    world.vm.installed = False
    world.vm.save()
    row = rows_of(world.call("anna", "vm"))[0]
    assert row["installos"] and row["installing"]


@pytest.mark.parametrize(
    ("fields", "found"),
    [({"name": "SHO"}, 1), ({"name": "x"}, 0), ({"id": "237"}, 1), ({"ip": "10.77.0.10", "user": "anna"}, 1)],
)
def test_a_list_is_filtered_by_its_fields_once_that_is_asked_for(
    world: World, fields: dict[str, str], found: int
) -> None:
    assert len(rows_of(world.call("admin", "vm", filter="on", **fields))) == found
    assert len(rows_of(world.call("admin", "vm", **fields))) == 1


def test_a_list_comes_in_pages_once_they_are_asked_for(world: World) -> None:
    names = [row["name"] for row in rows_of(world.call("anna", "preset"))]
    pages = [rows_of(world.call("anna", "preset", p_cnt="3", p_num=str(number))) for number in (1, 2, 3)]
    assert [[row["name"] for row in page] for page in pages] == [names[:3], names[3:], []]


def test_an_unknown_function_is_said_and_no_function_answers_who_calls(world: World) -> None:
    assert error_of(world.call("admin", "no.such")) == ("missed", "func")
    assert error_of(world.call("nobody", "no.such")) == ("auth", "badpassword")
    assert doc_of(world.call("watcher", "")).findtext("level") == "28"


@pytest.mark.parametrize(
    ("func", "params", "page"),
    [
        ("vm", {}, "/vms"),
        ("vmhostnode", {}, "/nodes"),
        ("vmhostnode.info", {"elid": "20"}, "/nodes/20"),
        ("vm.edit", {}, "/vms/new"),
        ("vm.edit", {"elid": "237"}, "/vms/237"),
        ("iplist", {"plid": "237"}, "/vms/237/devices"),
        ("user.edit", {"elid": "11"}, "/users/11"),
        ("iso", {}, "/isos"),
        ("novnc", {"elid": "237"}, "/vms/237/console"),
        ("auth", {}, "/login"),
    ],
)
def test_without_out_a_browser_is_led_to_the_page(world: World, func: str, params: dict[str, str], page: str) -> None:
    answer = Client(REMOTE_ADDR=ADDRESS, headers=BROWSER).get("/vmmgr", {"func": func, **params}, secure=True)
    assert (answer.status_code, answer.headers.get("Location")) == (302, page)


def test_without_out_what_is_asked_for_with_a_proof_is_done_first(world: World) -> None:
    asked = {"func": "vm.restart", "elid": "237", "auth": world.sessions["anna"]}
    browser = Client(REMOTE_ADDR=ADDRESS, headers=BROWSER)
    answer = browser.get("/vmmgr", asked, secure=True)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/vms/237")
    assert Task.objects.get().operation == "vm.restart"
    answer = browser.get("/vmmgr", {**asked, "func": "vm.delete", "elid": "1"}, secure=True)
    assert error_of(answer.content.decode()) == ("missed", "vm")


def test_what_is_sent_cannot_break_the_document(world: World) -> None:
    text = world.call("admin", "<x>&\x00", **{"a<b": "1", "plid": "</tparams>\x01"})
    assert error_of(text) == ("missed", "func")
    done = world.call("admin", "vmwatch.configure", **{"a<b": "1", "plid": "</tparams>\x01"})
    assert ET.fromstring(done).findtext("tparams/plid") == "</tparams>"
    assert error_of(world.call("admin", "vmhostnode.edit", sok="ok", name='"\n<', ip="x")) == ("value", "name")


@pytest.mark.parametrize("name", ["µ", "ª", "1st", "-a", ".a", "a:b", "xmlns:x", "a b", "a\n", ""])
def test_a_parameter_whose_name_is_no_tag_is_not_repeated(admin: User, name: str) -> None:
    odd = {name: "1", "zone_id.first-x": "2"}
    done = ET.fromstring(call(func="vmwatch.configure", out="xml", authinfo=f"admin:{PASSWORD}", **odd))
    assert [each.tag for each in done.findall("tparams/*")] == ["out", "func", "zone_id.first-x"]


def test_a_form_that_cannot_be_read_is_said(world: World) -> None:
    client = Client(REMOTE_ADDR=ADDRESS, raise_request_exception=False)
    many = "&".join(f"p{number}=1" for number in range(1100))
    answer = client.post("/vmmgr", many, content_type="application/x-www-form-urlencoded", secure=True)
    assert (answer.status_code, error_of(answer.content.decode())) == (200, ("value", "form"))
    answer = client.post("/vmmgr", b"x", content_type="multipart/form-data; boundary=", secure=True)
    assert (answer.status_code, error_of(answer.content.decode())) == (200, ("value", "form"))


def test_what_fails_unforeseen_is_an_error_document_and_in_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setitem(__import__("panel.mgrapi.views").mgrapi.views.FUNCTIONS, "vm", broken)
    text = world.call("anna", "vm")
    assert error_of(text) == ("internal", "func") and "a fault" not in text
    assert "a fault" in caplog.text


def test_passwords_are_in_no_log(admin: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        call(func="vmwatch.configure", out="xml", authinfo="admin:a wrong secret")
        call(func="auth", out="xml", username="admin", password=PASSWORD)
        call(func="vmwatch.configure", out="xml", authinfo=f"admin:{PASSWORD}")
    assert "a wrong secret" not in caplog.text and PASSWORD not in caplog.text


def test_calls_count_as_those_of_rest_do_each_object_as_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    api = APIClient()
    monkeypatch.setattr(rates.time, "time", lambda: 60_000.0)
    monkeypatch.setattr(settings.CONFIG, "rate_limit_address", 6)
    assert api.get("/api/v1/me", REMOTE_ADDR=ADDRESS).headers["RateLimit-Remaining"] == "5"
    world.call("anna", "vm.restart", elid="1,2,3")
    assert rows_of(world.call("anna", "vm"))
    before = Task.objects.count()
    assert error_of(world.call("anna", "vm.restart", elid="237,1")) == ("limit", "throttled")
    assert Task.objects.count() == before
    assert api.get("/api/v1/me", REMOTE_ADDR=ADDRESS).status_code == 429
