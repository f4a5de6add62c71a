"""Names, titles and reasons: one rule for what people write, wherever they write it.

They are shown in terminals, logs and lists, where signs that are not seen do harm: they move the cursor, turn the
writing round, begin lines of their own.
"""

from __future__ import annotations

import re
import unicodedata

HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of signs that are no letters: controls, signs that format, halves of characters, ends of lines."""
NO_SIGNS = frozenset("\ufffe\uffff")
"""What XML, in which nodes are told of a VM's title, cannot hold besides."""
JOINERS = frozenset("\u200c\u200d")
"""Some languages' words and many pictures need these."""
SPACES = re.compile("[\t\n\v\f\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def is_plain(text: str, *, lines: bool = False) -> bool:
    """Whether nothing in it does harm; `lines` may have line breaks and tabs."""
    allowed = "\r\n\t" if lines else ""
    if text.isascii() and text.isprintable():
        return True
    return all(each in allowed or each in JOINERS or not _is_harmful(each, lines) for each in text)


def one_line(text: str) -> str:
    """A title or reason as one line: other spaces than the usual one, tabs and line breaks become that."""
    return SPACES.sub(" ", text).strip()


def _is_harmful(sign: str, lines: bool) -> bool:
    category = unicodedata.category(sign)
    return category in HARMFUL or sign in NO_SIGNS or (category == "Zs" and sign != " " and not lines)


def escaped(text: str, *, lines: bool = False) -> str:
    """What others wrote, for a terminal: what does harm is shown as `\\x1b`; with `lines`, breaks and tabs stay."""
    allowed = "\n\t" if lines else ""
    return "".join(_shown(each) if _moves_cursor(each, allowed) else each for each in text)


def _moves_cursor(sign: str, allowed: str) -> bool:
    return unicodedata.category(sign) in HARMFUL and sign not in allowed and sign not in JOINERS


def _shown(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
