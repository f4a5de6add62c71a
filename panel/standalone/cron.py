"""Runs the entries of django-crontab where no cron does it for us: one loop, each entry in a process of its own."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

from panel.places import MANAGE

log = logging.getLogger("cron")
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def matches(schedule: str, moment: datetime) -> bool:
    """Whether crontab(5)'s five fields name this minute."""
    minute, hour, day, month, weekday = (
        _values(field, *limits) for field, limits in zip(schedule.split(), RANGES, strict=True)
    )
    on_weekday = moment.isoweekday() % 7 in {number % 7 for number in weekday}
    fields = schedule.split()
    # crontab(5): when both day fields are restricted, either is enough.
    if fields[2] != "*" and fields[4] != "*":
        on_day = moment.day in day or on_weekday
    else:
        on_day = moment.day in day and on_weekday
    return moment.minute in minute and moment.hour in hour and moment.month in month and on_day


def _values(field: str, lowest: int, highest: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = lowest, highest
        else:
            first_text, _, last_text = span.partition("-")
            first = int(first_text)
            last = int(last_text) if last_text else (highest if step else first)
        found |= set(range(first, last + 1, int(step or 1)))
    return found


def job_hash(job: tuple[Any, ...]) -> str:
    """The name that `manage.py crontab run` knows the entry by (django_crontab's own rule)."""
    return hashlib.md5(json.JSONEncoder().encode(job).encode("utf-8"), usedforsecurity=False).hexdigest()


def run_forever(jobs: list[tuple[Any, ...]]) -> None:
    """Start what is due at each full minute; an entry that still runs is not started again."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    while True:
        time.sleep(60 - time.time() % 60)
        now = datetime.now()
        # Asked, each that has ended is no zombie any more.
        running = {name: process for name, process in running.items() if process.poll() is None}
        for job in jobs:
            name = job_hash(job)
            if not matches(job[0], now):
                continue
            if name in running:
                log.warning("%s still runs, so it is left out this time", job[1])
                continue
            running[name] = subprocess.Popen([sys.executable, str(MANAGE), "crontab", "run", name])


def main() -> None:
    """The program."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")
    # Settings alone: the entries' own code is not loaded here, so this process stays small.
    from django.conf import settings

    run_forever(list(settings.CRONJOBS))


if __name__ == "__main__":
    main()
