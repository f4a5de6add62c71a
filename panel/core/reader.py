"""Whoever reads what is made now: their language and time zone, for sentences, pages and times alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils import timezone, translation
from django.utils.translation import trans_real

from panel.core import catalogue, wording

UTC = "UTC"


def install() -> None:
    """Have Django's templates read our catalogues too; once, when all apps are ready.

    They are merged into what Django has of its own, which it would read from compiled files alone.
    """
    for language in wording.LANGUAGES:
        if (folder := wording.folder_of(language)).exists():
            trans_real.translation(language).merge(catalogue.translations(folder))


@contextmanager
def reading(language: str, zone: str = UTC) -> Iterator[None]:
    """Put both in force; what is not known is English, and UTC."""
    token = wording.bind(language)
    try:
        with translation.override(wording.current()), timezone.override(known_zone(zone)):
            yield
    finally:
        wording.reset(token)


def known_zone(name: str) -> ZoneInfo:
    """The time zone of that name in the IANA database; UTC where there is none."""
    try:
        return ZoneInfo(name or UTC)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(UTC)
