"""What one sees in the terminal: a line for each thing, and for a task its steps with their progress."""

from __future__ import annotations

import sys
import time
from typing import Any

from panel.standalone.client import Api
from panel.standalone.private import Unfit

ENDED = ("done", "failed", "cancelled", "stuck")
WIDTH = 24
POLL_SECONDS = 0.3
LONG_SECONDS = 5.0


def say(text: str) -> None:
    """One line."""
    print(text, flush=True)


class Steps:
    """The steps of one task: a line when a step has ended, and in a terminal a bar for the one that runs."""

    def __init__(self) -> None:
        self.told: set[int] = set()
        self.told_of: set[int] = set()
        self.waiting = -1, 0.0
        self.live = sys.stdout.isatty()

    def show(self, task: dict[str, Any]) -> None:
        """Show what is new."""
        for step in task["steps"]:
            if step["status"] in ("done", "failed", "undone", "skipped") and step["position"] not in self.told:
                self.told.add(step["position"])
                self._clear()
                say(f"  {_sign(step['status'])} {step['title']}{_seconds(step)}")
        running = next((step for step in task["steps"] if step["status"] in ("running", "retrying")), None)
        if running and not self.live:
            self._tell_wait(running)
        if running and self.live:
            done = int(WIDTH * max(0.0, min(1.0, _fraction(running))))
            bar = "█" * done + "░" * (WIDTH - done)
            words = f"  {bar} {running['title']} {running.get('progress_text') or ''}"
            print(f"\r\x1b[K{words[:100]}", end="", flush=True)

    def _tell_wait(self, step: dict[str, Any]) -> None:
        """Say once of a step that takes long what it waits for, where no bar shows it."""
        if step["position"] != self.waiting[0]:
            self.waiting = step["position"], time.monotonic()
        elif time.monotonic() - self.waiting[1] > LONG_SECONDS and step["position"] not in self.told_of:
            self.told_of.add(step["position"])
            text = step.get("progress_text")
            say(f"  … {step['title']}{f': {text}' if text else ''}")

    def _clear(self) -> None:
        if self.live:
            print("\r\x1b[K", end="")


def _fraction(step: dict[str, Any]) -> float:
    value = float(step.get("progress") or 0)
    return value / 100 if value > 1 else value


def _sign(status: str) -> str:
    return {"done": "✓", "skipped": "-", "undone": "↺"}.get(status, "✗")


def _seconds(step: dict[str, Any]) -> str:
    from datetime import datetime

    try:
        began = datetime.fromisoformat(step["started_at"])
        ended = datetime.fromisoformat(step["finished_at"])
    except (TypeError, ValueError):
        return ""
    return f" ({(ended - began).total_seconds():.1f} s)"


def follow(api: Api, task_id: int, limit: float = 3600.0) -> dict[str, Any]:
    """Show a task until it ends; answers it. Raises Unfit with its error when it failed."""
    steps = Steps()
    until = time.monotonic() + limit
    while True:
        task: dict[str, Any] = api.get(f"/tasks/{task_id}")
        steps.show(task)
        if task["status"] in ENDED:
            break
        if time.monotonic() > until:
            raise Unfit(f"“{task['title']}” did not end within {limit:.0f} s.")
        time.sleep(POLL_SECONDS)
    if task["status"] != "done":
        error = task.get("error") or {}
        raise Unfit(f"“{task['title']}” failed: {error.get('message') or task['status']}")
    return task
