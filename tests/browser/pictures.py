"""Pictures of pages, kept for people in var/screenshots."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

FITS = "document.documentElement.scrollWidth <= window.innerWidth"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 800}


def shot(page: Page, name: str) -> None:
    """A picture of the page as it is."""
    folder = Path("var/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(folder / f"{name}.png"), full_page=True, animations="disabled")


def look(page: Page, name: str) -> None:
    """Pictures by day and night, at a desk and on a phone, where nothing is wider than the screen."""
    for scheme in ("dark", "light"):
        for place, size in (("phone", PHONE), ("desk", DESK)):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size(size)
            shot(page, f"{name}-{scheme}-{place}")
            assert page.evaluate(FITS), f"{name} on a {place}"
