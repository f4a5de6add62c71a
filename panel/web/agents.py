"""What a browser that is signed in is called, so that its user knows it again: from what it says of itself."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

BROWSERS: tuple[tuple[str, str], ...] = (
    # Those that say they are Chrome or Safari too come first.
    (r"Edg(?:e|A|iOS)?/(\d+)", "Edge"),
    (r"(?:OPR|OPiOS)/(\d+)", "Opera"),
    (r"YaBrowser/(\d+)", "Yandex Browser"),
    (r"Vivaldi/(\d+)", "Vivaldi"),
    (r"SamsungBrowser/(\d+)", "Samsung Internet"),
    (r"(?:Firefox|FxiOS)/(\d+)", "Firefox"),
    (r"(?:HeadlessChrome|Chromium|Chrome|CriOS)/(\d+)", "Chrome"),
    (r"Version/(\d+)\S* (?:Mobile/\S+ )?Safari/", "Safari"),
)
SYSTEMS: tuple[tuple[str, str], ...] = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X|Macintosh", "macOS"),
    ("Linux|X11", "Linux"),
)
PROGRAM = re.compile(r"^([\w.-]{1,40})/([\w.-]{1,20})")


def name_of(agent: str) -> str:
    """“Firefox 140 on Linux”; of what is no browser its first word with its version."""
    browser = next((f"{name} {found[1]}" for form, name in BROWSERS if (found := re.search(form, agent))), "")
    system = next((name for form, name in SYSTEMS if re.search(form, agent)), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    if not browser and (program := PROGRAM.match(agent)) is not None and program[1] != "Mozilla":
        browser = f"{program[1]} {program[2]}"
    return browser or system or _("Unknown browser")
