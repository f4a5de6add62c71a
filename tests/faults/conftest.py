"""The sweep's matrix: written and shown by the process that leads the run, however many carry it out."""

from __future__ import annotations

import pytest

from tests.faults.matrix import Matrix


def pytest_configure(config: pytest.Config) -> None:
    """A process that only carries out cases tells the leading one of them in its reports."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reports(Matrix.recorded()), "sweep-matrix")


class Reports:
    """Reads the reports of cases."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A case was tried."""
        told = dict(report.user_properties)
        if report.when == "call" and "case" in told:
            self.matrix.learn(tuple(told["case"]), told["ended"] if report.passed else "FAILED")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the matrix of what is known."""
        if self.matrix.known:
            terminalreporter.section("the sweep")
            for line in self.matrix.lines():
                terminalreporter.write_line(line)
