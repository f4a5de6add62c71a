"""Walks the pages of the URL map in Chromium, as those who see them, and says what is wrong with each.

A page of an address that is new is walked from its first day: its parameters are filled from what sample.py made.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, BrowserType, ConsoleMessage, Page, Request, Response

from panel.standalone.options import TOP
from tests.browser import sample
from tests.browser.chromium import trusting
from tests.browser.conftest import go_again_when_the_network_changes
from tests.browser.pictures import DESK, FITS, PHONE
from tests.browser.routes import dialogs, path_of, viewers_of
from tests.stack import Stack

AXE = TOP / "var/clients/node_modules/axe-core/axe.min.js"
WITHOUT_AXE = sample.CUSTOMER, "desk"
LARGE = {"api-docs", "vm-console", "vm-serial"}
DRAWN = {"api-docs": "#swagger .opblock-tag"}
"""Pages that a script draws, and what is there once it has."""
FIRST_BYTES, AGAIN_BYTES, LARGE_BYTES = 200_000, 30_000, 600_000
MOST_SHIFT = 0.1
QUIET_SECONDS, WAIT_SECONDS = 0.06, 60.0
"""So long without a transfer a page is done; and so long that is waited for."""
SAID = ("Failed to load resource", "/console/", "Failed when connecting")
"""What is no fault in the console: what was not found is told of as an answer; and no guest is behind the sample."""
SHIFT = """() => new Promise((done) => {
    let sum = 0;
    const add = (list) => list.getEntries().forEach((each) => { sum += each.hadRecentInput ? 0 : each.value; });
    new PerformanceObserver(add).observe({type: "layout-shift", buffered: true});
    requestAnimationFrame(() => setTimeout(() => done(sum), 50));
})"""
SHOW = """async (path) => {
    const dialog = document.getElementById("dialog");
    const shown = new Promise((done) => dialog.addEventListener("shown.bs.modal", done, {once: true}));
    await htmx.ajax("GET", path, {target: "#dialog-content"});
    if (!dialog.textContent.trim()) return false;
    await shown;
    return true;
}"""
HIDE = """() => new Promise((done) => {
    const dialog = document.getElementById("dialog");
    dialog.addEventListener("hidden.bs.modal", done, {once: true});
    bootstrap.Modal.getInstance(dialog).hide();
})"""
# Targets of 24 px are WCAG 2.2, which axe-core looks at when it is asked to.
RUN_AXE = """async (within) => {
    const place = within ? document.querySelector(within) : document;
    const found = await axe.run(place, {resultTypes: ["violations"], rules: {"target-size": {enabled: true}}});
    return found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
        .map((each) => [each.id, each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160))]);
}"""


def fill(stack: Stack) -> dict[str, Any]:
    """Have the sample in the panel; answers what stands for the parameters of addresses."""
    printed = stack.manage("shell", "--no-imports", "--command", "from tests.browser import sample; sample.make()")
    return dict(json.loads(printed.partition("MADE")[2].splitlines()[0]))


@dataclass
class Tab:
    """A page of the browser with what it transferred and complained of since reset()."""

    page: Page
    bytes: int = 0
    under_way: set[str] = field(default_factory=set)
    complaints: list[tuple[str, str]] = field(default_factory=list)
    last: float = 0.0

    def __post_init__(self) -> None:
        go_again_when_the_network_changes(self.page)
        self.devices = self.page.context.new_cdp_session(self.page)
        self.devices.send("Network.enable")
        self.devices.on("Network.requestWillBeSent", self._begins)
        self.devices.on("Network.loadingFinished", self._ends)
        self.devices.on("Network.loadingFailed", self._ends)
        self.page.on("console", self._says)
        self.page.on("pageerror", lambda error: self.complaints.append(("console", str(error))))
        self.page.on("requestfailed", self._fails)
        self.page.on("response", self._answers)

    def _begins(self, event: dict[str, Any]) -> None:
        # The end of a worker's script is told to the worker alone; it has no document that loads it.
        if event.get("type") != "EventSource" and event["loaderId"]:
            self.under_way.add(event["requestId"])
            self.last = time.monotonic()

    def _ends(self, event: dict[str, Any]) -> None:
        self.under_way.discard(event["requestId"])
        self.bytes += int(event.get("encodedDataLength", 0))
        self.last = time.monotonic()

    def _says(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(each in message.text for each in SAID):
            self.complaints.append(("console", message.text))

    def _fails(self, request: Request) -> None:
        if request.resource_type != "eventsource":
            self.complaints.append(("request", f"{request.url}: {request.failure}"))

    def _answers(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.complaints.append(("request", f"{response.url}: {response.status}"))

    def open(self, path: str, *, cold: bool) -> Response | None:
        """Load the page, with an empty cache or with what is there, and wait until it is done."""
        self.page.goto("about:blank")
        self.devices.send("Network.setCacheDisabled", {"cacheDisabled": cold})
        self.bytes, self.last = 0, time.monotonic()
        self.under_way.clear()
        self.complaints.clear()
        answer = self.page.goto(path, wait_until="load")
        self.settle()
        return answer

    def settle(self) -> None:
        """Wait until nothing is transferred any more."""
        until = time.monotonic() + WAIT_SECONDS
        while self.under_way or time.monotonic() - self.last < QUIET_SECONDS:
            assert time.monotonic() < until, f"{self.page.url} still loads {self.under_way}"
            self.page.wait_for_timeout(20)


class Walk:
    """Viewers with a tab each, on a panel with the sample."""

    def __init__(self, browser: Browser, stack: Stack, locale: str) -> None:
        self.browser, self.stack, self.locale = browser, stack, locale
        self.ids = fill(stack)
        self.tabs: dict[str, Tab] = {}

    def context(self) -> BrowserContext:
        """A browser profile of its own."""
        context = self.browser.new_context(base_url=f"https://127.0.0.1:{self.stack.port}", locale=self.locale)
        context.set_default_navigation_timeout(WAIT_SECONDS * 1000)
        return context

    def tab(self, viewer: str) -> Tab:
        """The viewer's, who is signed in as far as they get."""
        if viewer not in self.tabs:
            page = self.context().new_page()
            if viewer == "half":
                page.goto("/login")
                page.locator("input[name=username]").fill(sample.CAREFUL)
                page.locator("input[name=password]").fill(sample.PASSWORD)
                page.locator("input[name=password]").press("Enter")
                page.wait_for_url("**/login/code")
            elif viewer != "nobody":
                page.goto(f"/sign-in/{self.ids['keys'][viewer]}")
            self.tabs[viewer] = Tab(page)
        return self.tabs[viewer]

    def faults(self, name: str) -> dict[str, list[str]]:
        """What is wrong with a page, by the check that says so: each viewer at a desk by day, on a phone by night."""
        found: dict[str, list[str]] = {}
        for viewer in viewers_of(name):
            for place, size, scheme in (("desk", DESK, "light"), ("phone", PHONE, "dark")):
                tab = self.tab(viewer)
                tab.page.set_viewport_size(size)  # type: ignore[arg-type]
                tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                # What customers see of a page, its administrators have seen at the desk.
                for check, text in self._look(tab, name, cold=place == "desk", axe=(viewer, place) != WITHOUT_AXE):
                    found.setdefault(check, []).append(f"{viewer}, {place}: {text}")
        return found

    def _look(self, tab: Tab, name: str, *, cold: bool, axe: bool) -> Iterator[tuple[str, str]]:
        path = path_of(name, self.ids)
        answer = tab.open(path, cold=cold)
        wanted = 404 if name == "not-found" else 200
        if answer is None or answer.status != wanted or not answer.url.endswith(path):
            yield "status", f"{answer.status} of {answer.url}" if answer else "no answer"
        if name in DRAWN:
            tab.page.wait_for_selector(DRAWN[name])
            tab.settle()
        most = LARGE_BYTES if name in LARGE else FIRST_BYTES if cold else AGAIN_BYTES
        if tab.bytes > most:
            yield "weight", f"{tab.bytes} bytes {'at first' if cold else 'again'}, of {most}"
        if (shift := tab.page.evaluate(SHIFT)) > MOST_SHIFT:
            yield "shift", f"{shift:.3f}"
        if not tab.page.evaluate(FITS):
            yield "width", "wider than the screen"
        if axe:
            tab.page.evaluate(axe_core())
            for rule, where in tab.page.evaluate(RUN_AXE):
                yield f"axe {rule}", "; ".join(where)
        yield from tab.complaints

    def dialogs(self) -> dict[str, str]:
        """What is wrong with the dialogs of operations, one after the other in a page."""
        page = self.tab(sample.ADMIN).page
        # Nothing moves, so nothing is half seen when it is looked at.
        page.emulate_media(reduced_motion="reduce")
        page.goto(path_of("vms", self.ids))
        page.evaluate(axe_core())
        found = {}
        for name, path in dialogs(self.ids).items():
            shown = page.evaluate(SHOW, path)
            if faults := page.evaluate(RUN_AXE, "#dialog") if shown else "not shown":
                found[name] = str(faults)
            if shown:
                page.evaluate(HIDE)
        return found

    def status(self, viewer: str, name: str) -> int:
        """How an address answers a viewer, without its page being drawn."""
        page = self.tab(viewer).page
        return int(page.evaluate("(path) => fetch(path).then((answer) => answer.status)", path_of(name, self.ids)))


def axe_core() -> str:
    """axe-core, which script/setup --tests fetches."""
    assert AXE.exists(), f"{AXE} is missing: script/setup --tests fetches it."
    return AXE.read_text(encoding="utf-8")


@contextlib.contextmanager
def walking(chromium: BrowserType, stack: Stack, locale: str = "en") -> Iterator[Walk]:
    """A walk with a browser of its own, which asks for a language."""
    browser = trusting(chromium, stack.layout.tls / "panel.crt")
    try:
        yield Walk(browser, stack, locale)
    finally:
        browser.close()
