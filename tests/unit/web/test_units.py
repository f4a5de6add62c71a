"""Quantities on pages."""

from __future__ import annotations

import pytest

from panel.web.templatetags.units import mib, size


@pytest.mark.parametrize(
    ("value", "words"),
    [(128, "128 MiB"), (1024, "1 GiB"), (1536, "1.5 GiB"), (24105, "23.5 GiB"), (None, "–"), ("", "–")],
)
def test_memory_is_worded_in_the_unit_that_people_use(value: object, words: str) -> None:
    assert mib(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (132_813, "129.7 KiB"),
        (1024**2 - 1, "1 MiB"),
        (80_000_000_000, "74.5 GiB"),
        (5 * 1024**4, "5 TiB"),
        (5000 * 1024**4, "5000 TiB"),
        (None, "–"),
    ],
)
def test_sizes_are_worded_in_the_same_units(value: object, words: str) -> None:
    assert size(value) == words
