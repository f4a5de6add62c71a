"""What the programs on a node may say to the panel: lines of bounded length, depth and kind.

A node may be anybody's by now: what it says costs bounded memory and breaks no thread. Whatever is no answer raises
Malformed, and the link that it came by is closed (session.py, porter.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from nodeagent.protocol import LONGEST_ANSWER, BadMessage, from_dict
from panel.cluster.client import Progress

MOST_PARTS = 500_000
"""Lists and objects of one answer: each takes many times the memory of its two characters."""
LONGEST_NOISE, MOST_NOISE = 4096, 1000
"""What start files left running may print beside the agent: bytes of a line, and lines."""
LONGEST_TEXT = 4000
"""Characters of an error's message."""
KINDS = ("pong", "progress", "result", "error")


class Malformed(ValueError):
    """What came is no answer."""


class Lines:
    """The lines of a stream, of which no more than one of the longest is held."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._noise = 0

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The lines that end in this block; raises Malformed for one that is longer than any answer."""
        *ended, last = block.split(b"\n")
        for part in ended:
            self._add(part)
            line = bytes(self._rest)
            self._rest = bytearray()
            yield line
        self._add(last)

    def _add(self, part: bytes) -> None:
        if len(self._rest) + len(part) > LONGEST_ANSWER:
            raise Malformed(f"a line of more than {LONGEST_ANSWER >> 20} MiB")
        self._rest += part

    def read(self, line: bytes) -> dict[str, Any] | None:
        """The object in a line; None for what something else on the host printed, as long as that is little."""
        if line.startswith(b'{"'):
            return parse(line)
        self._noise += 1
        if len(line) > LONGEST_NOISE or self._noise > MOST_NOISE:
            raise Malformed("other things than answers")
        return None


def parse(line: bytes) -> dict[str, Any]:
    """The object of a line that begins as one does; raises Malformed."""
    if line.count(b"[") + line.count(b"{") > MOST_PARTS:
        raise Malformed(f"an answer of more than {MOST_PARTS} parts")
    try:
        message: dict[str, Any] = json.loads(line, parse_constant=_no_number)
        if b"\\ud" in line.lower():
            # Half a character, of a file's name for one, which no database takes.
            message = json.loads(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Malformed("a line that is no JSON, or too deep") from error
    return message


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def checked(message: dict[str, Any]) -> dict[str, Any]:
    """The agent's message, whose parts are what they must be; raises Malformed."""
    kinds = [kind for kind in KINDS if kind in message]
    number = message.get("id")
    if len(kinds) != 1 or not isinstance(number, int | None) or isinstance(number, bool):
        raise Malformed("an answer of no known kind")
    if "error" in message:
        message["error"] = _error(message["error"])
    if "progress" in message:
        message["progress"] = _progress(message["progress"])
    return message


def _progress(raw: Any) -> Progress:
    try:
        progress = from_dict(Progress, raw)
    except BadMessage as error:
        raise Malformed(f"a progress that is none ({error})") from error
    if not (math.isfinite(progress.done) and math.isfinite(progress.total)):
        raise Malformed("a progress of no number")
    return Progress(progress.done, progress.total, progress.text[:LONGEST_TEXT])


def _error(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise Malformed("an error that is none")
    code, text, data = raw.get("code", "internal"), raw.get("message", ""), raw.get("data", {})
    if not (isinstance(code, str) and isinstance(text, str) and isinstance(data, dict)):
        raise Malformed("an error of another form")
    return {"code": code[:100], "message": text[:LONGEST_TEXT], "data": data}
