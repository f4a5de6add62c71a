"""A clock of its own for a node's vmwatch-node: by libfaketime, since Linux has no namespace for the time of day.

The daemon's keeper is started anew and told to start it so, so that it has its clock also after it was killed. Only
the time of day is another: clocks that nobody sets go on.
"""

from __future__ import annotations

from tests.lab.hosts import Node
from tests.stack import wait_until

LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
OFFSET = "/run/vmwatch-clock"
KEEPER = "/run/vmpanel/vmwatch-node.keeper"
ITS_CLOCK = (
    "/usr/bin/env",
    f"LD_PRELOAD={LIBRARY}",
    f"FAKETIME_TIMESTAMP_FILE={OFFSET}",
    "FAKETIME_NO_CACHE=1",
    "FAKETIME_DONT_FAKE_MONOTONIC=1",
)


def give_clock(node: Node) -> None:
    """vmwatch-node runs anew with a clock that set_clock() can put wrong; it is right until then."""
    set_clock(node, 0)
    _start_keeper_anew(node, ITS_CLOCK)


def take_clock_away(node: Node) -> None:
    """vmwatch-node runs anew with the clock of the host."""
    _start_keeper_anew(node, ())


def set_clock(node: Node, seconds: int) -> None:
    """The daemon's time of day is so many seconds ahead from now on (or behind)."""
    node.run(["sh", "-c", 'echo "$1" > "$2.part" && mv "$2.part" "$2"', "sh", f"{seconds:+d}", OFFSET])


def _start_keeper_anew(node: Node, its_clock: tuple[str, ...]) -> None:
    pid = int(node.run(["cat", KEEPER]).stdout.split()[0])
    argv, environment = (
        node.run(["cat", f"/proc/{pid}/{name}"]).stdout.split("\0")[:-1] for name in ("cmdline", "environ")
    )
    node.kill(pid, signal_name="TERM")
    # Of a zombie, which it is while the agent that started it lives, there is no such file either.
    program = ["test", "-e", f"/proc/{pid}/exe"]
    wait_until(lambda: node.run(program, check=False).returncode, "the keeper has ended", 20)
    # The keeper's own clock is not touched: its time.sleep() would fail under libfaketime.
    keeper = [word for word in argv if word not in ITS_CLOCK]
    service = keeper.index("vmwatch-node") + 1
    script = 'setsid -f env -i "$@" < /dev/null >> /var/log/vmpanel/vmwatch-node.out 2>&1'
    node.run(["sh", "-c", script, "sh", *environment, *keeper[:service], *its_clock, *keeper[service:]])
    # Nobody who looks after the service may find none, and start another.
    wait_until(lambda: node.run(["cat", KEEPER]).stdout.split()[0] != str(pid), "the new keeper is known", 20)
