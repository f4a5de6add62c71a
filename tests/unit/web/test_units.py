"""Quantities on pages."""

from __future__ import annotations

import pytest

from panel.web.templatetags.units import mib


@pytest.mark.parametrize(
    ("value", "words"),
    [(128, "128 MiB"), (1024, "1 GiB"), (1536, "1.5 GiB"), (24105, "23.5 GiB"), (None, "–"), ("", "–")],
)
def test_memory_is_worded_in_the_unit_that_people_use(value: object, words: str) -> None:
    assert mib(value) == words
