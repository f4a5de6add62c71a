"""Memory of the idle stack: proportional set size, so that shared pages count once."""

from __future__ import annotations

import sys
import time

import psutil

from bench.floor import panel_with_node
from tests.lab.hosts import Node

AIM_MIB = 400
SETTLE_SECONDS = 5.0
SAMPLES = 3


def tree(pid: int) -> list[psutil.Process]:
    """A process with all that it started."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def pss_mib(process: psutil.Process) -> float:
    """The process's proportional set size in MiB."""
    return float(process.memory_full_info().pss) / 1024**2


def vmwatch_node_mib(node: Node) -> float:
    """Resident memory of the node's vmwatch-node in MiB (without its keeper)."""
    amounts = []
    for pid in node.run(["pgrep", "-f", "vmwatch.pyz"]).stdout.split():
        status = node.run(["cat", f"/proc/{pid}/status"], check=False).stdout
        amounts += [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    return max(amounts) / 1024


def main() -> int:
    """Print each program's memory and the sum."""
    with panel_with_node("footprint") as (stack, _api, node):
        programs = {name: process.pid for name, process in stack.processes.items()}
        programs["cron"] = stack.run("cron").pid
        time.sleep(SETTLE_SECONDS)
        total = 0.0
        for name, pid in programs.items():
            processes = tree(pid)
            amount = sum(pss_mib(each) for each in processes)
            total += amount
            print(f"  {name:16} {amount:7.1f} MiB in {len(processes)} processes")
        watched = vmwatch_node_mib(node)
        total += watched
        print(f"  {'vmwatch-node':16} {watched:7.1f} MiB on the node")
    print(f"  {'together':16} {total:7.1f} MiB; aim {AIM_MIB} MiB: {'met' if total < AIM_MIB else 'MISSED'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
