"""Names, titles, reasons and secrets, as every interface's values are read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, SecretStr

from panel.core.errors import InvalidValue
from panel.core.validation import Params, parse, plain_name

HARMFUL = [
    "a\x00b",
    "a\x1b[2Jb",
    "a\x7fb",
    "a\x9bb",
    "a\nb",
    "a\r\nb",
    "a\tb",
    "a\u2028b",
    "a\u202eb",
    "a\u2066b",
    "a\ufeffb",
]
FINE = ["web 1", "Größe", "имя", "👩\u200d💻", "naïve – “quoted”", "a\\b [c] <d> & 'e'"]


class Values(Params):
    """Fields of each kind."""

    name: str = ""
    title: str = ""
    reason: str = ""
    description: str = ""
    names: list[str] = Field(default_factory=list)
    by_name: dict[str, str] = Field(default_factory=dict)
    password: SecretStr | None = None


@pytest.mark.parametrize("text", HARMFUL)
def test_a_name_that_does_harm_to_a_terminal_is_refused_with_its_field(text: str) -> None:
    for field, value in {"name": text, "names": ["fine", text], "by_name": {"one": text}}.items():
        with pytest.raises(InvalidValue, match="control characters") as refused:
            parse(Values, {field: value})
        assert refused.value.field == field
    with pytest.raises(InvalidValue, match="control characters"):
        plain_name(text)


@pytest.mark.parametrize("text", FINE)
def test_what_people_write_is_taken(text: str) -> None:
    taken = parse(Values, {"name": f" {text} ", "title": text, "names": [text]})
    assert (taken.name, taken.title, taken.names) == (text, text, [text])
    assert plain_name(f" {text}\n") == text


@pytest.mark.parametrize("text", ["one\r\ntwo", "one\ttwo", "one\xa0two", "one\u2028two", " one \x0b\ttwo\n"])
def test_a_title_or_reason_becomes_one_line(text: str) -> None:
    taken = parse(Values, {"title": text, "reason": text})
    assert " ".join(taken.title.split()) == taken.title.replace("  ", " ") == "one two"
    assert taken.reason == taken.title


def test_a_title_with_other_control_characters_is_refused_and_a_description_has_lines() -> None:
    assert parse(Values, {"description": "one\n\ttwo\r\n"}).description == "one\n\ttwo"
    bad: tuple[dict[str, Any], ...] = ({"title": "a\x1bb"}, {"description": "a\x1bb"}, {"description": "a\u202eb"})
    for each in bad:
        with pytest.raises(InvalidValue, match="control characters"):
            parse(Values, each)


def test_a_secret_is_taken_as_it_is() -> None:
    taken = parse(Values, {"password": " \xa0secret\t "})
    assert taken.password is not None and taken.password.get_secret_value() == " \xa0secret\t "
