"""The classic dispatcher under nonsense: no answer is anything but a document or a way to a page.

A run has as many requests as SECONDS give; `VMPANEL_FUZZ=100000` makes so many. The seed and the number of a
request make it again: `request_of(SEED, number, …)`.
"""

from __future__ import annotations

import json
import os
import random
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from panel.mgrapi.functions import FUNCTIONS, SIGNING_IN
from tests.db.mgrapi.classic import ADDRESS, BROWSER, World

SEED = 5
SECONDS = 12.0
LEAST = 100
EVERY = 500
"""After how many requests a run tells how far it is."""
WANTED = int(os.environ.get("VMPANEL_FUZZ", "0"))
FUNCS = ["no.such", "<x>", "vm.edit.x", *FUNCTIONS, *SIGNING_IN]
OUTS = ["xml", "json", "sjson", "bjson", "JSONdata", "text", "", "devel", "<>"]
NAMES = [
    "elid",
    "plid",
    "sok",
    "su",
    "lang",
    "p_cnt",
    "p_num",
    "filter",
    "clicked_button",
    "progressid",
    "newwindow",
    "operafake",
    "sfrom",
    "id",
    "name",
    "user",
    "preset",
    "hostnode",
    "installtype",
    "vmi",
    "iso",
    "osname",
    "recipe",
    "family",
    "iptype",
    "ip",
    "domain",
    "vsize",
    "mem",
    "vcpu",
    "cputune",
    "blkiotune",
    "inbound",
    "outbound",
    "cpu_mode",
    "clock_offset",
    "password",
    "passwd",
    "confirm",
    "sshpubkey",
    "blocked",
    "username",
    "key",
    "checkcookie",
    "level",
    "isolimitsize",
    "isolimitnum",
    "snapshot_limit",
    "type",
    "period",
    "server",
    "maxvmcount",
    "sshport",
    "sshuser",
    "title",
    "rotate",
    "status",
    "auth",
    "authinfo",
]
VALUES = [
    "237",
    "238",
    "20",
    "70",
    "50",
    "10",
    "11",
    "0",
    "1",
    "-1",
    "00",
    "1e3",
    "99999999999999999999",
    "2147483647",
    "2147483648",
    "0x10",
    "٣",
    "ok",
    "on",
    "off",
    "yes",
    "null",
    "auto",
    "ipv4",
    "ipv6",
    "private",
    "public",
    "nat",
    "special",
    "10.77.0.0/24",
    "10.77.0.0/99",
    "ajax",
    "installtemplate",
    "installiso",
    "vmpanel__small",
    "small",
    "__",
    "a__b__c",
    "shop",
    "blog",
    "anna",
    "bert",
    "admin",
    "system",
    "watcher",
    "../../etc/passwd",
    "';",
    "{{7*7}}",
    "%s",
    "%n",
    "$(id)",
    "`id`",
    "<x/>",
    "]]>",
    "&amp;",
    "\x00",
    "\u202e",
    "\ud7ff",
    "💥",
    "é",
    "host-model",
    "custom",
    "utc",
    "localtime",
    "default",
    "day",
    "currentmonth",
    "currentyear",
    "lastmonth",
    "correct",
    "vm.edit",
    "vm.view",
    "vms.create",
    "10.77.0.10",
    "::1",
    "1,2",
    "237,,238",
    "237,237",
    ",",
    "16",
    "29",
    "30",
    "7",
    "0.5",
    "true",
    "None",
    "[]",
    "{}",
    "1024",
    "10240",
    "128",
    ":",
]
ODD = ["", " ", "\n", "a b", "237, 238", "x" * 70, "9" * 5000, "ssh-ed25519 AAAA a\nssh-rsa BBBB b", "\x00\x01", "a:b"]


def request_of(seed: int, number: int, sessions: list[str]) -> tuple[str, dict[str, Any], dict[str, str]]:
    """The method, the parameters and the headers of a request."""
    chance = random.Random(seed * 10_000_019 + number)
    params: dict[str, Any] = {"func": chance.choice(FUNCS), "out": chance.choice(OUTS)}
    if chance.random() < 0.95:
        params["auth"] = chance.choice(sessions)
    if chance.random() < 0.6:
        params["sok"] = "ok"
    if chance.random() < 0.6:
        params["elid"] = chance.choice(["237", "20", "70", "anna", "small", "237, 238"])
    if chance.random() < 0.3:
        params |= {"name": chance.choice(["blog", "a_b", "shop"]), "vmi": "small", "preset": "small"}
    for _ in range(chance.randrange(8)):
        name = chance.choice(NAMES) if chance.random() < 0.95 else chance.choice(ODD + VALUES)
        # Passwords are slow by purpose; a few are enough.
        if name in ("authinfo", "username") and chance.random() < 0.95:
            continue
        params[name] = chance.choice(VALUES) if chance.random() < 0.85 else chance.choice(ODD)
    return chance.choice(["get", "post"]), params, chance.choice([BROWSER, {}])


def complaint_of(method: str, params: dict[str, Any], headers: dict[str, str]) -> str:
    """What is wrong with the answer to a request; empty for nothing."""
    client = Client(REMOTE_ADDR=ADDRESS, raise_request_exception=False, headers=headers)
    answer = getattr(client, method)("/vmmgr", params, secure=True)
    text = answer.content.decode()
    if answer.status_code == 302:
        return "" if not params["out"] and answer.headers["Location"].startswith("/") else "an unwanted redirect"
    if answer.status_code != 200:
        return f"status {answer.status_code}"
    kind = answer.headers["Content-Type"].partition(";")[0]
    if "internal" in text:
        return text
    try:
        if kind == "text/xml":
            assert ET.fromstring(text).tag == "doc"
        elif kind == "application/json":
            assert set(json.loads(text)) == {"doc"} or not params["out"]
        else:
            assert kind == "text/plain"
    except (ET.ParseError, ValueError, AssertionError):
        return f"no document: {text[:200]}"
    return ""


def tell(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print it at once."""
    with capsys.disabled():
        print(text, end="", flush=True)


@pytest.mark.timeout(6 * 3600)
def test_nonsense_is_answered_by_documents(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    sessions = list(world.sessions.values())
    began, number, found = time.monotonic(), 0, []
    while number < max(WANTED, LEAST) or (not WANTED and time.monotonic() - began < SECONDS):
        request = request_of(SEED, number, sessions)
        with transaction.atomic():
            if complaint := complaint_of(*request):
                found.append((number, complaint, request))
            transaction.set_rollback(True)
        number += 1
        if number % EVERY == 0:
            tell(capsys, f" {number} requests in {time.monotonic() - began:.0f} s, {len(found)} badly answered\n")
    assert found == []
