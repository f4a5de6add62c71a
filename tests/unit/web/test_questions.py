"""The browser's own question names nothing of what is lost, and is in the browser's language: no page uses it."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[3]
ASKS = {
    "html": r"hx-confirm|hx-prompt",
    "py": r"hx-confirm|hx-prompt",
    "js": r"(?<![\w.])(?:window\.)?(?:confirm|prompt|alert)\(",
}


def test_no_page_asks_by_the_browser_s_own_question() -> None:
    ours = [*TOP.glob("templates/**/*.html"), *TOP.glob("panel/web/static/web/**/*.js"), *TOP.glob("panel/web/**/*.py")]
    assert len(ours) > 100
    assert [path.name for path in ours if re.search(ASKS[path.suffix[1:]], path.read_text())] == []
