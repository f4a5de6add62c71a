"""Every function of the classic API, asked as clients ask, in XML and JSON; the answers are compared with files.

`pytest tests/db/mgrapi --regenerate` writes the files, and docs/classic-api.md, anew.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import transaction
from django.test import Client

from panel.mgrapi.functions import FUNCTIONS, SIGNING_IN
from tests.db.mgrapi.classic import BROWSER, World, number_anew
from tests.db.mgrapi.exchanges import EXCHANGES, Exchange

FILES = Path(__file__).parents[2] / "golden" / "mgrapi"
DOCS = Path(__file__).parents[3] / "docs" / "classic-api.md"
MARK = "<!-- From here on written by tests/db/mgrapi/test_exchanges.py -->\n"
FORMS = {"program": ("xml", "json"), "script": ("",), "browser": ("",)}
"""In which forms an answer is kept."""
SECRETS = ("correct horse", "a secret word", "not the password")


def file_of(func: str) -> Path:
    """Where a function's exchanges are."""
    return FILES / f"{func or 'empty'}.txt"


def told(func: str, exchange: Exchange) -> str:
    """A call as one line; who makes it stands for the proof, and secrets are left out."""
    params = {"func": func, **({"auth": "SID"} if exchange.by == "browser" else {}), **exchange.params}
    told = {name: "…" if value in SECRETS else quote(value, safe=":,@ /") for name, value in params.items()}
    return f"{exchange.who}{'' if exchange.by == 'program' else f' ({exchange.by})'}: " + "&".join(
        f"{name}={value}" for name, value in told.items()
    )


def answers_of(world: World, func: str) -> str:
    """The exchanges of a function as its file has them. Nothing that they do stays."""
    number_anew()
    found = []
    for exchange in EXCHANGES[func]:
        answers = [rolled_back(world, exchange, func, out) for out in FORMS[exchange.by]]
        assert not any(secret in answer for secret in SECRETS for answer in answers)
        if exchange.by == "program":
            assert_same(ET.fromstring(answers[0]), json.loads(answers[1])["doc"])
        found.append(f"# {exchange.text}\n> {told(func, exchange)}\n" + "".join(f"{each}\n" for each in answers))
    return "\n".join(found)


def rolled_back(world: World, exchange: Exchange, func: str, out: str) -> str:
    """The answer to a call of which nothing stays."""
    with transaction.atomic():
        if exchange.by == "browser":
            browser = Client(REMOTE_ADDR="203.0.113.7", headers=BROWSER)
            asked = {"func": func, "auth": world.sessions[exchange.who], **exchange.params}
            answer = browser.get("/vmmgr", asked, secure=True)
            text = f"{answer.status_code} {answer.headers['Location']}"
        else:
            text = world.steady(world.call(exchange.who, func, out=out, **exchange.params))
        transaction.set_rollback(True)
    return text


@pytest.fixture
def counted_anew(transactional_db: None) -> None:
    """Numbers of rows are the same in every run."""
    number_anew()


def test_every_function_answers_as_it_did(counted_anew: None, world: World, regenerate: bool) -> None:
    found = {func: answers_of(world, func) for func in EXCHANGES}
    if regenerate:
        FILES.mkdir(exist_ok=True)
        for func, text in found.items():
            file_of(func).write_text(text, encoding="utf-8")
    assert found == {func: file_of(func).read_text(encoding="utf-8") for func in EXCHANGES}


def assert_same(element: ET.Element, value: object) -> None:
    """The JSON says what the XML says, with numbers of tasks and new objects aside: both calls were made."""
    assert isinstance(value, dict)
    assert {f"${name}": text for name, text in element.attrib.items() if name != "id"}.items() <= value.items()
    for child in element:
        inner = value[child.tag]
        if isinstance(inner, list):
            same = element.findall(child.tag)
            assert len(inner) == len(same)
            inner = inner[same.index(child)]
        assert_same(child, inner)
    if not len(element) and "$orig" in value:
        assert value["$orig"] == element.text
    elif not len(element) and element.tag not in ("id", "elid", "ip", "task", "auth", "out", "doc", "elem", "tparams"):
        assert value.get("$", "") == (element.text or "")


def test_every_function_has_exchanges_and_every_file_a_function() -> None:
    assert set(EXCHANGES) == {*FUNCTIONS, *SIGNING_IN}
    assert {path.name for path in FILES.glob("*")} == {file_of(func).name for func in EXCHANGES}


def test_the_page_tells_every_function_by_its_exchanges(regenerate: bool) -> None:
    head, _, _ = DOCS.read_text(encoding="utf-8").partition(MARK)
    parts = []
    for func in sorted(EXCHANGES):
        doc = ({**FUNCTIONS, **SIGNING_IN}[func].__doc__ or "").partition("\n")[0]
        exchanges = file_of(func).read_text(encoding="utf-8").rstrip("\n")
        parts.append(f"## {f'`{func}`' if func else 'No function'}\n{doc}\n```\n{exchanges}\n```\n")
    text = f"{head}{MARK}\n" + "\n".join(parts)
    if regenerate:
        DOCS.write_text(text, encoding="utf-8")
    assert text == DOCS.read_text(encoding="utf-8")
