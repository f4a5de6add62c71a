"""Which of a customer's words the agent takes: asked by the panel at the call, and by the agent when it writes them."""

from __future__ import annotations

import re
import unicodedata

LONGEST_KEY = 16 * 1024
_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( .*)?\Z")


def is_one_line(text: str) -> bool:
    """Whether it is one line of some file, whatever reads it: no tabs, no control characters, no odd line ends."""
    return text.isprintable() and bool(text.strip())


def is_public_key(text: str) -> bool:
    """Whether it is one public key as in authorized_keys, without options."""
    return len(text) <= LONGEST_KEY and is_one_line(text) and _KEY.match(text) is not None


def bare_key(key: str) -> str:
    """A key that may have been taken by an earlier version: without its comment where that is not printable."""
    return key if is_one_line(key) else " ".join(key.split()[:2])


def plain(text: str, *, lines: bool = False) -> str:
    """The text with usual blanks and line ends (none but with `lines`), and without blanks at its ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not lines:
        text = text.replace("\n", " ")
    return "".join(" " if unicodedata.category(each) == "Zs" else each for each in text).strip()
