"""Texts at the edge: a template and data, of which the sentence is made when it is shown, for its reader.

A template is an English sentence with named fields, and the key of the catalogues (panel/locale).
What is no template, such as another program's words, is a Text without data: it is never filled in.
See docs/decisions/0023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from panel.core import catalogue

LOCALE = Path(__file__).parent.parent / "locale"
ENGLISH = "en"
LANGUAGES = (ENGLISH, "ru")
NODE_FIELDS = (" “{node}”", " «{node}»", " {node}", " {worker}")
"""How templates name a node, or a worker's machine; who may not know nodes is shown the sentence without it."""
UNNAMED = {
    "node": "a node",
    "other_node": "a node",
    "source_node": "a node",
    "target_node": "a node",
    "successor": "another",
}
"""What stands for it where it is named otherwise, without its quotation marks."""
NOUNS = frozenset({"object", "step", "state"})
"""Fields whose value is a word or a title of ours, which has a translation itself."""

OWN_NAMES = frozenset(
    {"vm", "vms", "name", "owner", "by", "snapshot", "snapshots", "domain", "pool", "network", "image"}
)
"""Fields whose value is what people called a thing that is no node."""

_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


def bind(language: str) -> Token[str]:
    """Put the reader's language in force; one that has no catalogue is English."""
    return _language.set(language if language in LANGUAGES else ENGLISH)


def reset(token: Token[str]) -> None:
    """Take back what bind() did."""
    _language.reset(token)


@contextmanager
def read_in(language: str) -> Iterator[None]:
    """Have this language in force for the block."""
    token = bind(language)
    try:
        yield
    finally:
        reset(token)


def current() -> str:
    """The language of whoever reads what is made now."""
    return _language.get()


def translated(template: str) -> str:
    """The template in the reader's language; as it is where no catalogue has it."""
    return _catalogue(current()).get(template, template)


def _is_ours(sentence: str) -> bool:
    """Whether it is a sentence of the panel's source, which names nothing: every one has its translations."""
    return any(sentence in _catalogue(language) for language in LANGUAGES)


@cache
def _catalogue(language: str) -> dict[str, str]:
    return catalogue.read(folder_of(language))


def folder_of(language: str) -> Path:
    """Where the language's catalogues are; English has none."""
    return LOCALE / language / "LC_MESSAGES"


@dataclass(frozen=True)
class Text:
    """A sentence that is not made yet. `data` fills the template; None: it is a finished sentence.

    A value may be a Text itself: a line of a log that has an error's.
    """

    template: str
    data: Mapping[str, Any] | None = None

    @property
    def english(self) -> str:
        """The sentence as logs have it, and rows for earlier releases."""
        data = {name: each.english if isinstance(each, Text) else each for name, each in (self.data or {}).items()}
        return self._filled(self.template, data)

    def shown(self, *, nodes: bool, foreign: Callable[[str], str] = str) -> str:
        """The sentence in the reader's language, without the node that it names for who may not know `nodes`.

        What is not ours passes through `foreign`: finished sentences that no catalogue has (of earlier releases, of
        other programs), and values that may be another program's words.
        """
        if self.data is None:
            return translated(self.template) if _is_ours(self.template) else foreign(self.template)
        template = translated(self.template)
        data = {name: self._value(name, each, nodes, foreign) for name, each in self.data.items()}
        return self._filled(template if nodes else _without_node(template), data)

    @staticmethod
    def _value(name: str, value: Any, nodes: bool, foreign: Callable[[str], str]) -> Any:
        if isinstance(value, Text):
            return value.shown(nodes=nodes, foreign=foreign)
        if not nodes and name in UNNAMED:
            return translated(UNNAMED[name])
        if name in NOUNS:
            return translated(str(value))
        return foreign(value) if isinstance(value, str) and name not in OWN_NAMES else value

    def _filled(self, template: str, data: Mapping[str, Any]) -> str:
        if self.data is None:
            return template
        try:
            return template.format_map(data)
        except (LookupError, ValueError, TypeError):
            # Better a gap than no error at all.
            return template

    def as_dict(self) -> dict[str, Any]:
        """As rows have it."""
        if self.data is None:
            return {"template": self.template, "data": None}
        data = {name: each.as_dict() if isinstance(each, Text) else each for name, each in self.data.items()}
        return {"template": self.template, "data": data}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Text:
        """What as_dict() stored."""
        if stored["data"] is None:
            return cls(stored["template"])
        return cls(stored["template"], {name: _from_row(each) for name, each in stored["data"].items()})


def of_row(english: str, said: Mapping[str, Any] | None) -> Text:
    """What a row tells: the Text that it has, or the English alone that an earlier release wrote."""
    return Text.from_dict(said) if said is not None else Text(english)


def for_row(text: str | Text) -> tuple[str, dict[str, Any] | None]:
    """The English, and what else a row has of it: None for a finished sentence."""
    return (text.english, text.as_dict()) if isinstance(text, Text) else (text, None)


def in_row(text: Text) -> dict[str, Any] | str:
    """A Text as JSON that from_row() reads; a finished sentence as it is."""
    return text.template if text.data is None else text.as_dict()


def from_row(stored: Mapping[str, Any] | str) -> Text:
    """What in_row() made; releases before stored the English alone."""
    return Text(stored) if isinstance(stored, str) else Text.from_dict(stored)


def joined(parts: Iterable[str | Text], separator: str = "; ") -> Text:
    """Texts one after the other, each shown as it is alone; a string is a finished sentence."""
    data = {f"part{number}": each for number, each in enumerate(parts)}
    return Text(separator.join(f"{{{name}}}" for name in data), data)


def one_of(name: str, choices: Iterable[str]) -> Text:
    """That a value of this name must be one of these."""
    return Text("“{name}” must be one of {choices}.", {"name": name, "choices": ", ".join(choices)})


def _from_row(value: Any) -> Any:
    is_text = isinstance(value, dict) and value.keys() == {"template", "data"}
    return Text.from_dict(value) if is_text else value


def _without_node(template: str) -> str:
    for named in NODE_FIELDS:
        template = template.replace(named, "")
    for name in UNNAMED:
        template = template.replace(f"“{{{name}}}”", f"{{{name}}}").replace(f"«{{{name}}}»", f"{{{name}}}")
    return template
