"""How soon an open page shows what happened on a node: from libvirt's event to the changed row, many times.

Node, panel and browser are on one machine, so there is one clock.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from playwright.sync_api import Page, sync_playwright

from bench.api_bench import met
from bench.floor import panel_with_nodes
from tests.browser import chromium
from tests.stack import Stack, done

AIM_MS = 250
NAME = "seen"
DESTROYED = """
import libvirt, sys, threading, time
libvirt.virEventRegisterDefaultImpl()
def loop():
    while True:
        libvirt.virEventRunDefaultImpl()
threading.Thread(target=loop, daemon=True).start()
conn = libvirt.open("qemu:///system")
domain = conn.lookupByName(sys.argv[1])
def told(conn, domain, event, detail, opaque):
    if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
        print(time.time(), flush=True)
conn.domainEventRegisterAny(domain, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, told, None)
for _ in range(int(sys.argv[2])):
    domain.destroy()
    time.sleep(1.0)
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    time.sleep(1.0)
"""
"""The domain is forced off so often; prints when libvirt told each time."""
WATCH = """(id) => { window.seen = []; let last = "";
new MutationObserver(() => {
  const status = document.querySelector(`[data-object="vm:${id}"] .status`)?.dataset.status;
  if (status === "shut off" && status !== last) window.seen.push(Date.now());
  last = status ?? last;
}).observe(document.querySelector("main"), {subtree: true, childList: true, attributes: true}); }"""


def run(times: int) -> None:
    """Measure and print."""
    with panel_with_nodes("webevents", 1) as (stack, api, nodes), sync_playwright() as playwright:
        answer = api.post("vms", json={"name": NAME, "image": "tiny", "flavor": "tiny", "node": nodes[0].name})
        done(api, answer)
        browser = chromium.trusting(playwright.chromium, stack.layout.tls / "panel.crt")
        page = _signed_in(browser.new_page(base_url=f"https://127.0.0.1:{stack.port}"), stack)
        page.goto("/vms")
        page.locator("[data-connected]").wait_for()
        page.evaluate(WATCH, answer.json()["vm"])
        printed = nodes[0].run(["/usr/bin/python3", "-c", DESTROYED, NAME, str(times)], timeout=60 + 10 * times).stdout
        told = [float(line) * 1000 for line in printed.split()]
        until = time.monotonic() + 10
        while len(seen := page.evaluate("window.seen")) < len(told) and time.monotonic() < until:
            page.wait_for_timeout(100)
        browser.close()
    _report(told, seen)


def _signed_in(page: Page, stack: Stack) -> Page:
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(stack.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")
    return page


def _report(told: list[float], seen: list[Any]) -> None:
    taken = sorted(at - before for at, before in zip(seen, told, strict=True))
    middle = statistics.median(taken)
    print(
        f"  virsh destroy in the open list, {len(taken)} times: median {middle:.0f} ms, nine of ten within"
        f" {taken[int(0.9 * (len(taken) - 1))]:.0f}, at most {taken[-1]:.0f}; aim {AIM_MS}: {met(middle <= AIM_MS)}"
    )
