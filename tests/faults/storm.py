"""A storm over two nodes: what changes, what dies, and what must be so afterwards (test_vmwatch_storms.py)."""

from __future__ import annotations

import itertools
import random
import subprocess
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import httpx

from panel.standalone.options import TOP
from panel.vms.models import StatusChange, Vm
from tests.faults.clock import give_clock, set_clock, take_clock_away
from tests.lab.hosts import Node
from tests.stack import Stack, wait_until

DOMAINS = 20
ACTIONS = 100
ACTIONS_MEANWHILE = 5
"""While something is dead or cut off."""
FAULTS = (
    *("kill_watcher", "kill_libvirtd", "cut_cable", "jump_clock"),
    *("kill_master", "kill_panel", "kill_mariadb", "kill_redis"),
)
FAULTS_A_STORM = 4
RESYNC_SECONDS = 5.0
"""What the nodes are told, and what the limit is made of."""
COMMIT_SECONDS = 2.0
"""From a full report that is due to what the API answers: libvirt is asked, the master tries a panel that was away
every half second, the panel commits, and all of it shares two cores with forty QEMUs."""
LIMIT_SECONDS = RESYNC_SECONDS + COMMIT_SECONDS
NEAR, FAR = (30, -30), (3600, -3600)
"""Seconds that a clock jumps: within what messages may be off (120 s), and beyond."""
TRUTH = "/run/storm-truth"
WATCHER = "^/usr/bin/python3 /usr/lib/vmpanel/vmwatch.pyz"
READ_HISTORY = (
    f"SELECT v.name, c.status, c.at >= '{{begun}}', c.at, c.detail, c.cause, c.epoch, c.sequence "
    f"FROM {StatusChange._meta.db_table} c JOIN {Vm._meta.db_table} v ON v.id = c.vm_id "
    "WHERE v.name LIKE 'storm%' AND NOT c.repeated ORDER BY c.at, c.epoch, c.sequence, c.id"
)


