"""The navigation says where one is."""

from __future__ import annotations

from panel.web.navigation import GROUPS
from tests.browser.routes import pages

NOWHERE = {"login", "login-code", "profile", "api-docs", "not-found"}
"""Pages that stand in no group of it."""


def test_every_page_is_one_entry_s() -> None:
    held = {
        name: [each.route for _label, entries in GROUPS for each in entries if each.holds(name)] for name in pages()
    }
    assert {name: entries for name, entries in held.items() if len(entries) != 1} == {name: [] for name in NOWHERE}
