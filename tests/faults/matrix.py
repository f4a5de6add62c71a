"""What became of each case of the sweep: kept in a file, so that a run that was ended goes on, and shown."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

RECORD = os.environ.get("VMPANEL_SWEEP_RECORD", "")
"""The file; empty: nothing is kept. It belongs to one state of the code: script/sweep names it by the commit."""


@dataclass
class Matrix:
    """What is known of the cases, by the parts of their names: operation, step, moment, fault."""

    known: dict[tuple[str, ...], str] = field(default_factory=dict)

    @classmethod
    def recorded(cls) -> Matrix:
        """What earlier runs left in the file."""
        lines = Path(RECORD).read_text(encoding="utf-8").splitlines() if RECORD and Path(RECORD).exists() else []
        return cls({tuple(case): ended for case, ended in map(json.loads, lines)})

    def passed(self, case: tuple[str, ...]) -> bool:
        """Whether the case need not be tried again."""
        return self.known.get(case, "FAILED") != "FAILED"

    def learn(self, case: tuple[str, ...], ended: str) -> None:
        """A case was tried; how its task ended, or FAILED when something was left."""
        self.known[case] = ended
        if RECORD:
            with Path(RECORD).open("a", encoding="utf-8") as file:
                file.write(json.dumps([case, ended]) + "\n")

    def lines(self) -> list[str]:
        """The matrix, a line for each moment of each step."""
        return [
            f"{' '.join(row)}: " + ", ".join(f"{case[-1]} {self.known[case]}" for case in cases)
            for row, cases in itertools.groupby(sorted(self.known), key=lambda case: case[:-1])
        ]
