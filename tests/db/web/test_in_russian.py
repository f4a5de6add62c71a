"""Whoever reads Russian reads no English on any page, wherever the words come from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from django.test import Client

from panel.accounts.models import Level, User
from panel.core import wording
from panel.options import OPTIONS
from tests.browser import routes, sample
from tests.unit.web.test_translations import LATIN, NAMES, Spoken

WORDS = """
main shop mail database-of-the-shop staging build archive old lost by-hand node1 node2 local private admin anna
boris vera Operator laptop billing Start Business start business debian-12 rocky-9 Debian Rocky Linux GNU
bookworm AMD EPYC drivers Drivers rescue Rescue system before-upgrade after-upgrade Before the upgrade timed
out example com https hooks root English org ns1 vm domain name ip
bond0 eno1 eno2 LACP ad active-backup balance-xor balance-rr balance-tlb balance-alb
office web Who works for the shop in any tcp udp from out
"""
SAID_BY_PEOPLE = frozenset(WORDS.split())
"""Words of the sample, which are the same in each language."""
DEVICES = re.compile(
    r"\b(ssh-ed25519 \S+ \S+|vd[a-z]|[0-9a-f]{2}(:[0-9a-f]{2}){5}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\b"
)
"""Keys, names that a guest has for disks, MAC addresses, UUIDs."""
with wording.read_in("ru"):
    HELP = {wording.translated(each.help) for each in OPTIONS}
"""What options are for: it names files, programs and other options."""
UNCONVERTED: set[str] = set()
"""Pages that still say something in English. It is to become empty: one that does not any more fails, too."""


@pytest.fixture
def ids(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """A panel with something of everything, whose people read Russian."""
    User.objects.create(name=sample.ADMIN, password="!", level=Level.SUPER)
    sample.make()
    User.objects.update(language="ru")
    return dict(json.loads(capsys.readouterr().out.partition("MADE")[2].splitlines()[0]))


def english(page: str) -> Iterator[str]:
    """The texts of a page that have words in Latin letters which are no names."""
    parser = Spoken()
    parser.feed(page)
    parser.close()
    for text in parser.said:
        words = LATIN.findall(DEVICES.sub("", text))
        if any(word not in NAMES | SAID_BY_PEOPLE for word in words):
            yield text


def test_no_dialog_of_an_operation_says_anything_in_english(ids: dict[str, object]) -> None:
    client = Client()
    client.force_login(User.objects.get(name=sample.ADMIN))
    found = {}
    for name, path in routes.dialogs(ids).items():
        answer = client.get(path, secure=True)
        assert answer.status_code == 200, name
        if said := list(english(answer.content.decode())):
            found[name] = said
    assert found.pop("vm.revert-snapshot"), "take what is converted from here: what drift says of a VM"
    assert not found, json.dumps(found, indent=1, ensure_ascii=False)


@pytest.mark.parametrize("viewer", [sample.ADMIN, sample.CUSTOMER])
def test_no_page_says_anything_in_english(ids: dict[str, object], viewer: str) -> None:
    client = Client()
    client.force_login(User.objects.get(name=viewer))
    found: dict[str, list[str]] = {}
    for name in routes.pages():
        if viewer in routes.viewers_of(name) and name != "api-docs":
            answer = client.get(routes.path_of(name, ids), secure=True, headers={"accept-language": "ru"})
            assert b"<html" in answer.content, name
            said = [each for each in dict.fromkeys(english(answer.content.decode())) if each not in HELP]
            if said:
                found[name] = said
    new = {name: said for name, said in found.items() if name not in UNCONVERTED}
    assert not new, json.dumps(new, indent=1, ensure_ascii=False)
    converted = {name for name in UNCONVERTED - found.keys() if viewer == sample.ADMIN}
    assert not converted, "take them from UNCONVERTED"
