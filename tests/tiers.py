"""The tiers of tests, and what each took of a run: told at its end, judged by nobody."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

TIERS = ("unit", "contract", "db", "lab", "faults", "browser")
"""In the order in which they run: the fast ones first."""
TESTS = Path(__file__).parent


def tier_of(path: Path) -> str:
    """The tier that a test file belongs to: its folder below tests/."""
    parts = path.resolve().relative_to(TESTS).parts
    return parts[0] if parts and parts[0] in TIERS else "unit"


class Times:
    """Adds up what tests took, in the process that leads the run."""

    def __init__(self, config: pytest.Config) -> None:
        self.root = config.rootpath
        self.seconds: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test was set up, called or cleaned up after."""
        tier = tier_of(self.root / report.nodeid.partition("::")[0])
        self.seconds[tier] += report.duration
        self.tests[tier] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what each tier took."""
        for tier in (each for each in TIERS if self.tests[each]):
            terminalreporter.write_line(f"tier {tier}: {self.tests[tier]} tests, {self.seconds[tier]:.0f} s in them")
