"""Reading gettext's catalogues as translators write them (`django.po`), so that nothing has to be compiled."""

from __future__ import annotations

import json
from pathlib import Path


def read(path: Path) -> dict[str, str]:
    """The sentences of a catalogue by their templates; msgid and msgstr alone, no plurals. Empty: no such file."""
    if not path.exists():
        return {}
    found: dict[str, str] = {}
    parts = {"msgid": "", "msgstr": ""}
    part = "msgid"
    for line in [*path.read_text(encoding="utf-8").splitlines(), 'msgid ""']:
        word, _, rest = line.partition(" ")
        if word == "msgid":
            # The head stands under the empty key.
            if parts["msgid"] and parts["msgstr"]:
                found[parts["msgid"]] = parts["msgstr"]
            parts = {"msgid": "", "msgstr": ""}
        if word in parts:
            part, line = word, rest
        if line.startswith('"'):
            parts[part] += json.loads(line)
    return found
