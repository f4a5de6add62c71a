"""What the API's requests cost with many VMs: the panel's own server over HTTPS, one client, beside the SQL by hand."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from bench.panel import started
from tests.stack import Stack

SIZES = (1_000, 10_000)
SECONDS = 15.0
WARM_SECONDS = 2.0
AIM_SECONDS, AIM_GROWTH, AIM_QUERIES = 0.050, 1.3, 10
AIM_P50 = {"list, first page": 0.012, "one VM": 0.007}
"""The median of 50 of 10,000 VMs, and of one."""
AIM_RATE = 80.0
"""First pages a second that one process tells."""
CALLERS = 4
MONTH = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"
PART = "from=2026-01-02T00:00:00Z&to=2026-01-20T12:00:00Z"
LISTS = ("list, first page", "list, filtered", "list, last page")


def requests(made: dict[str, Any]) -> dict[str, str]:
    """What is asked for, by what it is."""
    return {
        "list, first page": "vms",
        "list, filtered": f"vms?owner={made['owner']}",
        "list, last page": f"vms?cursor={made['last']}",
        "one VM": f"vms/{made['vm']}",
        "nothing (404)": "vms/999999999",
        "usage of one VM, a month": f"vms/{made['vm']}/usage?{MONTH}",
        "usage of one VM, 18.5 days": f"vms/{made['vm']}/usage?{PART}",
        "usage, first page, a month": f"usage?{MONTH}",
        "usage of one user, a month": f"usage?{MONTH}&owner={made['owner']}",
    }


def measure(api: httpx.Client, path: str, seconds: float) -> list[float]:
    """The time of each request, for so many seconds, one after the other."""
    taken, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.perf_counter()
        answer = api.get(path)
        taken.append(time.perf_counter() - begun)
        assert answer.status_code in (200, 404), answer.text
    return taken


def rate(stack: Stack, path: str, seconds: float) -> float:
    """How many answers a second a few callers have at once."""

    def call(_: int) -> int:
        with stack.api() as api:
            return len(measure(api, path, seconds))

    with ThreadPoolExecutor(CALLERS) as pool:
        begun = time.perf_counter()
        return sum(pool.map(call, range(CALLERS))) / (time.perf_counter() - begun)


def p(values: list[float], n: int) -> float:
    """The n-th percentile, in seconds."""
    return statistics.quantiles(values, n=100, method="inclusive")[n - 1]


def ask(stack: Stack, words: str, mark: str) -> Any:
    """What a function of bench/api_data.py prints in the panel's own shell."""
    printed = stack.manage("shell", "-c", f"from bench import api_data\n{words}")
    return json.loads(printed.partition(mark)[2].splitlines()[0])


def met(is_met: bool) -> str:
    """The verdict."""
    return "met" if is_met else "MISSED"


def run(stack: Stack, seconds: float) -> None:
    """Both sizes in one run, and how the lists have grown."""
    before: dict[str, tuple[float, float]] = {}
    for vms in SIZES:
        made = ask(stack, f"api_data.make({vms}); print(api_data.told())", "MADE")
        print(f"{made['count']} VMs, 200 nodes, 2,000 users; one client; load {os.getloadavg()[0]:.1f}")
        hand = ask(stack, f"print(api_data.by_hand({requests(made)!r}, {stack.token!r}))", "HAND")
        with stack.api() as api:
            for name, path in requests(made).items():
                queries, seconds_by_hand = hand[name]
                measure(api, path, WARM_SECONDS)
                taken = measure(api, path, seconds)
                p50, p95, p99 = (p(taken, n) for n in (50, 95, 99))
                print(
                    f"  {name:28} p50 {p50 * 1000:6.1f}  p95 {p95 * 1000:6.1f}  p99 {p99 * 1000:6.1f} ms"
                    f"  {len(taken) / sum(taken):6.1f}/s  {queries:2} queries"
                    f" ({met(queries <= AIM_QUERIES)}), by hand {seconds_by_hand * 1000:6.1f} ms",
                    flush=True,
                )
                if name in AIM_P50:
                    print(f"  {'':28} aim p50 {AIM_P50[name] * 1000:.0f} ms: {met(p50 <= AIM_P50[name])}")
                if name in LISTS:
                    told = f"aim p95 {AIM_SECONDS * 1000:.0f} ms: {met(p95 < AIM_SECONDS)}"
                    if name in before:
                        growth = p95 / before[name][1]
                        told += f"; p95 grown {growth:.2f} times (p50 {p50 / before[name][0]:.2f}),"
                        told += f" aim {AIM_GROWTH}: {met(growth < AIM_GROWTH)}"
                    print(f"  {'':28} {told}")
                    before[name] = p50, p95
            each = rate(stack, requests(made)["list, first page"], seconds)
            print(f"  {CALLERS} callers of the first page: {each:.1f}/s, aim {AIM_RATE:.0f}: {met(each >= AIM_RATE)}")
        print(f"  load then {os.getloadavg()[0]:.1f}")


def main() -> int:
    """Measure on a panel of its own, which is gone afterwards."""
    seconds = float(sys.argv[2]) if sys.argv[1:2] == ["--seconds"] else SECONDS
    with started("api") as stack:
        run(stack, seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
