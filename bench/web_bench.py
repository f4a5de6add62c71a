"""What the list of 10,000 VMs costs: until it can be used in a browser, on the server, and beside live browsers.

The aims are for an idle machine; what opens streams and what draws pages runs on the same one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import statistics
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import httpx
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from bench import web_events
from bench.api_bench import ask, met, p
from bench.panel import started
from panel.standalone.options import TOP
from tests.browser import chromium
from tests.stack import Stack

VMS, SECONDS, LOADS, STREAMS = 10_000, 8.0, 15, 200
AIM_WARM_MS, AIM_COLD_MS = 200, 500
AIM_P50_MS, AIM_P95_MS = 30, 60
AIM_FIRST_KB, AIM_AGAIN_KB = 200, 30
AIM_MIB, AIM_RATIO = 150, 1.2
EVENTS_A_SECOND = 2
TIMES = """() => {
    const [page] = performance.getEntriesByType("navigation");
    const all = [page, ...performance.getEntriesByType("resource")];
    return {first: page.responseStart, ready: page.domContentLoadedEventEnd, drawn: page.loadEventEnd,
            bytes: all.reduce((sum, each) => sum + each.transferSize, 0),
            nodes: document.querySelectorAll("*").length};
}"""


class Web:
    """A panel with many VMs, and the administrator who looks at its list."""

    def __init__(self, stack: Stack, made: dict[str, Any], seconds: float) -> None:
        self.stack, self.seconds = stack, seconds
        self.path, self.events, self.keys = made["list"], made["events"], made["keys"]
        self.base = f"https://127.0.0.1:{stack.port}"
        self.context = ssl.create_default_context(cafile=str(stack.layout.tls / "panel.crt"))
        with httpx.Client(base_url=self.base, verify=self.context, timeout=60) as client:
            client.get(f"/sign-in/{self.keys[0]}")
            self.cookies = dict(client.cookies)

    def client(self) -> httpx.Client:
        """A client that is signed in, and takes what browsers take."""
        headers = {"Accept-Encoding": "gzip, br"}
        return httpx.Client(base_url=self.base, verify=self.context, timeout=60, cookies=self.cookies, headers=headers)

    def server(self) -> list[float]:
        """The time of each list, one after the other."""
        taken: list[float] = []
        with self.client() as client:
            client.get(self.path)
            until = time.monotonic() + self.seconds
            while time.monotonic() < until:
                begun = time.perf_counter()
                answer = client.get(self.path)
                taken.append(time.perf_counter() - begun)
                assert answer.status_code == 200, answer
        return taken

    def in_browser(self, browser: Browser) -> None:
        """Load the list with an empty cache, then in a tab beside, and from there on in that tab, by turns.

        A tab is a process that has to start; whoever works in the panel goes from page to page in one.
        """
        cold: list[dict[str, float]] = []
        beside: list[dict[str, float]] = []
        warm: list[dict[str, float]] = []
        with_cookies = [{"name": name, "value": value, "url": self.base} for name, value in self.cookies.items()]
        for _ in range(LOADS):
            context = browser.new_context(base_url=self.base)
            context.add_cookies(with_cookies)  # type: ignore[arg-type]
            first = context.new_page()
            cold.append(self.load(first))
            first.close()
            second = context.new_page()
            beside.append(self.load(second))
            warm += [self.load(second) for _ in range(2)]
            context.close()
        for name, found, aim, most in (
            ("empty cache", cold, AIM_COLD_MS, AIM_FIRST_KB),
            ("a tab beside", beside, AIM_COLD_MS, AIM_AGAIN_KB),
            ("warm", warm, AIM_WARM_MS, AIM_AGAIN_KB),
        ):
            first_byte, ready, drawn, size = (
                statistics.median(each[key] for each in found) for key in ("first", "ready", "drawn", "bytes")
            )
            print(
                f"  in Chromium, {name:12} first byte {first_byte:4.0f}, ready {ready:4.0f} (at most"
                f" {max(each['ready'] for each in found):.0f}), loaded {drawn:4.0f} ms, aim {aim}: {met(ready <= aim)};"
                f" {size / 1000:.1f} kB, aim {most}: {met(size / 1000 <= most)}; {found[-1]['nodes']} elements",
                flush=True,
            )

    def load(self, page: Page) -> dict[str, float]:
        """What the browser measured of one load."""
        page.goto(self.path, wait_until="load")
        found: dict[str, float] = page.evaluate(TIMES)
        return found

    async def live(self, before: float) -> None:
        """STREAMS browsers listen; the list is asked for meanwhile, first in silence, then with events."""
        panel = psutil.Process(self.stack.processes["panel"].pid)
        at_first = panel.memory_info().rss
        begun, over = Counter[str](), asyncio.Event()
        listening = [asyncio.create_task(self.listen(begun, over)) for _ in range(STREAMS)]
        while begun.total() < STREAMS:
            await asyncio.sleep(0.05)
        for name, events in (("nothing happens", 0), (f"{EVENTS_A_SECOND} events a second", EVENTS_A_SECOND)):
            telling = self.telling(events) if events else None
            taken = await asyncio.to_thread(self.server)
            if telling:
                telling.wait()
            more, ratio = (panel.memory_info().rss - at_first) / (1 << 20), p(taken, 50) / before
            print(
                f"  {STREAMS} streams ({dict(begun)}), {name}: list p50 {p(taken, 50) * 1000:.1f} p95"
                f" {p(taken, 95) * 1000:.1f} ms, ratio {ratio:.2f}, aim {AIM_RATIO}: {met(ratio <= AIM_RATIO)};"
                f" {more:.0f} MiB more, aim {AIM_MIB}: {met(more <= AIM_MIB)}",
                flush=True,
            )
        over.set()
        await asyncio.gather(*listening)

    async def listen(self, begun: Counter[str], over: asyncio.Event) -> None:
        """One browser's stream, read until all is over."""
        told = False
        try:
            async with (
                httpx.AsyncClient(base_url=self.base, verify=self.context, timeout=60, cookies=self.cookies) as client,
                client.stream("GET", self.events) as answer,
            ):
                begun[str(answer.status_code)] += 1
                told = True
                reading = asyncio.create_task(self.read(answer))
                await over.wait()
                reading.cancel()
        except httpx.HTTPError as error:
            if not told:
                begun[type(error).__name__] += 1

    @staticmethod
    async def read(answer: httpx.Response) -> None:
        """Take what comes."""
        async for _ in answer.aiter_bytes():
            pass

    def telling(self, events: int) -> subprocess.Popen[bytes]:
        """A process that has events come while a list is measured."""
        words = f"from bench import web_data; web_data.tell({int(events * self.seconds)}, {self.seconds})"
        argv = [sys.executable, "manage.py", "shell", "--no-imports", "--command", words]
        return subprocess.Popen(argv, cwd=TOP, env=self.stack.environment)


