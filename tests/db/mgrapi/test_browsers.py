"""Browsers that a billing server sends here: signed in once, as the customer, and shown the page that was asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from panel.accounts.models import BrowserSession, JournalEntry
from panel.mgrapi.models import ClassicSession
from panel.tasks.models import Task
from tests.db.mgrapi.classic import BROWSER, PASSWORD, World, call, error_of, values_of

CUSTOMER = "203.0.113.7"
CONSOLE = {"func": "vm.novnc", "newwindow": "yes", "elid": "237"}


def follow(browser: Client, **params: str) -> str:
    """Where the browser is sent."""
    answer = browser.get("/vmmgr", params, secure=True)
    assert answer.status_code == 302
    return str(answer.headers["Location"])


@pytest.fixture
def browser() -> Client:
    """A customer's, whose address is not the billing server's."""
    return Client(REMOTE_ADDR=CUSTOMER, headers=BROWSER)


@pytest.mark.parametrize(
    ("asked", "page"),
    [
        (CONSOLE, "/vms/237/console"),
        ({"func": "novnc", "elid": "237"}, "/vms/237/console"),
        ({"func": "vm.edit", "elid": "237"}, "/vms/237"),
        ({}, "/"),
        ({"func": "desktop"}, "/"),
    ],
)
def test_a_session_that_is_handed_over_signs_the_browser_in_and_shows_the_page(
    world: World, browser: Client, asked: dict[str, str], page: str
) -> None:
    assert follow(browser, auth=world.sessions["anna"], **asked) == page
    assert b"shop" in browser.get("/vms", secure=True).content
    (kept,) = JournalEntry.objects.filter(action="session.handed_over")
    assert (kept.user_name, kept.address, kept.after) == ("anna", CUSTOMER, {"begun_from": "192.0.2.1"})
    assert BrowserSession.objects.get(user__name="anna").by == "handed over"
    # The session itself stays the billing server's.
    assert values_of(world.call("anna", ""))["user"] == "anna"
    assert error_of(call(func="", out="xml", auth=world.sessions["anna"], address=CUSTOMER)) == ("auth", "badpassword")


def test_a_hand_over_works_once_and_a_page_that_is_loaded_anew_stays(world: World, browser: Client) -> None:
    for _ in range(2):
        assert follow(browser, auth=world.sessions["anna"], **CONSOLE) == "/vms/237/console"
    another = Client(REMOTE_ADDR=CUSTOMER, headers=BROWSER)
    assert follow(another, auth=world.sessions["anna"], **CONSOLE) == "/login?next=/vms/237/console"
    shown = another.get("/login", secure=True).content.decode()
    assert "has signed a browser in already" in shown
    assert JournalEntry.objects.filter(action="session.handed_over").count() == 1


@pytest.mark.parametrize("who", ["admin", "operator", "watcher"])
def test_an_administrator_is_signed_in_by_no_link(world: World, browser: Client, who: str) -> None:
    assert follow(browser, auth=world.sessions[who], **CONSOLE) == "/login?next=/vms/237/console"
    assert not BrowserSession.objects.filter(user__isnull=False).exists()


def test_what_is_old_or_has_ended_signs_nobody_in(world: World, browser: Client) -> None:
    ClassicSession.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    assert follow(browser, auth=world.sessions["anna"], func="vm") == "/login?next=/vms"
    world.call("bert", "exit")
    for session in (world.sessions["bert"], "x"):
        assert follow(browser, auth=session, func="vm") == "/login?next=/vms"
    assert not BrowserSession.objects.filter(user__isnull=False).exists()


@pytest.mark.parametrize("asked", [{"func": "vm.stop", "elid": "237"}, {"func": "vm.edit", "elid": "237", "sok": "ok"}])
def test_nothing_is_done_by_a_link_that_came_from_elsewhere(
    world: World, browser: Client, asked: dict[str, str]
) -> None:
    assert follow(browser, auth=world.sessions["anna"], **asked).startswith("/login?next=")
    assert not Task.objects.exists() and ClassicSession.objects.get(user=world.users["anna"]).handed_over_at is None


def test_a_form_of_another_site_signs_in_with_name_and_password(world: World, browser: Client) -> None:
    form = {"func": "auth", "username": "anna", "password": PASSWORD, "lang": "en"}
    answer = browser.post("/vmmgr", {**form, "password": "wrong"}, secure=True)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
    answer = browser.post("/vmmgr", form, secure=True)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert b"shop" in browser.get("/vms", secure=True).content
