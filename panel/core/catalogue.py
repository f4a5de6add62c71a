"""Reading gettext's catalogues as translators write them (`*.po`), so that nothing has to be compiled.

A language has a folder of them, each with what belongs together; all of its files are one catalogue.
"""

from __future__ import annotations

import gettext
import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = 0x950412DE
"""What a compiled catalogue begins with (GNU gettext's manual, “The Format of GNU MO Files”)."""


@dataclass
class Entry:
    """One message: its key, how the key is said of many ("" where it has no number), and its translations."""

    msgid: str = ""
    msgid_plural: str = ""
    msgctxt: str = ""
    msgstr: dict[int, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key as compiled catalogues have it."""
        both = f"{self.msgid}\0{self.msgid_plural}" if self.msgid_plural else self.msgid
        return f"{self.msgctxt}\4{both}" if self.msgctxt else both

    @property
    def value(self) -> str:
        """The translations as compiled catalogues have them."""
        return "\0".join(text for _, text in sorted(self.msgstr.items()))


def entries(folder: Path) -> Iterator[Entry]:
    """The messages of the folder's files that have a translation; their heads have the empty key."""
    for path in sorted(folder.glob("*.po")):
        yield from _entries_of(path)


def _entries_of(path: Path) -> Iterator[Entry]:
    entry, word = Entry(), ""
    for line in [*path.read_text(encoding="utf-8").splitlines(), 'msgid ""']:
        first, _, rest = line.partition(" ")
        # What begins a message; its context, where it has one, comes first.
        if first in ("msgid", "msgctxt") and word.startswith("msgstr"):
            if any(entry.msgstr.values()):
                yield entry
            entry = Entry()
        if first.startswith("msg"):
            word, line = first, rest
        if line.startswith('"'):
            _add(entry, word, json.loads(line))


def _add(entry: Entry, word: str, text: str) -> None:
    if word.startswith("msgstr"):
        number = int(word[7:-1]) if word != "msgstr" else 0
        entry.msgstr[number] = entry.msgstr.get(number, "") + text
    else:
        setattr(entry, word, getattr(entry, word) + text)


def read(folder: Path) -> dict[str, str]:
    """The sentences by their templates, without those that depend on a number. Empty: no such folder."""
    return {each.msgid: each.value for each in entries(folder) if each.msgid and not each.msgid_plural}


def translations(folder: Path) -> gettext.GNUTranslations:
    """The catalogue as Python's gettext has it, with plurals and contexts."""
    return gettext.GNUTranslations(io.BytesIO(_compiled({each.key: each.value for each in entries(folder)})))


def _compiled(found: dict[str, str]) -> bytes:
    pairs = sorted((key.encode(), value.encode()) for key, value in found.items())
    count = len(pairs)
    tables, texts = 28, 28 + 16 * count
    heads: list[bytes] = []
    body = b""
    for column in (0, 1):
        for pair in pairs:
            heads.append(struct.pack("<II", len(pair[column]), texts + len(body)))
            body += pair[column] + b"\0"
    head = struct.pack("<7I", MAGIC, 0, count, tables, tables + 8 * count, 0, tables + 16 * count)
    return head + b"".join(heads) + body