class Site:
    """A node with its domains, the hand that changes them, and what the witness wrote."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.domains = {f"storm{node.number}-{n}": str(uuid.UUID(int=node.number << 16 | n)) for n in range(DOMAINS)}
        give_clock(node)
        node.run(["rm", "-f", TRUTH])
        argv = ["/usr/bin/python3", str(TOP / "tests/faults/hand.py"), TRUTH]
        self.hand = subprocess.Popen(
            node.argv(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for name, number in self.domains.items():
            assert self.tell(f"define {name} {number}") == "done"

    def tell(self, command: str) -> str:
        """One command to the hand."""
        assert self.hand.stdin is not None and self.hand.stdout is not None
        self.hand.stdin.write(f"{command}\n")
        self.hand.stdin.flush()
        return self.hand.stdout.readline().strip()

    def states(self) -> dict[str, str]:
        """What libvirt says of every domain; of one that it has not, "missing"."""
        # The first question after libvirtd was killed may be answered by the loss of the connection.
        answer = wait_until(lambda: (told := self.tell("states")).startswith("storm") and told, "libvirt answers", 60)
        found = dict(each.split("=") for each in answer.split(";"))
        return {name: found.get(name, "missing") for name in self.domains}

    def truth(self) -> dict[str, list[str]]:
        """What the witness saw each domain become, in order."""
        seen: dict[str, list[str]] = {name: [] for name in self.domains}
        for line in self.node.run(["cat", TRUTH]).stdout.splitlines():
            name, _, state = line.partition(" ")
            if name in seen:
                seen[name].append(state)
        return seen

    def close(self) -> None:
        """Leave nothing behind."""
        take_clock_away(self.node)
        for name, state in self.states().items():
            if state in ("running", "paused"):
                self.tell(f"destroy {name}")
            if state != "missing":
                self.tell(f"undefine {name}")
        assert self.hand.stdin is not None
        self.hand.stdin.close()
        self.hand.wait(20)


class Storm:
    """One storm, which begins with everything calm; the history that it looks at begins with it.

    What a fault reaches is noted: of the others nothing may be missing in the history. vmwatch-node and libvirtd
    die on one node only, so that there always is another.
    """

    def __init__(self, seed: int | str, sites: list[Site], stack: Stack) -> None:
        self.chance = random.Random(seed)
        self.whose = f"seed {seed}" if isinstance(seed, int) else seed
        faults = self.chance.sample(FAULTS, FAULTS_A_STORM)
        self.faults = dict(zip(self.chance.sample(range(ACTIONS), FAULTS_A_STORM), faults, strict=True))
        self.sites = sites
        self.stack = stack
        self.struck = self.chance.choice(sites)
        self.blinded: set[str] = set()
        self.unseen: set[str] = set()
        self.before = self.states()
        self.now = self.before
        # What an earlier one lost may still be told again, and has its own time.
        self.begun = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"
        for site in sites:
            set_clock(site.node, 0)
            site.node.run(["sh", "-c", f": > {TRUTH}"])

    def states(self) -> dict[str, str]:
        """What libvirt says of every domain."""
        return {name: state for site in self.sites for name, state in site.states().items()}

    def blow(self) -> None:
        """Change domains at random, with faults between; afterwards everything runs again."""
        for number in range(ACTIONS):
            self.act(self.chance.choice(self.sites))
            if number in self.faults:
                getattr(self, self.faults[number])()
        wait_until(self.stack._serves, "the panel serves", 60)

    def act(self, site: Site) -> None:
        """One change of one domain; libvirt refuses what makes no sense, or while it is away."""
        name = self.chance.choice(list(site.domains))
        verb = self.chance.choice(("start", "start", "resume", "resume", "suspend", "destroy", "undefine", "define"))
        site.tell(f"define {name} {site.domains[name]}" if verb == "define" else f"{verb} {name}")

    def kill_watcher(self) -> None:
        """vmwatch-node of one node dies; its keeper starts it again."""
        self.blinded.add(self.struck.node.name)
        self.struck.node.run(["pkill", "-KILL", "-f", WATCHER], check=False)
        self.act_on(self.struck)

    def kill_libvirtd(self) -> None:
        """libvirtd of one node dies and is started again; vmwatch-node ends with it."""
        self.unseen.add(self.struck.node.name)
        self.struck.node.kill_libvirtd()
        self.struck.node.ensure_libvirt()
        self.act_on(self.struck)

    def cut_cable(self) -> None:
        """One node is cut off for a while."""
        site = self.chance.choice(self.sites)
        site.node.cut()
        try:
            self.act_on(site)
            time.sleep(self.chance.uniform(0, 3))
        finally:
            site.node.heal()

    def jump_clock(self) -> None:
        """One node's clock jumps: a little, which lasts until the next storm, or so far that nothing is believed."""
        site = self.chance.choice(self.sites)
        seconds = self.chance.choice((*NEAR, *FAR))
        set_clock(site.node, seconds)
        self.act_on(site)
        if seconds in FAR:
            time.sleep(self.chance.uniform(0, 3))
            set_clock(site.node, 0)

    def kill_master(self) -> None:
        """vmwatch-master dies, and is started again after a few changes."""
        self._kill(self.stack.kill, self.stack.run, "vmwatch-master")

    def kill_panel(self) -> None:
        """The panel dies, and is started again after a few changes."""
        self._kill(self.stack.kill, self.stack.run, "panel")

    def kill_mariadb(self) -> None:
        """MariaDB dies, and is started again after a few changes."""
        self._kill(self.stack.services.kill, self.stack.services.start_again, "mariadb")

    def kill_redis(self) -> None:
        """Redis dies, and is started again after a few changes."""
        self._kill(self.stack.services.kill, self.stack.services.start_again, "redis")

    def _kill(self, kill: Callable[[str], object], start: Callable[[str], object], name: str) -> None:
        kill(name)
        try:
            for site in self.sites:
                self.act_on(site)
        finally:
            start(name)

    def act_on(self, site: Site) -> None:
        """A few changes of one node's domains."""
        for _ in range(ACTIONS_MEANWHILE):
            self.act(site)

    def unequal(self, api: httpx.Client) -> list[str]:
        """The VMs of which the panel says something else than libvirt."""
        told = statuses(api)
        return [f"{name} is {now}, not {told.get(name)}" for name, now in self.now.items() if told.get(name) != now]

    def wrong_history(self) -> list[str]:
        """What of the VMs' histories is not as the witnesses saw it."""
        rows: dict[str, list[list[str]]] = {name: [] for name in self.now}
        for name, *row in self.stack.sql(READ_HISTORY.format(begun=self.begun)):
            rows[name].append(row)
        found = []
        for site in self.sites:
            for name, truth in site.truth().items():
                history = [row[0] for row in rows[name]]
                told = squeezed([self.before[name], *(row[0] for row in rows[name] if row[1] == "1")])
                expected = squeezed([self.before[name], *truth])
                # Without libvirtd the witness sees nothing either; without vmwatch-node it does.
                seen = site.node.name not in self.unseen
                exact = seen and site.node.name not in self.blinded
                if history[-1:] != [self.now[name]]:
                    found.append(f"{name} is {self.now[name]}, its history {rows[name]}")
                elif exact and told != expected:
                    found.append(f"{name}: {told} instead of {expected}: {rows[name]}")
                elif seen and not is_part(told, [*expected, self.now[name]]):
                    found.append(f"{name}: {told} is no part of {expected}: {rows[name]}")
                elif any(a == b for a, b in itertools.pairwise(history)):
                    found.append(f"{name} tells the same twice: {rows[name]}")
        return found


def statuses(api: httpx.Client) -> dict[str, str]:
    """What the panel says of every VM of the storm; nothing while it does not answer."""
    try:
        answer = api.get("vms", params={"limit": 200})
    except httpx.HTTPError:
        return {}
    found = answer.json()["results"] if answer.status_code == 200 else []
    return {each["name"]: each["status"] for each in found if each["name"].startswith("storm")}


def squeezed(states: list[str]) -> list[str]:
    """Without what is not known, and without repetitions."""
    return [state for state, _ in itertools.groupby(each for each in states if each != "unknown")]


def is_part(part: list[str], whole: list[str]) -> bool:
    """Whether `part` comes of `whole` by leaving things out."""
    rest = iter(whole)
    return all(each in rest for each in part)


def seconds_until_right(find_wrong: Callable[[], list[str]], since: float, whose: str) -> float:
    """How long after `since` nothing wrong is found; AssertionError with what is, when that is over the limit."""
    while True:
        found = find_wrong()
        seconds = time.monotonic() - since
        assert seconds <= LIMIT_SECONDS, f"{whose}: {seconds:.1f} s after the storm still (or until now) {found}"
        if not found:
            return seconds
        time.sleep(0.05)


def speakers(port: int) -> set[str]:
    """The addresses that have a connection to this machine's port."""
    argv = ["ss", "-Htn", "state", "established", f"sport = :{port}"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].rpartition(":")[0] for line in shown.splitlines()}
