"""The browser's own question names nothing of what is lost, and is in the browser's language: no page uses it."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[3]
ASKS = re.compile(r"hx-confirm|hx-prompt|\b(?:window\.)?(?:confirm|prompt|alert)\(")


def test_no_page_asks_by_the_browser_s_own_question() -> None:
    ours = [*TOP.glob("templates/**/*.html"), *TOP.glob("panel/web/static/web/**/*.js"), *TOP.glob("panel/web/**/*.py")]
    assert len(ours) > 100
    assert [path.name for path in ours if ASKS.search(path.read_text())] == []
