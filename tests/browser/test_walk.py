"""Every page is sound: for administrators and customers, at a desk and on a phone, by day and by night.

axe-core finds nothing serious, nothing is wider than the screen or jumps, scripts and requests do not fail, and what is
transferred is little.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import routes, sample, walk
from tests.browser.walk import Walk
from tests.stack import Stack

EXCEPTIONS: dict[str, set[str]] = {}
"""Checks that a page does not pass yet. It is to become empty: one that is not needed any more fails, too."""


@pytest.fixture(scope="module")
def walker(browser: Browser, alone: Stack) -> Iterator[Walk]:
    """Viewers of a panel with something of everything."""
    with walk.walking(browser.browser_type, alone) as walker:
        yield walker


@pytest.mark.parametrize("name", routes.pages())
def test_a_page_is_sound(walker: Walk, name: str) -> None:
    found, excepted = walker.faults(name), EXCEPTIONS.get(name, set())
    faults = {check: told for check, told in found.items() if check not in excepted}
    assert not faults, json.dumps(faults, indent=1, ensure_ascii=False)
    assert excepted <= found.keys(), "take what is mended from EXCEPTIONS"


def test_the_dialog_of_each_operation_is_sound(walker: Walk) -> None:
    faults = walker.dialogs()
    assert not faults, json.dumps(faults, indent=1)


def test_pages_of_administrators_are_as_absent_to_customers(walker: Walk) -> None:
    answers = {name: walker.status(sample.CUSTOMER, name) for name in sorted(routes.ADMINISTRATORS)}
    assert set(answers.values()) == {404}, answers


def test_every_address_of_the_url_map_is_walked_or_said_to_be_no_page(walker: Walk) -> None:
    names = {routes.name_of(each) for each in routes.routes()}
    for name in routes.pages():
        routes.path_of(name, walker.ids)
    said = {*routes.NO_PAGES, *routes.BEFORE_SIGN_IN, *routes.ADMINISTRATORS, *walk.LARGE - {*routes.MORE}, *EXCEPTIONS}
    assert not said - names - {*routes.MORE}, "such addresses there are no more"
