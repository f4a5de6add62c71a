"""What can be pressed on a page, read from its HTML."""

from __future__ import annotations

from html.parser import HTMLParser


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.found.append((tag, dict(attrs)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """The page's elements with their attributes, in their order."""
    return _Elements(text).found


def buttons(text: str) -> dict[str, bool]:
    """The operations that stand on the page, in their order, and whether each is off."""
    return {
        attributes["data-verb"] or "": "disabled" in attributes or attributes.get("aria-disabled") == "true"
        for _tag, attributes in elements(text)
        if "data-verb" in attributes
    }


def menu(text: str) -> list[str]:
    """The operations of the menu that can be pressed."""
    return [
        attributes["data-verb"] or ""
        for _tag, attributes in elements(text)
        if "dropdown-item" in (attributes.get("class") or "").split()
        and "data-verb" in attributes
        and attributes.get("aria-disabled") != "true"
    ]
