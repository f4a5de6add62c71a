"""What many callers at once see of one panel process: latency, refusals, and what they cost it in memory.

Bounded: 50 callers that ask on and on, 260 lists at once, 100 event streams, 300 connections that send or read slowly,
each for a few seconds, with as many VMs as a page and more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import psutil

from bench.api_bench import ask
from bench.panel import started
from tests.stack import Stack

CALLERS, AT_ONCE, STREAMS, SLOW = 50, 260, 100, 300
LIST, ONE = "vms", "vms/{vm}"
SLOW_SECONDS = 35.0
"""Longer than the panel waits for a head (20 s) or a body (30 s)."""
EACH_SECONDS = 60.0
"""How long any answer may take: then it counts as none."""


@dataclass
class Seen:
    """What callers were answered, and how long each answer took."""

    statuses: Counter[str] = field(default_factory=Counter)
    taken: list[float] = field(default_factory=list)
    without_word: int = 0
    """Refusals that did not say when to come again."""

    async def call(self, api: httpx.AsyncClient, path: str) -> None:
        """Ask once."""
        begun = time.perf_counter()
        try:
            answer = await api.get(path)
        except httpx.HTTPError as error:
            self.statuses[type(error).__name__] += 1
            return
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code == 200:
            self.taken.append(time.perf_counter() - begun)
        elif answer.status_code == 503 and "Retry-After" not in answer.headers:
            self.without_word += 1

    def __str__(self) -> str:
        told = ", ".join(f"{count}× {status}" for status, count in sorted(self.statuses.items())) or "nothing"
        if len(self.taken) > 1:
            cuts = statistics.quantiles(self.taken, n=100, method="inclusive")
            told += f"; p50 {cuts[49] * 1000:.0f} p95 {cuts[94] * 1000:.0f} p99 {cuts[98] * 1000:.0f} ms"
        return told + (f"; {self.without_word} refusals without Retry-After" if self.without_word else "")


class Load:
    """A panel under load."""

    def __init__(self, stack: Stack, seconds: float, vm: int) -> None:
        self.stack, self.seconds, self.vm = stack, seconds, vm
        self.panel = psutil.Process(stack.processes["panel"].pid)
        self.context = ssl.create_default_context(cafile=str(stack.layout.tls / "panel.crt"))

    @asynccontextmanager
    async def caller(self, connections: int = 1) -> AsyncIterator[httpx.AsyncClient]:
        """A client with as many connections."""
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{self.stack.port}/api/v1/",
            headers={"Authorization": f"Bearer {self.stack.token}"},
            verify=self.context,
            timeout=EACH_SECONDS,
            limits=httpx.Limits(max_connections=connections),
        ) as api:
            yield api

    async def watched(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        """Do it, and print what was seen beside what it cost the panel at most."""
        most = [0, 0, 0]
        over = asyncio.Event()

        async def watch() -> None:
            while not over.is_set():
                now = [self.panel.memory_info().rss >> 20, self.panel.num_threads(), self.connections()]
                most[:] = map(max, most, now)
                await asyncio.sleep(0.2)

        watching = asyncio.create_task(watch())
        begun = time.monotonic()
        told = await work()
        over.set()
        await watching
        print(f"  {name:34} {time.monotonic() - begun:5.1f} s: {told}")
        print(f"  {'':34} at most {most[0]} MiB, {most[1]} threads, {most[2]} connections to the database", flush=True)

    def connections(self) -> int:
        """How many connections the database has."""
        return int(self.stack.sql("SHOW STATUS LIKE 'Threads_connected'")[0][1])

    async def going_on(self) -> str:
        """CALLERS ask one after the other for some seconds: lists and single VMs by turns."""
        seen, until = Seen(), time.monotonic() + self.seconds

        async def one() -> None:
            async with self.caller() as api:
                while time.monotonic() < until:
                    await seen.call(api, LIST)
                    await seen.call(api, ONE.format(vm=self.vm))

        await asyncio.gather(*(one() for _ in range(CALLERS)))
        return f"{len(seen.taken) / self.seconds:.1f}/s; {seen}"

    async def at_once(self) -> str:
        """AT_ONCE lists, all asked for at the same moment."""
        seen = Seen()
        async with self.caller(AT_ONCE) as api:
            await asyncio.gather(*(seen.call(api, LIST) for _ in range(AT_ONCE)))
        return str(seen)

    async def streams(self) -> str:
        """STREAMS listen, and one caller goes on asking."""
        begun = Counter[str]()
        seen, over = Seen(), asyncio.Event()

        async def listen() -> None:
            try:
                async with self.caller() as api, api.stream("GET", "events") as answer:
                    begun[str(answer.status_code)] += 1
                    await over.wait()
            except httpx.HTTPError as error:
                begun[type(error).__name__] += 1

        listening = [asyncio.create_task(listen()) for _ in range(STREAMS)]
        until = time.monotonic() + self.seconds
        async with self.caller() as api:
            while time.monotonic() < until:
                await seen.call(api, LIST)
        over.set()
        await asyncio.gather(*listening)
        return f"begun: {dict(begun)}; a caller meanwhile: {seen}"

    async def slow(self) -> str:
        """SLOW connections send a body, or a header, byte by byte; one caller goes on asking."""
        over, ended = asyncio.Event(), Counter[str]()
        begin = f"POST /api/v1/vms HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.stack.token}\r\n"

        async def drip(number: int) -> None:
            try:
                _reader, writer = await asyncio.open_connection("127.0.0.1", self.stack.port, ssl=self.context)
                whole = f"{begin}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
                writer.write((whole if number % 2 else begin).encode())
                while not over.is_set():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.5)
                writer.close()
                ended["open to the end"] += 1
            except OSError as error:
                ended[type(error).__name__] += 1

        dripping = [asyncio.create_task(drip(number)) for number in range(SLOW)]
        seen, until = Seen(), time.monotonic() + max(self.seconds, SLOW_SECONDS)
        async with self.caller() as api:
            while time.monotonic() < until:
                await seen.call(api, LIST)
        over.set()
        await asyncio.gather(*dripping)
        return f"a caller meanwhile: {seen}; the slow: {dict(ended)}"

    async def run(self) -> None:
        """All of it, one after the other."""
        await self.watched("one caller", self.alone)
        await self.watched(f"{CALLERS} callers, on and on", self.going_on)
        await self.watched(f"{AT_ONCE} lists at once", self.at_once)
        await self.watched(f"{STREAMS} event streams", self.streams)
        await self.watched(f"{SLOW} slow connections", self.slow)
        await self.watched("one caller again", self.alone)

    async def alone(self) -> str:
        """The floor of the same run."""
        seen, until = Seen(), time.monotonic() + self.seconds
        async with self.caller() as api:
            while time.monotonic() < until:
                await seen.call(api, LIST)
        return str(seen)


def main() -> int:
    """Measure on a panel of its own, which is gone afterwards."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vms", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each part")
    asked = parser.parse_args()
    with started("load") as stack:
        made = ask(stack, f"api_data.make({asked.vms}); print(api_data.told())", "MADE")
        print(f"{made['count']} VMs; one panel process; load {os.getloadavg()[0]:.1f}")
        asyncio.run(Load(stack, asked.seconds, made["vm"]).run())
        print(f"  load then {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