def run(stack: Stack, vms: int, seconds: float) -> None:
    """All of it, one after the other."""
    made = ask(stack, f"api_data.make({vms}); from bench import web_data; print(web_data.told())", "MADE")
    web = Web(stack, made, seconds)
    print(f"{vms} VMs; the list is {web.path}; load {os.getloadavg()[0]:.1f}")
    queries, by_hand = ask(stack, "from bench import web_data; print(web_data.by_hand())", "HAND")
    taken = web.server()
    p50, p95 = p(taken, 50), p(taken, 95)
    print(
        f"  on the server: p50 {p50 * 1000:.1f} ms, aim {AIM_P50_MS}: {met(p50 * 1000 <= AIM_P50_MS)};"
        f" p95 {p95 * 1000:.1f} ms, aim {AIM_P95_MS}: {met(p95 * 1000 <= AIM_P95_MS)};"
        f" {queries} queries, by hand {by_hand * 1000:.1f} ms",
        flush=True,
    )
    with sync_playwright() as playwright:
        browser = chromium.trusting(playwright.chromium, stack.layout.tls / "panel.crt")
        web.in_browser(browser)
        browser.close()
    asyncio.run(web.live(p50))
    print(f"  load then {os.getloadavg()[0]:.1f}")


def main() -> int:
    """Measure on a panel of its own, which is gone afterwards."""
    parser = argparse.ArgumentParser(prog="bench/web")
    parser.add_argument("--vms", type=int, default=VMS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each part")
    parser.add_argument("--events", type=int, metavar="TIMES", help="how soon a page shows what a node did")
    asked = parser.parse_args()
    if asked.events:
        web_events.run(asked.events)
        return 0
    with started("web") as stack:
        run(stack, asked.vms, asked.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
