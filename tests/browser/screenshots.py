"""Makes a picture of every page for people to look at: script/screenshots."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import django
from playwright.sync_api import sync_playwright

from bench.panel import started
from panel.standalone.options import TOP
from tests.browser.pictures import DESK, PHONE

if TYPE_CHECKING:
    from tests.browser.walk import Walk

PLACES = {"desk": DESK, "phone": PHONE}


def picture(walker: Walk, name: str, viewer: str, folder: Path) -> None:
    """The page as one viewer sees it: four pictures."""
    from tests.browser.routes import path_of

    tab = walker.tab(viewer)
    for place, size in PLACES.items():
        tab.page.set_viewport_size(size)  # type: ignore[arg-type]
        tab.open(path_of(name, walker.ids), cold=False)
        for scheme in ("light", "dark"):
            tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            path = folder / f"{name}-{viewer}-{scheme}-{place}.png"
            tab.page.screenshot(path=path, full_page=True, animations="disabled")


def main() -> int:
    """All pages of a panel of its own, which is gone afterwards."""
    parser = argparse.ArgumentParser(prog="script/screenshots")
    parser.add_argument("folder", nargs="?", type=Path, default=TOP / "var/screenshots")
    parser.add_argument("--language", default="en", choices=("en", "ru"))
    parser.add_argument("--only", nargs="*", metavar="PAGE", help="names of panel/web/urls.py")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with started("screenshots") as stack, sync_playwright() as playwright:
        # The URL map needs the configuration that there is only now.
        os.environ["DJANGO_SETTINGS_MODULE"] = "panel.settings"
        django.setup()
        from tests.browser import routes, walk

        with walk.walking(playwright.chromium, stack, locale=asked.language) as walker:
            for name in asked.only or routes.pages():
                for viewer in routes.viewers_of(name):
                    picture(walker, name, viewer, asked.folder)
    print(f"The pictures are in {asked.folder}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
