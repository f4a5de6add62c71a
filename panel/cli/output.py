"""What the command line prints: tables, facts, JSON, and a task's steps with their bars."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from panel.cli.client import Panel, Refused
from panel.core.texts import escaped

POLL_SECONDS = 0.4
LONGEST_LINE = 1_000_000
ENDED = ("done", "failed", "cancelled", "stuck")
LONG = ("text", "description")
"""What may have lines of its own."""
MARKS = {"done": "●", "failed": "✕", "undone": "↺", "undoing": "↺", "running": "◐", "pending": "○"}


def show(value: Any, columns: tuple[str, ...], as_json: bool) -> None:
    """Print a list as a table of these columns, one object as its facts, or either as JSON."""
    if as_json:
        write(json.dumps(value, indent=1) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    if isinstance(value, list):
        for column in columns:
            table.add_column(column.replace("_", " ").upper())
        for row in value:
            table.add_row(*[escaped(_cell(row.get(column)), lines=column in LONG) for column in columns])
    else:
        table.show_header = False
        for name, inner in value.items():
            table.add_row(escaped(name.replace("_", " ")), escaped(_cell(inner), lines=name in LONG))
    # What the panel answers is text, whatever brackets are in it. Programs read whole lines, however long.
    console = Console(markup=False, width=None if sys.stdout.isatty() else LONGEST_LINE)
    with console.capture() as drawn:
        console.print(table)
    write(drawn.get())


def write(text: str) -> None:
    """Print what was asked for; whoever reads no further, as `head`, has enough."""
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        # Python would complain once more when it closes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_plan(plan: dict[str, Any], as_json: bool) -> None:
    """Print a plan: what it waits for, its steps with what each would change and how long such a step took before."""
    if as_json:
        click.echo(json.dumps(plan, indent=1))
        return
    for lock in plan["locks"]:
        if lock["task"] is not None:
            click.echo(f"Task {lock['task']} is at work on {lock['kind']} {lock['id']}.")
    steps = [{**step, "took_before": _seconds(step["seconds_before"])} for step in plan["steps"]]
    show(steps, ("name", "title", "changes", "took_before"), False)
    for step in steps:
        click.echo(escaped(step["difference"], lines=True), nl=False)


def _seconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.1f} s"


def _cell(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.0%}" if value <= 1 else f"{value:.1f}"
    return "–" if value is None else str(value)


def follow(panel: Panel, task_id: int, *, quiet: bool) -> dict[str, Any]:
    """Watch a task to its end, with a bar for each step unless `quiet`; answers it as it ended.

    Whoever leaves before that, by Ctrl-C or because the panel does not answer, is told that the task does not end.
    """
    try:
        task = _watched(panel, task_id, quiet)
    except (KeyboardInterrupt, Refused, httpx.TransportError):
        click.echo(
            f"Task {task_id} goes on. Follow it with “vmpanel task follow {task_id}”, "
            f"end it with “vmpanel task cancel {task_id}”.",
            err=True,
        )
        raise
    if not quiet:
        click.echo(escaped(f"{task['title']}: {task['status']}."))
        if task["error"]:
            click.echo(escaped(task["error"]["message"], lines=True), err=True)
    return task


def _watched(panel: Panel, task_id: int, quiet: bool) -> dict[str, Any]:
    columns = (
        TextColumn("{task.fields[mark]} {task.description}", markup=False),
        BarColumn(24),
        TextColumn("{task.fields[note]}", markup=False),
    )
    bars: dict[int, TaskID] = {}
    with Progress(*columns, TimeElapsedColumn(), disable=quiet) as progress:
        while True:
            task: dict[str, Any] = panel.get(f"tasks/{task_id}")
            for step in task["steps"]:
                _draw(progress, bars, step)
            if task["status"] in ENDED:
                return task
            time.sleep(POLL_SECONDS)


def _draw(progress: Progress, bars: dict[int, TaskID], step: dict[str, Any]) -> None:
    position = step["position"]
    if position not in bars:
        bars[position] = progress.add_task(escaped(step["title"]), total=1.0, start=False, mark="○", note="")
    bar = bars[position]
    if step["started_at"] and not progress.tasks[bar].started:
        progress.start_task(bar)
    progress.update(
        bar, completed=step["progress"], mark=MARKS.get(step["status"], "?"), note=escaped(step["progress_text"])
    )
    if step["finished_at"]:
        progress.stop_task(bar)
